"""A Kafka topic as a source. The offset row in SQL decides where to read, not the broker.

The group only shares partitions out. Partitions that a rebalance brings are held still until
the offset row has been read in the reader's own task, where an error is seen and retried; in
aiokafka's callback it would only be logged. A batch of a partition that has moved away in the
meantime is harmless: the offset row fences it (docs/adr/0004).
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Generic, TypeVar

import structlog
from aiokafka import (  # type: ignore[attr-defined, unused-ignore]
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    TopicPartition,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.codec import SOURCE_PREFIX, NotOurEventError, from_kafka, parse_record, to_record
from infra.eventstore.events import Recorded
from infra.eventstore.upcast import upcast
from infra.faults import describe
from infra.kafka import REQUEST_MILLISECONDS, START_SECONDS, close, public_topic_of, topic_of
from infra.settings import Settings
from infra.sources.base import (
    PLACE_ONLY,
    Batch,
    ForeignRecord,
    Message,
    Offsets,
    ReadAgainError,
)
from infra.sources.observer import Observer, ends_of
from infra.topics import ensure_topics

E = TypeVar("E")
log = structlog.get_logger()

REBALANCE_SECONDS = 30
MAX_POLL_SECONDS = 300
SILENT_SECONDS = 45.0
FETCH_BYTES = 8 * 1024 * 1024


class StuckConsumerError(ConnectionError):
    """aiokafka stopped making progress without saying so; a new consumer heals it."""


class RecordsGoneError(ConnectionError):
    """The topic no longer holds what was to be read next. Waits for a person to decide."""


class _TopicSource(ABC, Generic[E]):
    """One consumer group's share of one topic."""

    inherits: str | None = None
    first = 0
    _forgets = False
    """Whether records may be gone because the topic keeps them only for a while."""

    def __init__(
        self, settings: Settings, topic: str, group: str, *, session_seconds: float = 10
    ) -> None:
        self.name = topic
        self.silent_seconds = SILENT_SECONDS
        self._settings = settings
        self._group = group
        self._session_seconds = session_seconds
        self._consumer: Any = None
        self._offsets: Offsets | None = None
        self._unplaced: set[Any] = set()
        self._next: dict[int, int] = {}
        self._heard = 0.0
        self._rejoining_since: float | None = None

    @abstractmethod
    def _message(self, record: Any) -> Message[E]: ...

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
        consumer.subscribe([self.name], listener=_Rebalanced(self))
        async with asyncio.timeout(START_SECONDS):
            await consumer.start()
        self._heard = time.time()

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

    async def again(self, tx: AsyncConnection, source: str, partition: int, offset: int) -> E:
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
            first = await self._consumer.beginning_offsets(list(unplaced))
            for tp in list(unplaced):
                following = await self._standing(tp.partition)
                if unplaced is not self._unplaced:
                    break
                unplaced.discard(tp)
                self._let_go(tp, following, first[tp])

    def _let_go(self, tp: Any, following: int, first: int) -> None:
        if following < first:
            log.error("records are gone", topic=tp.topic, partition=tp.partition, first=first)
            if not self._forgets:
                raise RecordsGoneError(f"{tp.topic} begins at {first}, not at {following}")
        self._next[tp.partition] = following
        self._heard = time.time()
        self._consumer.seek(tp, max(following, first))
        self._consumer.resume(tp)

    async def _standing(self, partition: int) -> int:
        if self._offsets is None:
            raise ConnectionError("not started")
        return await self._offsets.next_offset(partition)

    def _has(self, tp: Any) -> bool:
        return tp.partition in self._next

    def _batch(self, partition: int, records: list[Any]) -> Batch[E]:
        start, end = self._next[partition], records[-1].offset + 1
        self._next[partition] = end
        self._heard = time.time()
        return Batch(partition, start, end, [self._message(record) for record in records])

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
    def __init__(self, source: _TopicSource[Any]) -> None:
        self._source = source

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._source._lose_partitions()

    def on_partitions_assigned(self, assigned: Any) -> None:
        if self._source._consumer is not None:
            self._source._receive_partitions(assigned)


class KafkaSource(_TopicSource[Recorded]):
    """One service's events on its topic, in the order of their positions per partition.

    ``as_stored``: in their own words (no upcasting), as the audit log hashes them.
    """

    def __init__(
        self,
        settings: Settings,
        service: str,
        group: str,
        *,
        as_stored: bool = False,
        session_seconds: float = 10,
    ) -> None:
        topic = topic_of(settings, service)
        super().__init__(settings, topic, group, session_seconds=session_seconds)
        self.inherits = service
        self._as_stored = as_stored

    def dump(self, message: Message[Recorded]) -> bytes:
        """A parked event, whole.

        Of a record that is no event only its place is kept: what a stranger wrote on our topic
        may say anything about anybody.
        """
        assert message.event is not None
        return to_record(message.event)

    def parse(self, record: bytes) -> Recorded:
        """Read back a parked event."""
        return self._in_our_words(parse_record(record))

    def _in_our_words(self, event: Recorded) -> Recorded:
        if self._as_stored:
            return event
        event_type, data = upcast(event.type, event.data)
        return event if event_type == event.type else replace(event, type=event_type, data=data)

    def _message(self, record: Any) -> Message[Recorded]:
        try:
            event = self._in_our_words(from_kafka(record.value, record.headers))
            if event.service != self.inherits:
                raise NotOurEventError(
                    f"attribute source is not {SOURCE_PREFIX}{self.inherits}"
                )
        except Exception as error:  # whatever is on a topic, reading goes on behind it
            problem = str(error) if isinstance(error, NotOurEventError) else describe(error)
            return Message(record.offset, _place_of(record), None, problem=problem)
        return Message(record.offset, event.key, event, event.position, author=event.author)


class _PublicSource(_TopicSource[ForeignRecord]):
    _forgets = True

    async def start(self, offsets: Offsets) -> None:
        await ensure_topics(self._settings, [self.name])  # no relay of ours creates this one
        await super().start(offsets)

    def dump(self, message: Message[ForeignRecord]) -> bytes:
        """Nothing: its text is personal and in clear. While the topic has it, it is there."""
        return PLACE_ONLY

    def parse(self, record: bytes) -> ForeignRecord:
        """Impossible, since nothing is kept."""
        raise ReadAgainError("nothing was kept of it")

    def _message(self, record: Any) -> Message[ForeignRecord]:
        # The producer's own key may be a name or a number of the person: it is not kept.
        foreign = ForeignRecord(
            record.topic, record.partition, record.offset, record.value, tuple(record.headers)
        )
        # Nobody knows who produced it: all of them count as one author.
        return Message(record.offset, _place_of(record), foreign, author=record.topic)


def public_source(settings: Settings, group: str) -> _PublicSource:
    """What municipal systems produce straight to Kafka; creates the topic if it is missing.

    Every record stands alone (its key is its place): one that had to be parked is only on the
    topic, which will forget it, so nothing may wait behind it.
    """
    return _PublicSource(settings, public_topic_of(settings), group)


def _place_of(record: Any) -> str:
    return f"{record.partition}-{record.offset}"
