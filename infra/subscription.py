"""The only way anything moves between services: source → handler(batch, transaction) → offset.

Offset and effects commit in one transaction, so an effect happens once on either source and
survives ``kill -9`` at any line. The offset row, locked first, decides what is new: a process
that lost its partition and still writes finds a newer offset there and applies nothing.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.database import Database, driver, is_infrastructure
from infra.deadletters import DeadLetters
from infra.eventstore.store import ConcurrencyError
from infra.sources.base import Batch, Message, Source

E = TypeVar("E")
Handler = Callable[[Sequence[E], AsyncConnection], Awaitable[None]]
log = structlog.get_logger()

APPLIED = Counter("aiguillage_messages_applied", "Messages applied", ["subscription"])
PARKED = Counter("aiguillage_messages_parked", "Messages parked", ["subscription"])
LAG = Gauge("aiguillage_subscription_lag", "Messages not yet fetched", ["subscription"])
RETRIES = Counter("aiguillage_subscription_retries", "Infrastructure errors", ["subscription"])

FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 10.0
PERSONS_BEFORE_PAUSE = 10
CONFLICT_RETRIES = 10


class TooManyFailuresError(Exception):
    """So many persons fail at once that the code is wrong, not the messages: pause instead."""


@dataclass
class Subscription(Generic[E]):
    """One consumer: its name, what it reads, what it does with a batch.

    ``handle`` gets messages in order and must do all its writing in the given transaction. It
    is called again with the same messages if the transaction did not commit.
    """

    name: str
    database: Database
    source: Source[E]
    handle: Handler[E]
    batch_size: int = 500
    poll_seconds: float = 0.2
    max_parked_share: float = 0.5
    last_step: float = field(default_factory=time.monotonic)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.dead_letters: DeadLetters[E] = DeadLetters(self.name, self.source)

    async def run(self) -> None:
        """Read and apply until ``stop``; infrastructure errors are waited out, never fatal."""
        delay, started = FIRST_RETRY_SECONDS, False
        while not self._stopping.is_set():
            try:
                if not started:
                    await self.source.start(self)
                    started = True
                await self.step()
                delay = FIRST_RETRY_SECONDS
            except Exception as error:
                self._report(error, delay)
                started = await self._recover()
                await self._sleep(delay * random.uniform(0.5, 1))
                delay = min(delay * 2, LAST_RETRY_SECONDS)
            self.last_step = time.monotonic()
        await self.source.stop()

    def stop(self) -> None:
        """Finish the batch at hand, then end."""
        self._stopping.set()

    async def step(self) -> int:
        """Fetch once and apply; answers how many messages were applied."""
        applied = 0
        for batch in await self.source.fetch(self.batch_size, self.poll_seconds):
            if self._stopping.is_set():
                break
            applied += await self._apply(batch)
            self.last_step = time.monotonic()
        return applied

    async def lag(self) -> int:
        """Messages not yet fetched, over all partitions."""
        lag = sum((await self.source.lag()).values())
        LAG.labels(self.name).set(lag)
        return lag

    async def next_offset(self, partition: int) -> int:
        """Where this subscription stands (for the source)."""
        async with self.database.transaction() as tx:
            return (await self._lock(tx, partition))[0]

    async def rewind(self) -> None:
        """Start again from the beginning; only for handlers that rebuild read tables."""
        async with self.database.transaction() as tx:
            raw = await driver(tx)
            await raw.execute(
                "UPDATE offsets SET next = 0, position = 0 WHERE subscription = $1", self.name
            )

    async def replay(self, key: str | None = None) -> int:
        """Handle parked messages again, in order; answers how many are left."""
        async with self.database.transaction() as tx:
            return await self.dead_letters.replay(tx, self.handle, key)

    async def _apply(self, batch: Batch[E]) -> int:
        for _ in range(CONFLICT_RETRIES):
            try:
                return await self._apply_once(batch, careful=False)
            except ConcurrencyError:
                continue
            except Exception as error:
                if is_infrastructure(error):
                    await self.source.seek(batch.partition, batch.start)
                    raise
                log.warning("batch failed", subscription=self.name, error=type(error).__name__)
                return await self._apply_carefully(batch)
        await self.source.seek(batch.partition, batch.start)
        raise TimeoutError(f"{CONFLICT_RETRIES} conflicts in a row")

    async def _apply_carefully(self, batch: Batch[E]) -> int:
        try:
            return await self._apply_once(batch, careful=True)
        except TooManyFailuresError as error:
            await self.source.seek(batch.partition, batch.start)
            await self._pause(str(error))
            raise
        except Exception:
            await self.source.seek(batch.partition, batch.start)
            raise

    async def _apply_once(self, batch: Batch[E], *, careful: bool) -> int:
        async with self.database.transaction() as tx:
            following, position, paused = await self._lock(tx, batch.partition)
            if paused or batch.start > following:
                await self.source.seek(batch.partition, following)
                await self._sleep(self.poll_seconds if paused else 0)
                return 0
            fresh = [m for m in batch.messages if _is_new(m, following, position)]
            last = max([position, *(m.position for m in fresh if m.position is not None)])
            await self._handle(tx, batch.partition, fresh, careful)
            await self._advance(tx, batch.partition, max(following, batch.end), last)
        APPLIED.labels(self.name).inc(len(fresh))
        return len(fresh)

    async def _handle(
        self, tx: AsyncConnection, partition: int, messages: list[Message[E]], careful: bool
    ) -> None:
        waiting = await self.dead_letters.keys(tx, {m.key for m in messages})
        ready = [m for m in messages if m.event is not None and m.key not in waiting]
        for message in messages:
            if message.event is None or message.key in waiting:
                error = message.problem or "waits for an earlier message of the same person"
                await self.dead_letters.park(tx, partition, message, error)
                PARKED.labels(self.name).inc()
        if careful:
            await self._one_by_one(tx, partition, ready)
        elif ready:
            await self.handle([m.event for m in ready if m.event is not None], tx)

    async def _one_by_one(
        self, tx: AsyncConnection, partition: int, messages: list[Message[E]]
    ) -> None:
        failed: set[str] = set()
        for message in messages:
            if message.key in failed:
                error: str | None = "waits for an earlier message of the same person"
            else:
                error = await self._try(tx, message)
            if error is not None:
                failed.add(message.key)
                await self.dead_letters.park(tx, partition, message, error)
                PARKED.labels(self.name).inc()
        persons = {m.key for m in messages}
        if len(failed) >= PERSONS_BEFORE_PAUSE and (
            len(failed) > self.max_parked_share * len(persons)
        ):
            raise TooManyFailuresError(f"{len(failed)} of {len(persons)} persons failed")

    async def _try(self, tx: AsyncConnection, message: Message[E]) -> str | None:
        assert message.event is not None
        try:
            async with tx.begin_nested():
                await self.handle([message.event], tx)
        except Exception as error:
            if is_infrastructure(error) or isinstance(error, ConcurrencyError):
                raise
            return describe(error)
        return None

    async def _lock(self, tx: AsyncConnection, partition: int) -> tuple[int, int, bool]:
        raw = await driver(tx)
        where = (self.name, self.source.name, partition)
        query = (
            "SELECT o.next, o.position, coalesce(s.paused, false) AS paused FROM offsets o "
            "LEFT JOIN subscriptions s USING (subscription) "
            "WHERE o.subscription = $1 AND o.source = $2 AND o.partition = $3 FOR UPDATE OF o"
        )
        row = await raw.fetchrow(query, *where)
        if row is None:
            await raw.execute(
                "INSERT INTO offsets (subscription, source, partition) VALUES ($1, $2, $3) "
                "ON CONFLICT DO NOTHING",
                *where,
            )
            row = await raw.fetchrow(query, *where)
        return row["next"], row["position"], row["paused"]  # type: ignore[index]

    async def _advance(
        self, tx: AsyncConnection, partition: int, following: int, position: int
    ) -> None:
        raw = await driver(tx)
        await raw.execute(
            "UPDATE offsets SET next = $4, position = $5, updated_at = now() "
            "WHERE subscription = $1 AND source = $2 AND partition = $3",
            self.name, self.source.name, partition, following, position,
        )  # fmt: skip

    async def _pause(self, reason: str) -> None:
        async with self.database.transaction() as tx:
            await set_paused(tx, self.name, True, reason)

    def _report(self, error: Exception, delay: float) -> None:
        RETRIES.labels(self.name).inc()
        log.warning(
            "subscription retries",
            subscription=self.name, error=type(error).__name__, seconds=round(delay, 1),
        )  # fmt: skip

    async def _recover(self) -> bool:
        """Let go of the source, so that the next round starts from the offset row."""
        try:
            await self.source.stop()
        except Exception as error:
            log.warning("source did not stop", source=self.source.name, error=repr(type(error)))
        return False

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def _is_new(message: Message[Any], following: int, position: int) -> bool:
    if message.offset < following:
        return False
    return message.position is None or message.position > position


def describe(error: BaseException) -> str:
    """An error in words that hold nothing personal: its class, and its text only if it is ours.

    Texts of libraries may quote the value that they stumbled over.
    """
    text = str(error) if type(error).__module__.split(".")[0] in ("services", "infra") else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


async def set_paused(
    tx: AsyncConnection, subscription: str, paused: bool, reason: str | None = None
) -> None:
    """Hold a subscription still, or let it go on."""
    raw = await driver(tx)
    await raw.execute(
        "INSERT INTO subscriptions (subscription, paused, reason) VALUES ($1, $2, $3) "
        "ON CONFLICT (subscription) DO UPDATE SET paused = $2, reason = $3",
        subscription, paused, reason,
    )  # fmt: skip
