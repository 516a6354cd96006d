"""Run a transaction again where somebody else was faster."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from infra.eventstore.store import ConcurrencyError
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction

T = TypeVar("T")
ATTEMPTS = 10


async def retrying(
    database: Database, work: Callable[[Transaction], Awaitable[T]], attempts: int = ATTEMPTS
) -> T:
    """Run ``work`` in a transaction of its own; again, from the start, on ``ConcurrencyError``.

    ``work`` loads and decides anew each time, and leaves nothing behind but what the
    transaction holds. Raises ``TimeoutError`` after so many conflicts in a row.
    """
    for _ in range(attempts):
        try:
            async with database.transaction() as tx:
                return await work(tx)
        except ConcurrencyError:
            continue
    raise TimeoutError(f"{attempts} conflicts in a row")
