"""The only way anything moves between services: source → handler(batch, transaction) → offset.

Offset and effects commit in one transaction, so an effect happens once on either source and
survives ``kill -9`` at any line. The offset row, locked first, decides what is new: a process
that lost its partition and still writes finds a newer offset there and applies nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog
from prometheus_client import Counter

from infra.base.loop import Loop
from infra.eventstore.retrying import retrying
from infra.eventstore.store import ConcurrencyError
from infra.messaging.dead_letters import DeadLetters
from infra.messaging.failures import Failures, TooManyFailuresError
from infra.messaging.lag import LagWatch
from infra.messaging.sources.base import GONE, Batch, Life, Message, Source, SourceBrokenError
from infra.messaging.topic_lives import TOPIC, begin_life
from infra.postgres.database import Database, is_infrastructure
from infra.postgres.errors import describe
from infra.postgres.transaction import Transaction
from infra.workers.alarms import clear_alarm, raise_alarm

E = TypeVar("E")
Handler = Callable[[Sequence[E], Transaction], Awaitable[None]]
log = structlog.get_logger()

APPLIED = Counter("aiguillage_messages_applied", "Messages applied", ["subscription"])
PARKED = Counter("aiguillage_messages_parked", "Messages parked", ["subscription"])
RETRIES = Counter("aiguillage_subscription_retries", "Infrastructure errors", ["subscription"])

CONFLICT_RETRIES = 10
REWIND_SECONDS = 1.0
WAITS = "waits for an earlier message of the same person"


@dataclass
class Subscription(Loop, Generic[E]):
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
    alarm_seconds: float = 60
    _reached: dict[int, int] = field(default_factory=dict)
    _looked: float = 0.0
    _sound: bool = False
    _started: bool = False

    def __post_init__(self) -> None:
        super().__init__(self.name)
        self.dead_letters: DeadLetters[E] = DeadLetters(self.name, self.source)
        self._failures = Failures(self.max_parked_share)
        self.watch = LagWatch(self.name, self.database, self.source, self.alarm_seconds)

    async def run(self) -> None:
        """Read and apply until ``stop``; infrastructure errors are waited out, never fatal."""
        watching = asyncio.create_task(self.watch.run(), name=f"lag of {self.name}")
        try:
            await super().run()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await self._let_go()

    async def turn(self) -> None:
        """Connect if need be; do one step."""
        if not self._started:
            await self.source.start(self)
            self._started = True
        await self.step()
        self.watch.worked()

    async def failed(self, error: Exception, delay: float) -> None:
        """Report the error, and let go of the source: the next turn begins anew."""
        RETRIES.labels(self.name).inc()
        self.watch.failed(error)
        kind = type(error).__name__
        log.warning(
            "subscription retries", subscription=self.name, error=kind, seconds=round(delay, 1)
        )
        if isinstance(error, SourceBrokenError):
            await self._warn(str(error))
        await self._let_go()

    async def step(self) -> int:
        """Fetch once and apply; return how many messages were new."""
        batches = await self.source.fetch(self.batch_size, self.poll_seconds)
        applied = 0
        for batch in batches:
            if self.stopping:
                break
            applied += await self._apply(batch)
            self.alive()
        if batches:
            if not self._sound:  # what was wrong with the source is over
                async with self.database.transaction() as tx:
                    await clear_alarm(tx, TOPIC, self.name)
                self._sound = True
        else:
            await self._notice_rewind()
        return applied

    async def lag(self) -> int:
        """Return the messages not yet applied, over all partitions.

        Raises an infrastructure error if one side does not answer.
        """
        return await self.watch.lag()

    async def next_offset(self, partition: int, life: Life | None = None) -> int:
        """Return where this subscription stands (for the source)."""
        async with self.database.transaction() as tx:
            following = (await self._lock(tx, partition))[0]
            if life is not None:
                where = (self.name, self.source.name, partition)
                following = await begin_life(tx, *where, life)
        self._reached[partition] = following
        return following

    async def pass_over(self, partition: int, first: int) -> None:
        """Go on at ``first``, for what was before is gone: an alarm counts it, once."""
        async with self.database.transaction() as tx:
            following, position, _ = await self._lock(tx, partition)
            if following < first:
                await self._advance(tx, partition, first, position)
                lost = f"gone before they were read: records from {following} to {first - 1}"
                subject = f"{self.source.name} {partition}"
                await raise_alarm(tx, GONE, subject, lost, first - following)
        self._reached[partition] = first

    async def raise_alarm(self, kind: str, subject: str, detail: str) -> None:
        """Raise an alarm about what the source met."""
        async with self.database.transaction() as tx:
            await raise_alarm(tx, kind, subject, detail)

    async def rewind(self) -> None:
        """Start again from the beginning; only for handlers that rebuild read tables.

        What is parked is forgotten: it will come again, in its place.
        """
        async with self.database.transaction() as tx:
            await tx.execute(
                "UPDATE offsets SET next = 0, position = 0 WHERE subscription = $1", self.name
            )
            await self.dead_letters.forget(tx)

    async def replay(self, key: str | None = None) -> int:
        """Handle parked messages again, in order; return how many are left."""
        return await retrying(
            self.database, lambda tx: self.dead_letters.replay(tx, self.handle, key)
        )

    async def discard(self) -> int:
        """Drop the places of parked records that are nobody's; return how many there were."""
        async with self.database.transaction() as tx:
            return await self.dead_letters.discard(tx)

    async def _apply(self, batch: Batch[E]) -> int:
        try:
            return await self._apply_with_fallback(batch)
        except Exception as error:
            await self._seek(batch.partition, batch.start)
            if isinstance(error, TooManyFailuresError):
                async with self.database.transaction() as tx:
                    await set_paused(tx, self.name, True, str(error))
            raise

    async def _apply_with_fallback(self, batch: Batch[E]) -> int:
        """Apply the batch; on a handler error retry per message and park failures.

        On ``ConcurrencyError`` reload and retry.
        """
        careful = False
        for _ in range(CONFLICT_RETRIES):
            try:
                return await self._apply_once(batch, careful=careful)
            except ConcurrencyError:
                continue
            except Exception as error:
                if careful or is_infrastructure(error):
                    raise
                log.warning("batch failed", subscription=self.name, exc_info=error)
                careful = True
        raise TimeoutError(f"{CONFLICT_RETRIES} conflicts in a row")

    async def _apply_once(self, batch: Batch[E], *, careful: bool) -> int:
        fresh: list[Message[E]] = []
        async with self.database.transaction() as tx:
            following, position, paused = await self._lock(tx, batch.partition)
            if paused or batch.start > following:
                await self._seek(batch.partition, following)
            elif batch.end > following:
                fresh = _fresh(batch.messages, following, position, self.source.inherits)
                fresh = list(await self.source.complete(tx, fresh))
                if fresh:
                    await self._handle(tx, batch.partition, fresh, careful)
                last = max([position, *(m.position for m in fresh if m.position is not None)])
                await self._advance(tx, batch.partition, batch.end, last)
            else:  # another member is ahead of us
                await self._seek(batch.partition, following)
        if paused:
            await self.pause(self.poll_seconds)
        if paused or batch.start > following:
            return 0
        self._reached[batch.partition] = max(following, batch.end)
        APPLIED.labels(self.name).inc(len(fresh))
        return len(fresh)

    async def _handle(
        self, tx: Transaction, partition: int, messages: list[Message[E]], careful: bool
    ) -> None:
        waiting = await self.dead_letters.keys(tx, {m.key for m in messages})
        ready = []
        for message in messages:
            if message.event is None or message.key in waiting:
                await self._park(tx, partition, message, message.problem or WAITS)
                waiting.add(message.key)
            else:
                ready.append(message)
        if careful:
            await self._one_by_one(tx, partition, ready)
        elif ready:
            await self.handle([m.event for m in ready if m.event is not None], tx)
            self._failures.forget()

    async def _one_by_one(
        self, tx: Transaction, partition: int, messages: list[Message[E]]
    ) -> None:
        failed: set[str] = set()
        for message in messages:
            error = WAITS if message.key in failed else await self._try(tx, message)
            if error is not None:
                failed.add(message.key)
                await self._park(tx, partition, message, error)
        self._failures.judge(messages, failed)

    async def _park(
        self, tx: Transaction, partition: int, message: Message[E], error: str
    ) -> None:
        await self.dead_letters.park(tx, partition, message, error)
        if message.alarm:
            await raise_alarm(tx, message.alarm, self.source.name, error)
        PARKED.labels(self.name).inc()

    async def _try(self, tx: Transaction, message: Message[E]) -> str | None:
        assert message.event is not None
        try:
            async with tx.savepoint():
                await self.handle([message.event], tx)
        except Exception as error:
            if is_infrastructure(error) or isinstance(error, ConcurrencyError):
                raise
            return describe(error)
        return None

    async def _lock(self, tx: Transaction, partition: int) -> tuple[int, int, bool]:
        where = (self.name, self.source.name, partition)
        query = (
            "SELECT o.next, o.position, coalesce(s.paused, false) AS paused FROM offsets o "
            "LEFT JOIN subscriptions s USING (subscription) "
            "WHERE o.subscription = $1 AND o.source = $2 AND o.partition = $3 FOR UPDATE OF o"
        )
        row = await tx.fetchrow(query, *where)
        if row is None:
            await tx.execute(
                "INSERT INTO offsets (subscription, source, partition, position) "
                "SELECT $1, $2, $3, coalesce(max(position), 0) FROM offsets "
                "WHERE subscription = $1 AND source = $4 ON CONFLICT DO NOTHING",
                *where,
                self.source.inherits,
            )
            row = await tx.fetchrow(query, *where)
        return row["next"], row["position"], row["paused"]  # type: ignore[index]

    async def _advance(
        self, tx: Transaction, partition: int, following: int, position: int
    ) -> None:
        await tx.execute(
            "UPDATE offsets SET next = $4, position = $5, updated_at = now() "
            "WHERE subscription = $1 AND source = $2 AND partition = $3",
            self.name,
            self.source.name,
            partition,
            following,
            position,
        )

    async def _warn(self, detail: str) -> None:
        """Every time anew: another member, with other partitions, may have cleared it."""
        self._sound = False
        try:
            await self.raise_alarm(TOPIC, self.name, detail)
        except Exception as error:
            log.warning("no alarm", subscription=self.name, error=type(error).__name__)

    async def _seek(self, partition: int, offset: int) -> None:
        await self.source.seek(partition, offset)
        self._reached[partition] = offset

    async def _notice_rewind(self) -> None:
        """Without new messages nothing else would tell that somebody moved the offset back."""
        if time.monotonic() - self._looked < REWIND_SECONDS:
            return
        self._looked = time.monotonic()
        async with self.database.reading() as connection:
            rows = await connection.fetch(
                "SELECT partition, next FROM offsets WHERE subscription = $1 AND source = $2",
                self.name,
                self.source.name,
            )
        for row in rows:
            if row["next"] < self._reached.get(row["partition"], 0):
                await self._seek(row["partition"], row["next"])

    async def _let_go(self) -> None:
        """Leave the source, so that the next start is from the offset row."""
        self._started = False
        try:
            await self.source.stop()
        except Exception as error:
            log.warning(
                "source did not stop", source=self.source.name, error=type(error).__name__
            )


def _fresh(
    messages: Sequence[Message[E]], following: int, position: int, service: str | None
) -> list[Message[E]]:
    """Those not applied yet, by offset and by position (also among themselves).

    Raises ``SourceBrokenError`` if one is missing between them.
    """
    fresh = []
    for message in messages:
        if message.offset < following:
            continue
        if message.position is not None:
            if message.position <= position:
                continue
            if message.previous > position:
                raise SourceBrokenError(
                    f"the event at {message.previous} is missing before {message.position}: "
                    f"aiguillage republish {service}"
                )
            position = message.position
        fresh.append(message)
    return fresh


async def set_paused(
    tx: Transaction, subscription: str, paused: bool, reason: str | None = None
) -> None:
    """Hold a subscription still, or let it go on."""
    await tx.execute(
        "INSERT INTO subscriptions (subscription, paused, reason) VALUES ($1, $2, $3) "
        "ON CONFLICT (subscription) DO UPDATE SET paused = $2, reason = $3, since = now()",
        subscription,
        paused,
        reason,
    )
