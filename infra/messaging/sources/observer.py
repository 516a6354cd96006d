"""Looks at topics without joining a group: where they end, and single records of theirs."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from aiokafka import (  # type: ignore[attr-defined, unused-ignore]
    AIOKafkaConsumer,
    TopicPartition,
)

from infra.base.settings import Settings
from infra.messaging.kafka_client import START_SECONDS, close
from infra.messaging.sources.base import ReadAgainError
from infra.messaging.sources.batches import Guard

LOOK_SECONDS = 5.0
"""Bound of one question: a broker that is paused answers never."""


class Observer:
    """A consumer of no group, for a few questions.

    Raises ``KafkaError`` or ``TimeoutError`` where the broker does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            request_timeout_ms=int(LOOK_SECONDS * 1000),
            check_crcs=False,
        )
        Guard().attach(self._consumer._client)

    async def __aenter__(self) -> Self:
        """Connect."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._consumer.start()
        except BaseException:
            await close(self._consumer)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect, within a bound."""
        await close(self._consumer)

    async def ends(self, topic: str) -> dict[int, int]:
        """Partition → the offset after its last record; empty if there is no such topic."""
        async with asyncio.timeout(LOOK_SECONDS):  # asks for all topics, so that none is made
            cluster = await self._consumer._client.fetch_all_metadata()
        return await ends_of(self._consumer, topic, cluster.partitions_for_topic(topic) or ())

    async def oldest(self, topic: str, standing: Mapping[int, int]) -> datetime | None:
        """When the oldest record from these offsets on was written; None: there is none."""
        firsts = [await self._first(topic, p, offset) for p, offset in standing.items()]
        times = [record.timestamp for record in firsts if record is not None]
        return datetime.fromtimestamp(min(times) / 1000, UTC) if times else None

    async def record(self, topic: str, partition: int, offset: int) -> Any:
        """One record; raises ``ReadAgainError`` if the topic no longer has it."""
        record = await self._first(topic, partition, offset)
        if record is None or record.offset != offset:
            raise ReadAgainError("the topic no longer has it")
        return record

    async def _first(self, topic: str, partition: int, offset: int) -> Any:
        place = TopicPartition(topic, partition)
        self._consumer.assign([place])
        self._consumer.seek(place, offset)
        records = await self._consumer.getmany(
            place, timeout_ms=int(LOOK_SECONDS * 1000), max_records=1
        )
        return next((record for batch in records.values() for record in batch), None)


async def ends_of(consumer: Any, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Partition → the offset after its last record, as the broker says now."""
    places = [TopicPartition(topic, number) for number in sorted(partitions)]
    async with asyncio.timeout(LOOK_SECONDS):
        ends = await consumer.end_offsets(places)
    return {place.partition: int(end) for place, end in ends.items()}
