"""What municipal systems produce straight to Kafka: their records, and nothing is believed."""

from collections.abc import Sequence
from typing import Any

import structlog

from infra.base.settings import Settings
from infra.messaging.kafka_client import MAX_PUBLIC_BYTES, public_topic_of
from infra.messaging.sources.base import (
    GONE,
    PLACE_ONLY,
    ForeignRecord,
    Life,
    Message,
    ReadAgainError,
)
from infra.messaging.sources.consumer import TopicSource, place_of
from infra.messaging.topics import ensure_topics
from infra.postgres.transaction import Transaction

log = structlog.get_logger()


class PublicSource(TopicSource[ForeignRecord]):
    """Every record stands alone (its key is its place): one that had to be parked is only on
    the topic, which will forget it, so nothing may wait behind it.
    """

    async def start(self, offsets: Any) -> None:
        """Create the topic if it is missing, and join the group."""
        await ensure_topics(self._settings, [self.name])  # no relay of ours creates this one
        await super().start(offsets)

    async def complete(
        self, tx: Transaction, messages: Sequence[Message[ForeignRecord]]
    ) -> Sequence[Message[ForeignRecord]]:
        """They are whole: there is no table of theirs."""
        return messages

    def dump(self, message: Message[ForeignRecord]) -> bytes:
        """Nothing: its text is personal and in clear. While the topic has it, it is there."""
        return PLACE_ONLY

    def parse(self, record: bytes) -> ForeignRecord:
        """Impossible, since nothing is kept."""
        raise ReadAgainError("nothing was kept of it")

    async def _life(self, partition: int) -> Life:
        if self._topic is None:
            raise ConnectionError("not started")
        lost = f"{self.name} was deleted and made again: what was not read of it is lost"
        return Life(self._topic.topic_id, 0, lost)

    async def _first(self, tp: Any, following: int, begins: int, ends: int) -> int:
        if begins <= following <= ends or self._offsets is None:
            return following
        log.error("records are gone", topic=tp.topic, partition=tp.partition, first=begins)
        if following < begins:
            await self._offsets.pass_over(tp.partition, begins)
            return begins
        what = f"it ends at {ends}, before {following}"
        await self._offsets.raise_alarm(GONE, f"{tp.topic} {tp.partition}", what)
        return ends

    def _message(self, record: Any) -> Message[ForeignRecord]:
        # The producer's own key may be a name or a number of the person: it is not kept.
        size = len(record.key or b"") + len(record.value or b"")
        size += sum(len(name) + len(value or b"") for name, value in record.headers)
        where = (record.topic, record.partition, record.offset)
        if size > MAX_PUBLIC_BYTES:
            foreign = ForeignRecord(*where, None, (), size)
        else:
            foreign = ForeignRecord(*where, record.value, tuple(record.headers), size)
        # Nobody knows who produced it: all of them count as one author.
        return Message(record.offset, place_of(record), foreign, author=record.topic)


def public_source(settings: Settings, group: str) -> PublicSource:
    """What municipal systems produce straight to Kafka; creates the topic if it is missing."""
    return PublicSource(settings, public_topic_of(settings), group)
