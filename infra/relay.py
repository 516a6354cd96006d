"""Copies a service's table to its Kafka topic: a subscription whose handler is "produce".

Within a partition a batch is sent only after the one before was acknowledged, so the topic
receives positions in rising order even if a batch is refused. A relay that dies between
producing and committing its offset row publishes the same positions again; readers drop what is
not above the position they stand at.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer  # type: ignore[attr-defined, unused-ignore]
from aiokafka.partitioner import DefaultPartitioner
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.codec import Headers, to_kafka
from infra.database import Database
from infra.eventstore.events import Recorded
from infra.kafka import REQUEST_MILLISECONDS, START_SECONDS, close, topic_of
from infra.platform import Platform
from infra.settings import Settings
from infra.sources.base import Offsets
from infra.sources.postgres import PostgresSource
from infra.subscription import Subscription
from infra.topics import ensure_topics

SEND_SECONDS = 20.0
"""Bound of one batch; the transaction around it may stay idle for 60 s (``infra.database``)."""
MAX_BATCH = 500
BATCH_BYTES = 128 * 1024
_partition_of = DefaultPartitioner()  # murmur2, as Java's producers


class RelayError(ConnectionError):
    """Not published. Always worth another attempt: a relay parks nothing."""


class Relay(PostgresSource):
    """A service's own table, together with the producer that copies it.

    The subscription lets go of its source after any error; the producer goes with it, because
    aiokafka's idempotent ones do not recover from all that may befall them.
    """

    def __init__(self, settings: Settings, database: Database, service: str) -> None:
        super().__init__(database, service, as_stored=True)
        self.topic = topic_of(settings, service)
        self._settings = settings
        self._producer: Any = None

    async def start(self, offsets: Offsets) -> None:
        """Create the topic if it is missing, and connect."""
        await ensure_topics(self._settings, [self.topic])
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=REQUEST_MILLISECONDS,
        )
        async with asyncio.timeout(START_SECONDS):
            await self._producer.start()
        await super().start(offsets)

    async def stop(self) -> None:
        """Disconnect, within a bound."""
        await super().stop()
        producer, self._producer = self._producer, None
        if producer is not None:
            await close(producer)

    async def publish(self, events: Sequence[Recorded], tx: AsyncConnection) -> None:
        """Produce, and return once all is acknowledged; raises ``RelayError`` otherwise."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._publish(events)
        except Exception as error:
            raise RelayError(f"not published: {type(error).__name__}") from error

    async def _publish(self, events: Sequence[Recorded]) -> None:
        partitions = sorted(await self._producer.partitions_for(self.topic))
        shares: dict[int, list[tuple[bytes, bytes, Headers]]] = {}
        for record in map(to_kafka, events):
            partition = _partition_of(record[0], partitions, partitions)
            shares.setdefault(partition, []).append(record)
        async with asyncio.TaskGroup() as sending:
            for partition, records in shares.items():
                sending.create_task(self._in_order(partition, records))

    async def _in_order(
        self, partition: int, records: list[tuple[bytes, bytes, Headers]]
    ) -> None:
        batch = self._producer.create_batch()
        for record in records:
            if not _fits(batch, record):
                await self._deliver(batch, partition)
                batch = self._producer.create_batch()
                if not _fits(batch, record):
                    raise RelayError("an event is larger than a batch can be")
        await self._deliver(batch, partition)

    async def _deliver(self, batch: Any, partition: int) -> None:
        batch.close()
        acknowledged = await self._producer.send_batch(batch, self.topic, partition=partition)
        await acknowledged


def relay_subscription(
    platform: Platform, database: Database, service: str
) -> Subscription[Recorded]:
    """The relay of one service, in its own schema and role."""
    settings = platform.settings
    relay = Relay(settings, database, service)
    return Subscription(
        "relay",
        database,
        relay,
        relay.publish,
        batch_size=min(settings.batch_size, MAX_BATCH),
        poll_seconds=settings.poll_seconds,
        alarm_seconds=settings.lag_alarm_seconds,
    )


def _fits(batch: Any, record: tuple[bytes, bytes, Headers]) -> bool:
    key, value, headers = record
    return batch.append(timestamp=None, key=key, value=value, headers=headers) is not None
