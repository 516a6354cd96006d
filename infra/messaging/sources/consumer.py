"""A consumer of one Kafka topic. The offset row in SQL decides where to read, not the broker.

The group only shares partitions out. Partitions that a rebalance brings are held still until
the offset row has been read in the reader's own task, where an error is seen and retried; in
aiokafka's callback it would only be logged. A batch of a partition that has moved away in the
meantime is harmless: the offset row fences it (docs/adr/0004).

An offset says nothing without the topic that it belongs to: a name that was deleted and made
again is another topic, and a reader notices (docs/adr/0022).
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

import structlog
from aiokafka import (  # type: ignore[attr-defined, unused-ignore]
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    TopicPartition,
)

from infra.base.settings import Settings
from infra.messaging.kafka_client import REQUEST_MILLISECONDS, START_SECONDS, close
from infra.messaging.sources.base import (
    UNREADABLE,
    Batch,
    Life,
    Message,
    Offsets,
    ReadAgainError,
    SourceBrokenError,
)
from infra.messaging.sources.batches import Guard, Unreadable
from infra.messaging.sources.observer import Observer, ends_of
from infra.messaging.topic_ids import FoundTopic, find_topic
from infra.postgres.transaction import Transaction

E = TypeVar("E")
log = structlog.get_logger()

REBALANCE_SECONDS = 30
MAX_POLL_SECONDS = 300
SILENT_SECONDS = 45.0
FETCH_BYTES = 8 * 1024 * 1024
LOOK_SECONDS = 5.0
"""How often a reader looks whether the topic is still the same."""


class StuckConsumerError(ConnectionError):
    """aiokafka stopped making progress without saying so; a new consumer heals it."""


class RecordsGoneError(SourceBrokenError):
    """The topic no longer holds what was to be read next."""


class AnotherTopicError(ConnectionError):
    """The topic is not the one that was read so far: begin anew, and look at both."""


class TopicSource(ABC, Generic[E]):
    """One consumer group's share of one topic."""

    inherits: str | None = None
    first = 0

    def __init__(
        self, settings: Settings, topic: str, group: str, *, session_seconds: float = 10
    ) -> None:
        self.name = topic
        self.silent_seconds = SILENT_SECONDS
        self._settings = settings
        self._group = group
        self._session_seconds = session_seconds
        self._consumer: Any = None
        self._guard = Guard()
        self._topic: FoundTopic | None = None
        self._looked = 0.0
        self._offsets: Offsets | None = None
        self._unplaced: set[Any] = set()
        self._next: dict[int, int] = {}
        self._heard = 0.0
        self._rejoining_since: float | None = None

    @abstractmethod
    def _message(self, record: Any) -> Message[E]: ...

    @abstractmethod
    async def _life(self, partition: int) -> Life:
        """Which life of the topic this is, and where it begins."""

    @abstractmethod
    async def _first(self, tp: Any, following: int, begins: int, ends: int) -> int:
        """Where to read on, if the topic holds what lies between two offsets."""

    @abstractmethod
    def dump(self, message: Message[E]) -> bytes:
        """What is kept of a parked message."""

    @abstractmethod
    def parse(self, record: bytes) -> E:
        """Read back what ``dump`` kept."""

    async def start(self, offsets: Offsets) -> None:
        """Join the group; raises aiokafka's ``KafkaError`` or ``TimeoutError`` if it cannot."""
        self._offsets = offsets
        self._lose_partitions()
        self._consumer = consumer = AIOKafkaConsumer(**self._options())
        self._guard = Guard()
        self._guard.attach(consumer._client)
        async with asyncio.timeout(START_SECONDS):
            await consumer.start()
            self._topic = await self._identified(await find_topic(consumer._client, self.name))
        consumer.subscribe([self.name], listener=_Rebalanced(self))
        self._heard, self._looked = time.time(), time.monotonic()

    async def fetch(self, limit: int, seconds: float) -> list[Batch[E]]:
        """The next records of the partitions that are ours now."""
        await self._place()
        async with asyncio.timeout(seconds + REBALANCE_SECONDS + START_SECONDS):
            records = await self._consumer.getmany(
                timeout_ms=int(seconds * 1000), max_records=limit
            )
        batches = [self._batch(tp.partition, r) for tp, r in records.items() if self._has(tp)]
        if not batches:
            self._watch()
            await self._look()
            batches = [b for number in list(self._next) if (b := await self._skip(number))]
        return batches

    async def seek(self, partition: int, offset: int) -> None:
        """Read again from ``offset``; nothing happens if the partition is not ours (now)."""
        if partition in self._next:
            self._consumer.seek(TopicPartition(self.name, partition), offset)
            self._next[partition] = offset

    async def ends(self) -> dict[int, int]:
        """As the broker says now; raises ``ConnectionError`` while not connected."""
        if self._consumer is None:
            raise ConnectionError("not connected to the broker")
        partitions = self._consumer.partitions_for_topic(self.name)
        if not partitions:
            raise ConnectionError("no such topic is known")
        return await ends_of(self._consumer, self.name, partitions)

    async def oldest(self, standing: Mapping[int, int]) -> datetime | None:
        """When the oldest record from these offsets on was written."""
        async with Observer(self._settings) as topics:
            return await topics.oldest(self.name, standing)

    async def again(self, tx: Transaction, source: str, partition: int, offset: int) -> E:
        """Read a record anew, while the topic has it."""
        if source != self.name:
            raise ReadAgainError(f"it was parked from {source}")
        async with Observer(self._settings) as topics:
            message = self._message(await topics.record(self.name, partition, offset))
        if message.event is None:
            raise ReadAgainError(message.problem or "")
        return message.event

    async def stop(self) -> None:
        """Leave the group, within a bound."""
        consumer, self._consumer = self._consumer, None
        self._lose_partitions()
        if consumer is not None:
            await close(consumer)

    def _options(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": self._settings.kafka_bootstrap,
            "group_id": self._settings.topic_prefix + self._group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "check_crcs": False,  # the guard has looked, and changed what it unpacked
            "isolation_level": "read_committed",
            "session_timeout_ms": int(self._session_seconds * 1000),
            "heartbeat_interval_ms": int(self._session_seconds * 1000 / 4),
            "rebalance_timeout_ms": REBALANCE_SECONDS * 1000,
            "max_poll_interval_ms": MAX_POLL_SECONDS * 1000,
            "request_timeout_ms": REQUEST_MILLISECONDS,
            "fetch_max_bytes": FETCH_BYTES,
        }

    def _lose_partitions(self) -> None:
        self._unplaced, self._next = set(), {}

    def _receive_partitions(self, assigned: Iterable[Any]) -> None:
        self._lose_partitions()
        self._unplaced = set(assigned)
        for tp in self._unplaced:
            self._consumer.seek(tp, 0)  # any position will do: none would be an error
            self._consumer.pause(tp)

    async def _place(self) -> None:
        """Read each new partition's offset row, and let it go from there."""
        while self._unplaced:
            unplaced = self._unplaced  # a rebalance puts another set in its place
            begins = await self._consumer.beginning_offsets(list(unplaced))
            ends = await self._consumer.end_offsets(list(unplaced))
            for tp in list(unplaced):
                if self._offsets is None:
                    raise ConnectionError("not started")
                life = await self._life(tp.partition)
                following = await self._offsets.next_offset(tp.partition, life)
                first = await self._first(tp, following, begins[tp], ends[tp])
                if unplaced is not self._unplaced:
                    break
                unplaced.discard(tp)
                self._next[tp.partition] = following
                self._heard = time.time()
                self._consumer.seek(tp, first)
                self._consumer.resume(tp)

    async def _identified(self, current: FoundTopic | None) -> FoundTopic:
        """The topic, if it is one that may be read."""
        if current is None:
            raise AnotherTopicError(f"the broker has no topic {self.name}")
        return current

    async def _look(self) -> None:
        """Notice that the topic was deleted, or made again, while nothing comes from it."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        async with asyncio.timeout(START_SECONDS):
            current = await find_topic(self._consumer._client, self.name)
        if current is None or self._topic is None or current.topic_id != self._topic.topic_id:
            raise AnotherTopicError(f"{self.name} was deleted, or made again")

    def _has(self, tp: Any) -> bool:
        return tp.partition in self._next

    def _batch(self, partition: int, records: list[Any]) -> Batch[E]:
        start, end = self._next[partition], records[-1].offset + 1
        self._next[partition] = end
        self._heard = time.time()
        messages = []
        for record in records:
            stepped_over = self._guard.unreadable.pop((record.partition, record.offset), None)
            messages.append(
                _skipped(record, stepped_over) if stepped_over else self._message(record)
            )
        return Batch(partition, start, end, messages)

    async def _skip(self, partition: int) -> Batch[E] | None:
        """What the consumer passed over: markers of transactions, no records of anybody's."""
        start = self._next.get(partition)
        place = TopicPartition(self.name, partition)
        if start is None or place not in self._consumer.assignment():
            return None
        end = int(await self._consumer.position(place))
        if self._next.get(partition) != start or end <= start:
            return None  # the first: a rebalance came in between
        self._next[partition] = end
        return Batch(partition, start, end, ())

    def _watch(self) -> None:
        """Notice a consumer that got stuck in a rebalance or a restart (aiokafka 1154)."""
        for tp in self._consumer.assignment():
            if self._has(tp):
                answered = (self._consumer.last_poll_timestamp(tp) or 0) / 1000
                if time.time() - max(answered, self._heard) > self.silent_seconds:
                    raise StuckConsumerError("no answer from the broker")
        coordinator = getattr(self._consumer, "_coordinator", None)
        rejoin = getattr(coordinator, "_rejoin_needed_fut", None)
        if rejoin is None or not rejoin.done():
            self._rejoining_since = None
            return
        self._rejoining_since = self._rejoining_since or time.monotonic()
        if time.monotonic() - self._rejoining_since > self.silent_seconds:
            raise StuckConsumerError("wants to rejoin its group, and does not")


class _Rebalanced(ConsumerRebalanceListener):  # type: ignore[misc, unused-ignore]
    def __init__(self, source: TopicSource[Any]) -> None:
        self._source = source

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._source._lose_partitions()

    def on_partitions_assigned(self, assigned: Any) -> None:
        if self._source._consumer is not None:
            self._source._receive_partitions(assigned)


def place_of(record: Any) -> str:
    """Where a record is: the key of one that says of itself nothing that can be believed."""
    return f"{record.partition}-{record.offset}"


def _skipped(record: Any, batch: Unreadable) -> Message[Any]:
    where = f"partition {record.partition}, offsets {batch.first} to {batch.last}"
    problem = f"{where}, {batch.size} bytes: {batch.why}"
    return Message(record.offset, place_of(record), None, problem=problem, alarm=UNREADABLE)
