"""The clock, as an argument: whoever decides is told what time it is."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Now, in UTC, to the microsecond that PostgreSQL keeps."""
    return datetime.now(UTC)
