"""The clock, as an argument: whoever decides is told what time it is."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Now, in UTC, to the microsecond that PostgreSQL keeps."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """UTC with microseconds and Z: one text for one instant.

    Total, because it is asked of whatever is stored: what has no zone is UTC (so the driver
    reads PostgreSQL's infinities), and what lies beyond the calendar is its end.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        utc = moment.astimezone(UTC)
    except (OverflowError, ValueError):
        end = datetime.min if moment.year == 1 else datetime.max  # noqa: DTZ901
        utc = end.replace(tzinfo=UTC)
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
