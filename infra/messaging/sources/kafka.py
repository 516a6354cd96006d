"""One service's events on its topic: ours are known by their code, and nothing else counts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from infra.base.settings import Settings
from infra.eventstore.events import StoredEvent
from infra.eventstore.store import EventStore
from infra.eventstore.upcast import upcast
from infra.messaging.cloudevents import (
    SOURCE_PREFIX,
    NotOurEventError,
    from_kafka,
    parse_record,
    to_record,
)
from infra.messaging.kafka_client import topic_of
from infra.messaging.publications import Publication, read_publication
from infra.messaging.record_codes import NotAuthenticError, RecordKey
from infra.messaging.sources.base import FOREIGN, Life, Message, SourceBrokenError
from infra.messaging.sources.consumer import (
    AnotherTopicError,
    RecordsGoneError,
    TopicSource,
    place_of,
)
from infra.messaging.topic_ids import FoundTopic
from infra.postgres.database import Database
from infra.postgres.errors import describe
from infra.postgres.transaction import Transaction


class KafkaSource(TopicSource[StoredEvent]):
    """One service's events on its topic, in the order of their positions per partition.

    A record without our code, or of another generation of the topic, is no event of ours and
    moves no mark. ``as_stored``: in their own words (no upcasting), as the audit log hashes
    them.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        service: str,
        group: str,
        key: RecordKey,
        *,
        as_stored: bool = False,
        session_seconds: float = 10,
    ) -> None:
        topic = topic_of(settings, service)
        super().__init__(settings, topic, group, session_seconds=session_seconds)
        self.inherits = self._service = service
        self._database = database
        self._key = key
        self._as_stored = as_stored
        self._table = EventStore(service, as_stored=True)
        self._publication: Publication | None = None

    async def complete(
        self, tx: Transaction, messages: Sequence[Message[StoredEvent]]
    ) -> Sequence[Message[StoredEvent]]:
        """Fetch from the table what was too large for the topic.

        Raises ``AnotherTopicError`` if the topic has begun a new generation, and
        ``SourceBrokenError`` for an event that the table does not have: it was put back to an
        earlier state, and what it had said since is void.
        """
        if await read_publication(tx, self._service) != self._publication:
            raise AnotherTopicError(f"{self.name} is published anew")
        events = [
            (message.position, message.event.event_id)
            for message in messages
            if message.event is not None and message.position is not None
        ]
        if strange := await self._table.strange(tx, events):
            raise SourceBrokenError(
                f"{self.name} holds {len(strange)} events that the table of {self._service} "
                f"does not have, the first at position {strange[0]}: {_repair(self._service)}"
            )
        absent = [m.position for m in messages if m.absent and m.position is not None]
        filled = {e.position: e for e in await self._table.at_all(tx, absent)} if absent else {}
        return [
            replace(m, event=self._in_our_words(filled[m.position or 0]), absent=False)
            if m.absent
            else m
            for m in messages
        ]

    async def again(
        self, tx: Transaction, source: str, partition: int, offset: int
    ) -> StoredEvent:
        """Read an event anew, from the table: the topic only says which."""
        if source == self._service:
            position = offset
        else:
            position = (await super().again(tx, source, partition, offset)).position
        return self._in_our_words(await self._table.at(tx, position))

    def dump(self, message: Message[StoredEvent]) -> bytes:
        """A parked event, whole.

        Of a record that is no event only its place is kept: what a stranger wrote on our topic
        may say anything about anybody.
        """
        assert message.event is not None
        return to_record(message.event)

    def parse(self, record: bytes) -> StoredEvent:
        """Read back a parked event."""
        return self._in_our_words(parse_record(record))

    async def _identified(self, current: FoundTopic | None) -> FoundTopic:
        await self._key.ready()
        async with self._database.reading() as connection:
            self._publication = await read_publication(connection, self._service)
        if self._publication is None:
            raise AnotherTopicError(f"{self.name} is not published yet")
        return self._publication.require(current, self.name, self._service)

    async def _life(self, partition: int) -> Life:
        if self._publication is None:
            raise ConnectionError("not started")
        return Life(self._publication.generation, self._publication.start(partition))

    async def _first(self, tp: Any, following: int, begins: int, ends: int) -> int:
        start = (await self._life(tp.partition)).start
        if max(following, start) < begins:
            raise RecordsGoneError(
                f"{tp.topic} begins at {begins}, not at {following}, in partition "
                f"{tp.partition}: {_repair(self._service)}"
            )
        if following > ends:
            raise RecordsGoneError(
                f"{tp.topic} ends at {ends}, before {following}, in partition "
                f"{tp.partition}: {_repair(self._service)}"
            )
        return max(following, start)

    def _in_our_words(self, event: StoredEvent) -> StoredEvent:
        if self._as_stored:
            return event
        event_type, data = upcast(event.type, event.data)
        return event if event_type == event.type else replace(event, type=event_type, data=data)

    def _message(self, record: Any) -> Message[StoredEvent]:
        try:
            stamp = self._key.verify(record.partition, record.value, record.headers)
            event = self._in_our_words(from_kafka(record.value, record.headers))
            if event.service != self._service:
                raise NotOurEventError(
                    f"attribute source is not {SOURCE_PREFIX}{self._service}"
                )
        except Exception as error:  # whatever is on a topic, reading goes on behind it
            ours = isinstance(error, (NotOurEventError, NotAuthenticError))
            problem = str(error) if ours else describe(error)
            where = place_of(record)
            return Message(record.offset, where, None, problem=problem, alarm=FOREIGN)
        if self._publication is None or stamp.generation != self._publication.generation:
            return Message(record.offset, event.key, event, position=0)  # of an earlier life
        return Message(
            record.offset, event.key, event, event.position, author=event.author,
            previous=stamp.previous, absent=stamp.absent,
        )  # fmt: skip


def _repair(service: str) -> str:
    return f"aiguillage republish {service}"
