"""Messages that a handler could not digest, parked per person.

Later messages of the same person wait behind them; everybody else goes on. Parking asks nothing
of a message: what can be kept of it is kept, and where that fails its place is enough.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import structlog

from infra.eventstore.store import ConcurrencyError
from infra.messaging.sources.base import PLACE_ONLY, Message, Source
from infra.postgres.database import is_infrastructure, storable
from infra.postgres.errors import MAX_ERROR, describe
from infra.postgres.transaction import Transaction

E = TypeVar("E")
MAX_KEY = 200
MAX_KEPT_BYTES = 8 * 1024 * 1024
"""What is larger is not copied: its place must do."""
MOST_PLACES = 100
"""Of records that are nobody's, in one subscription: whoever can write to a broker could
otherwise fill our tables. More are only counted, by their alarm."""
_NOBODYS = "subscription = $1 AND key = partition || '-' || \"offset\""
"""Their key is their place (``infra.messaging.sources.consumer.place_of``)."""
log = structlog.get_logger()


class DeadLetters(Generic[E]):
    """The ``dead_letters`` rows of one subscription."""

    def __init__(self, subscription: str, source: Source[E]) -> None:
        self._subscription = subscription
        self._source = source

    async def keys(self, tx: Transaction, among: set[str]) -> set[str]:
        """Which of these keys have something parked."""
        lanes = {key: lane(key) for key in among}
        rows = await tx.fetch(
            "SELECT DISTINCT key FROM dead_letters WHERE subscription = $1 AND key = ANY($2)",
            self._subscription,
            list(lanes.values()),
        )
        parked = {row["key"] for row in rows}
        return {key for key, kept_as in lanes.items() if kept_as in parked}

    async def park(
        self, tx: Transaction, partition: int, message: Message[E], error: str
    ) -> None:
        """Keep a message for later; of one that is nobody's the place, while there is room."""
        if message.alarm and await self._places(tx) >= MOST_PLACES:
            return
        await tx.execute(
            "INSERT INTO dead_letters "
            '(subscription, source, partition, "offset", position, key, record, error) '
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            self._subscription,
            self._source.name,
            partition,
            message.offset,
            message.position,
            lane(message.key),
            self._kept(message),
            storable(error, MAX_ERROR),
        )

    async def forget(self, tx: Transaction) -> None:
        """Drop what is parked, because all of it will be read again."""
        await tx.execute("DELETE FROM dead_letters WHERE subscription = $1", self._subscription)

    async def discard(self, tx: Transaction) -> int:
        """Drop the places of records that are nobody's; answers how many there were."""
        count = await self._places(tx)
        await tx.execute(f"DELETE FROM dead_letters WHERE {_NOBODYS}", self._subscription)
        return count

    async def replay(
        self,
        tx: Transaction,
        handle: Callable[[Sequence[E], Transaction], Awaitable[None]],
        key: str | None,
    ) -> int:
        """Handle what is parked (of one key, or all) in order; what fails again stays.

        Raises ``ConcurrencyError`` where somebody else was faster: nothing happened then.
        """
        await tx.execute(  # nothing new may overtake what is being replayed
            "SELECT 1 FROM offsets WHERE subscription = $1 ORDER BY source, partition "
            "FOR UPDATE",
            self._subscription,
        )
        failed: set[str] = set()
        for row in await self._parked(tx, key):
            if row["key"] not in failed and not await self._retry(tx, row, handle):
                failed.add(row["key"])
        return len(await self._parked(tx, key))

    def _kept(self, message: Message[E]) -> bytes:
        if message.event is None:
            return PLACE_ONLY
        try:
            record = self._source.dump(message)
        except Exception as error:
            log.warning("parked by its place", error=type(error).__name__)
            return PLACE_ONLY
        return record if len(record) <= MAX_KEPT_BYTES else PLACE_ONLY

    async def _places(self, tx: Transaction) -> int:
        query = f"SELECT count(*) FROM dead_letters WHERE {_NOBODYS}"
        return int(await tx.fetchval(query, self._subscription))

    async def _parked(self, tx: Transaction, key: str | None) -> list[Any]:
        return list(
            await tx.fetch(
                'SELECT id, key, source, partition, "offset", record FROM dead_letters '
                "WHERE subscription = $1 AND ($2::text IS NULL OR key = $2) "
                "ORDER BY position NULLS FIRST, id",
                self._subscription,
                lane(key) if key else None,
            )
        )

    async def _retry(self, tx: Transaction, row: Any, handle: Any) -> bool:
        try:
            async with tx.savepoint():
                await handle([await self._again(tx, row)], tx)
                await tx.execute("DELETE FROM dead_letters WHERE id = $1", row["id"])
        except Exception as error:
            if is_infrastructure(error) or isinstance(error, ConcurrencyError):
                raise
            await tx.execute(
                "UPDATE dead_letters SET attempts = attempts + 1, error = $2 WHERE id = $1",
                row["id"],
                describe(error),
            )
            return False
        return True

    async def _again(self, tx: Transaction, row: Any) -> E:
        if row["record"] != PLACE_ONLY:
            return self._source.parse(row["record"])
        return await self._source.again(tx, row["source"], row["partition"], row["offset"])


def lane(key: str) -> str:
    """A message's key as it is stored: as it is, or its digest where no index would take it."""
    if storable(key, MAX_KEY) == key:
        return key
    return "sha256-" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
