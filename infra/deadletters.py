"""Messages that a handler could not digest, parked per person.

Later messages of the same person wait behind them; everybody else goes on.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.database import driver, is_infrastructure
from infra.eventstore.store import ConcurrencyError
from infra.sources.base import Message, Source

E = TypeVar("E")


class DeadLetters(Generic[E]):
    """The ``dead_letters`` rows of one subscription."""

    def __init__(self, subscription: str, source: Source[E]) -> None:
        self._subscription = subscription
        self._source = source

    async def keys(self, tx: AsyncConnection, among: set[str]) -> set[str]:
        """Which of these keys have something parked."""
        raw = await driver(tx)
        rows = await raw.fetch(
            "SELECT DISTINCT key FROM dead_letters WHERE subscription = $1 AND key = ANY($2)",
            self._subscription, list(among),
        )  # fmt: skip
        return {row["key"] for row in rows}

    async def park(
        self, tx: AsyncConnection, partition: int, message: Message[E], error: str
    ) -> None:
        """Keep a message for later."""
        raw = await driver(tx)
        await raw.execute(
            "INSERT INTO dead_letters "
            '(subscription, source, partition, "offset", position, key, record, error) '
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            self._subscription, self._source.name, partition, message.offset,
            message.position, message.key, self._source.dump(message), error,
        )  # fmt: skip

    async def forget(self, tx: AsyncConnection) -> None:
        """Drop what is parked, because all of it will be read again."""
        raw = await driver(tx)
        await raw.execute(
            "DELETE FROM dead_letters WHERE subscription = $1", self._subscription
        )

    async def replay(
        self,
        tx: AsyncConnection,
        handle: Callable[[Sequence[E], AsyncConnection], Awaitable[None]],
        key: str | None,
    ) -> int:
        """Handle what is parked (of one key, or all) in order; what fails again stays.

        Raises ``ConcurrencyError`` where somebody else was faster: nothing happened then.
        """
        raw = await driver(tx)
        await raw.execute(  # nothing new may overtake what is being replayed
            "SELECT 1 FROM offsets WHERE subscription = $1 ORDER BY source, partition "
            "FOR UPDATE",
            self._subscription,
        )
        failed: set[str] = set()
        for row in await self._parked(raw, key):
            if row["key"] not in failed and not await self._retry(tx, row, handle):
                failed.add(row["key"])
        return len(await self._parked(raw, key))

    async def _parked(self, raw: Any, key: str | None) -> list[Any]:
        return list(
            await raw.fetch(
                "SELECT id, key, record FROM dead_letters WHERE subscription = $1 "
                "AND ($2::text IS NULL OR key = $2) ORDER BY position NULLS FIRST, id",
                self._subscription,
                key,
            )
        )

    async def _retry(self, tx: AsyncConnection, row: Any, handle: Any) -> bool:
        raw = await driver(tx)
        try:
            async with tx.begin_nested():
                await handle([self._source.parse(row["record"])], tx)
                await raw.execute("DELETE FROM dead_letters WHERE id = $1", row["id"])
        except Exception as error:
            if is_infrastructure(error) or isinstance(error, ConcurrencyError):
                raise
            await raw.execute(
                "UPDATE dead_letters SET attempts = attempts + 1 WHERE id = $1", row["id"]
            )
            return False
        return True
