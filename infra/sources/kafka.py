"""A Kafka topic as a source. The offset row in SQL decides where to read, not the broker.

The group only shares partitions out. Partitions that a rebalance brings are held still until
the offset row has been read in the reader's own task, where an error is seen and retried; in
aiokafka's callback it would only be logged. A batch of a partition that has moved away in the
meantime is harmless: the offset row fences it (docs/adr/0004).
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Generic, TypeVar

import orjson
import structlog
from aiokafka import (  # type: ignore[attr-defined, unused-ignore]
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    TopicPartition,
)

from infra.codec import SOURCE_PREFIX, NotOurEventError, from_kafka, parse_record, to_record
from infra.eventstore.events import Recorded
from infra.eventstore.upcast import upcast
from infra.kafka import REQUEST_MILLISECONDS, START_SECONDS, close, public_topic_of, topic_of
from infra.settings import Settings
from infra.sources.base import Batch, ForeignRecord, Message, Offsets
from infra.topics import ensure_topics

E = TypeVar("E")
log = structlog.get_logger()

REBALANCE_SECONDS = 30
MAX_POLL_SECONDS = 300
SILENT_SECONDS = 45.0
FETCH_BYTES = 8 * 1024 * 1024
LAG_SECONDS = 5.0


class StuckConsumerError(ConnectionError):
    """aiokafka stopped making progress without saying so; a new consumer heals it."""


class RecordsGoneError(ConnectionError):
    """The topic no longer holds what was to be read next. Waits for a person to decide."""


class _TopicSource(ABC, Generic[E]):
    """One consumer group's share of one topic."""

    inherits: str | None = None
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
        return batches

    async def seek(self, partition: int, offset: int) -> None:
        """Read again from ``offset``; nothing happens if the partition is not ours (now)."""
        if partition in self._next:
            self._consumer.seek(TopicPartition(self.name, partition), offset)
            self._next[partition] = offset

    async def lag(self) -> dict[int, int]:
        """Of our partitions only; raises ``ConnectionError`` while not connected."""
        if self._consumer is None or self._offsets is None:
            raise ConnectionError("not connected to the broker")
        async with asyncio.timeout(LAG_SECONDS):
            return {tp.partition: await self._lag(tp) for tp in self._consumer.assignment()}

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

    async def _lag(self, tp: Any) -> int:
        end: int | None = self._consumer.highwater(tp)
        if end is None:
            end = int((await self._consumer.end_offsets([tp]))[tp])
        if self._has(tp):  # what lies beyond our last record may be a transaction's marker
            return max(0, end - int(await self._consumer.position(tp)))
        return max(0, end - await self._standing(tp.partition))

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
        """A parked event, whole; of a record that is no event only where it is.

        What a stranger wrote on our topic may say anything about anybody.
        """
        if message.event is None:
            return orjson.dumps({"topic": self.name, "offset": message.offset})
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
        except NotOurEventError as error:
            return Message(record.offset, _place_of(record), None, problem=str(error))
        return Message(record.offset, event.key, event, event.position)


class _PublicSource(_TopicSource[ForeignRecord]):
    _forgets = True

    async def start(self, offsets: Offsets) -> None:
        await ensure_topics(self._settings, [self.name])  # no relay of ours creates this one
        await super().start(offsets)

    def dump(self, message: Message[ForeignRecord]) -> bytes:
        """Only where the record is: its text is personal and in clear."""
        return orjson.dumps({"topic": self.name, "offset": message.offset})

    def parse(self, record: bytes) -> ForeignRecord:
        """Impossible: the text was not kept. Rewind the subscription while the topic has it."""
        raise ValueError("the record was not kept; it may still be on the topic")

    def _message(self, record: Any) -> Message[ForeignRecord]:
        # The producer's own key may be a name or a number of the person: it is not kept.
        foreign = ForeignRecord(
            record.topic, record.partition, record.offset, record.value, tuple(record.headers)
        )
        return Message(record.offset, _place_of(record), foreign)


def public_source(settings: Settings, group: str) -> _PublicSource:
    """What municipal systems produce straight to Kafka; creates the topic if it is missing.

    Every record stands alone (its key is its place): one that had to be parked cannot be
    handled again, so nothing may wait behind it.
    """
    return _PublicSource(settings, public_topic_of(settings), group)


def _place_of(record: Any) -> str:
    return f"{record.partition}-{record.offset}"
