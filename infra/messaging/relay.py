"""Copies a service's table to its Kafka topic: a subscription whose handler is "produce".

Within a partition a batch is sent only after the one before was acknowledged, so the topic
receives positions in rising order even if a batch is refused. A relay that dies between
producing and committing its offset row publishes the same positions again; readers drop what is
not above the position they stand at. Every record names the position before it, so that readers
notice a hole.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from aiokafka import (  # type: ignore[attr-defined, unused-ignore]
    AIOKafkaConsumer,
    AIOKafkaProducer,
    TopicPartition,
)
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from prometheus_client import Counter

from infra.base.settings import Settings
from infra.eventstore.events import StoredEvent
from infra.messaging.cloudevents import Headers, to_kafka
from infra.messaging.kafka_client import (
    MAX_TOPIC_BYTES,
    REQUEST_MILLISECONDS,
    START_SECONDS,
    close,
    topic_of,
)
from infra.messaging.publications import (
    Publication,
    begin_generation,
    keep_lasts,
    partitions_before,
    read_lasts,
    read_publication,
)
from infra.messaging.record_codes import RecordKey, Stamp
from infra.messaging.sources.base import Batch, Offsets, SourceBrokenError
from infra.messaging.sources.postgres import PostgresSource
from infra.messaging.subscription import Subscription
from infra.messaging.topic_ids import FoundTopic, find_topic
from infra.messaging.topics import ensure_topics
from infra.postgres.database import Database, is_infrastructure
from infra.postgres.transaction import Transaction

SEND_SECONDS = 20.0
"""Bound of one batch; the transaction around it may stay idle for 60 s (``infra.postgres``)."""
LOOK_SECONDS = 5.0
"""How often a relay looks whether the topic is still the same."""
MAX_BATCH = 500
BATCH_BYTES = 128 * 1024
MAX_RECORD_BYTES = MAX_TOPIC_BYTES - 1024
"""What is larger travels as a stand-in: its attributes alone. The rest of a batch is head."""
Record = tuple[bytes, bytes, Headers]
STAND_INS = Counter(
    "aiguillage_relay_stand_ins", "Events too large for their topic", ["service"]
)
_partition_of = DefaultPartitioner()  # murmur2, as Java's producers
log = structlog.get_logger()


class RelayError(ConnectionError):
    """Not published. Always worth another attempt: a relay parks nothing."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way into a partition."""

    position: int
    record: Record


class Relay(PostgresSource):
    """A service's own table, together with the producer that copies it.

    The subscription lets go of its source after any error; the producer goes with it, because
    aiokafka's idempotent ones do not recover from all that may befall them. What was
    acknowledged before the error is remembered, and not produced again.
    """

    def __init__(
        self, settings: Settings, database: Database, service: str, key: RecordKey
    ) -> None:
        super().__init__(database, service, as_stored=True)
        self.topic = topic_of(settings, service)
        self._settings = settings
        self._own = database
        self._key = key
        self._producer: Any = None
        self._publication: Publication | None = None
        self._looked = 0.0
        self._acknowledged: dict[int, int] = {}
        self._batch_bytes = BATCH_BYTES
        self._refused: set[int] = set()

    async def start(self, offsets: Offsets) -> None:
        """Connect, and go on with the generation of the topic, or begin the first one.

        Raises ``SourceBrokenError`` for a topic that is gone, or another than it was.
        """
        await self._key.ready()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_TOPIC_BYTES,
            request_timeout_ms=REQUEST_MILLISECONDS,
        )
        async with asyncio.timeout(START_SECONDS):
            await self._producer.start()
            await self._take_up()
        await super().start(offsets)

    async def fetch(self, limit: int, seconds: float) -> list[Batch[StoredEvent]]:
        """The next events, while the topic is still the same."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            async with asyncio.timeout(START_SECONDS):
                await self._same_topic()
                # noticed also while nothing happens: everything is to be published again
                async with self._own.reading() as tx:
                    if await read_publication(tx, self.name) != self._publication:
                        raise RelayError(f"{self.topic} begins anew")
        return await super().fetch(limit, seconds)

    async def stop(self) -> None:
        """Disconnect, within a bound."""
        await super().stop()
        producer, self._producer = self._producer, None
        if producer is not None:
            await close(producer)

    async def publish(self, events: Sequence[StoredEvent], tx: Transaction) -> None:
        """Produce, and return once all is acknowledged.

        Raises ``RelayError`` for what another attempt may heal, else ``SourceBrokenError``.
        """
        publication = self._publication
        lasts = await read_lasts(tx, publication.generation) if publication else None
        if lasts is None:
            raise RelayError("not published: the topic begins anew")
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._publish(events, lasts)
        except Exception as error:
            raise _failure(self.topic, error) from error
        await keep_lasts(tx, lasts)

    async def _take_up(self) -> None:
        async with self._own.transaction() as tx:
            partitions = await partitions_before(tx)
            publication = await read_publication(tx, self.name)
            if publication is None:
                publication = await self._begin(tx, partitions)
        if self._publication is None or publication.generation != self._publication.generation:
            self._acknowledged.clear()
        self._publication = publication
        await self._same_topic()

    async def _begin(self, tx: Transaction, partitions: int | None) -> Publication:
        """A generation of its own on the topic as it is, which is made if it is missing."""
        await ensure_topics(self._settings, [self.topic], partitions)
        current = await find_topic(self._producer.client, self.topic)
        if current is None:
            raise RelayError(f"{self.topic} is not there yet")
        if partitions and current.partitions < partitions:
            raise SourceBrokenError(
                f"{self.topic} has {current.partitions} partitions, not {partitions}: marks "
                "belong to partitions, make it with as many"
            )
        ends = await self._ends(range(partitions or current.partitions))
        log.info("published anew", topic=self.topic, partitions=len(ends))
        return await begin_generation(tx, current.topic_id, ends)

    async def _ends(self, partitions: Sequence[int]) -> list[int]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.kafka_bootstrap)
        try:
            await consumer.start()
            ends = await consumer.end_offsets(
                [TopicPartition(self.topic, partition) for partition in partitions]
            )
        finally:
            await close(consumer)
        return [end for _, end in sorted(ends.items())]

    async def _same_topic(self) -> FoundTopic:
        assert self._publication is not None
        self._looked = time.monotonic()
        current = await find_topic(self._producer.client, self.topic)
        return self._publication.require(current, self.topic, self.name)

    async def _publish(self, events: Sequence[StoredEvent], lasts: list[int]) -> None:
        partitions = list(range(len(lasts)))
        shares: dict[int, list[Outgoing]] = {}
        for event in events:
            partition = _partition_of(event.key.encode(), partitions, partitions)
            previous, lasts[partition] = lasts[partition], event.position
            if event.position > self._acknowledged.get(partition, 0):
                record = self._record(partition, event, previous)
                shares.setdefault(partition, []).append(Outgoing(event.position, record))
        sending = [self._in_order(partition, share) for partition, share in shares.items()]
        # to the end in every partition: what is not awaited would be produced again
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        if failed := [outcome for outcome in outcomes if isinstance(outcome, Exception)]:
            raise ExceptionGroup("not published", failed)

    async def _in_order(self, partition: int, share: list[Outgoing]) -> None:
        batch, inside = self._producer.create_batch(), list[Outgoing]()
        for outgoing in share:
            record = outgoing.record
            if inside and (batch.size() > self._batch_bytes or not _fits(batch, record)):
                await self._deliver(batch, partition, inside)
                batch, inside = self._producer.create_batch(), []
            if not inside and not _fits(batch, record):
                raise RelayError("an event is larger than a batch can be")
            inside.append(outgoing)
        await self._deliver(batch, partition, inside)

    async def _deliver(self, batch: Any, partition: int, inside: list[Outgoing]) -> None:
        batch.close()
        sent = await self._producer.send_batch(batch, self.topic, partition=partition)
        try:
            await sent
        except MessageSizeTooLargeError:
            self._send_less(batch.size(), inside)
            raise
        self._acknowledged[partition] = inside[-1].position

    def _send_less(self, size: int, inside: list[Outgoing]) -> None:
        """The topic takes less than we thought: smaller batches, or a stand-in."""
        if len(inside) > 1:
            self._batch_bytes = min(self._batch_bytes, size) // 2
        elif inside[0].position in self._refused:
            raise SourceBrokenError(f"{self.topic} takes no records of {size} bytes")
        else:
            self._refused.add(inside[0].position)

    def _record(self, partition: int, event: StoredEvent, previous: int) -> Record:
        record = self._signed(partition, event, previous)
        if _size(record) <= MAX_RECORD_BYTES and event.position not in self._refused:
            return record
        log.warning(
            "too large for its topic: readers fetch it from the table",
            topic=self.topic, position=event.position, bytes=_size(record),
        )  # fmt: skip
        STAND_INS.labels(self.name).inc()
        bare = replace(event, data="{}", sealed=None, sealed_salt=None, sealed_commitment=None)
        return self._signed(partition, bare, previous, absent=True)

    def _signed(
        self, partition: int, event: StoredEvent, previous: int, *, absent: bool = False
    ) -> Record:
        key, value, headers = to_kafka(event)
        assert self._publication is not None
        stamp = Stamp(self._publication.generation, previous, absent)
        return key, value, self._key.sign(partition, value, headers, stamp)


def relay_subscription(
    settings: Settings, key: RecordKey, database: Database, service: str
) -> Subscription[StoredEvent]:
    """The relay of one service, in its own schema and role."""
    relay = Relay(settings, database, service, key)
    return Subscription(
        "relay",
        database,
        relay,
        relay.publish,
        batch_size=min(settings.batch_size, MAX_BATCH),
        poll_seconds=settings.poll_seconds,
        alarm_seconds=settings.lag_alarm_seconds,
    )


def _failure(topic: str, error: Exception) -> Exception:
    """Why nothing was published: a ``RelayError`` where another attempt may be enough."""
    causes = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
    for cause in causes:
        if isinstance(cause, SourceBrokenError):
            return cause
        if isinstance(cause, MessageSizeTooLargeError) or is_infrastructure(cause):
            continue
        return SourceBrokenError(f"not published to {topic}: {type(cause).__name__}")
    names = ", ".join(sorted({type(cause).__name__ for cause in causes}))
    return RelayError(f"not published: {names}")


def _size(record: Record) -> int:
    key, value, headers = record
    return len(key) + len(value) + sum(len(n) + len(t) + 8 for n, t in headers)


def _fits(batch: Any, record: Record) -> bool:
    key, value, headers = record
    return batch.append(timestamp=None, key=key, value=value, headers=headers) is not None
