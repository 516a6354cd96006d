"""Another service's ``events`` table as a source: one partition, offsets are positions."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from infra.eventstore.events import StoredEvent
from infra.eventstore.store import EventStore
from infra.messaging.cloudevents import parse_record, to_record
from infra.messaging.sources.base import Batch, Message, Offsets, ReadAgainError
from infra.postgres.database import Database, is_infrastructure
from infra.postgres.errors import describe
from infra.postgres.notify import Notifier
from infra.postgres.transaction import Transaction


class PostgresSource:
    """Reads ``service``'s table through the subscriber's own connection pool and role."""

    inherits: str | None = None
    first = 1

    def __init__(self, database: Database, service: str, *, as_stored: bool = False) -> None:
        self.name = service
        self._database = database
        self._store = EventStore(service, as_stored=as_stored)
        self._listener: Notifier | None = None
        self._next = 0
        self._drained = False

    async def start(self, offsets: Offsets) -> None:
        """Begin where the subscription stands."""
        self._listener = Notifier(self.name)
        await self.seek(0, await offsets.next_offset(0))

    async def fetch(self, limit: int, seconds: float) -> list[Batch[StoredEvent]]:
        """The next events, waiting for a hint or ``seconds`` if there are none yet."""
        if self._drained and self._listener:
            await self._listener.wait(seconds)
        batch = await self._read(limit)
        self._drained = not batch
        return batch

    async def seek(self, partition: int, offset: int) -> None:
        """Read again from ``offset``."""
        self._next, self._drained = offset, False

    async def complete(
        self, tx: Transaction, messages: Sequence[Message[StoredEvent]]
    ) -> Sequence[Message[StoredEvent]]:
        """They are: a table holds whole events, and no others."""
        return messages

    async def ends(self) -> dict[int, int]:
        """What follows the table's head."""
        async with self._database.reading() as connection:
            return {0: await self._store.head(connection) + 1}

    async def oldest(self, standing: Mapping[int, int]) -> datetime | None:
        """When the first event from there on was recorded."""
        async with self._database.reading() as connection:
            return await self._store.recorded_from(connection, min(standing.values()))

    async def stop(self) -> None:
        """Nothing is held between two fetches."""
        if self._listener:
            self._listener.close()

    def dump(self, message: Message[StoredEvent]) -> bytes:
        """A parked event, whole; its personal part stays sealed."""
        assert message.event is not None
        return to_record(message.event)

    def parse(self, record: bytes) -> StoredEvent:
        """Read back a parked event."""
        return parse_record(record)

    async def again(
        self, tx: Transaction, source: str, partition: int, offset: int
    ) -> StoredEvent:
        """Read a row anew: it may have been repaired, or we may have."""
        if source != self.name:
            raise ReadAgainError(f"it was parked from {source}")
        return await self._store.at(tx, offset)

    async def _read(self, limit: int) -> list[Batch[StoredEvent]]:
        async with self._database.reading() as connection:
            try:
                events = await self._store.read(connection, self._next - 1, limit)
                messages = [_message(event) for event in events]
            except Exception as error:
                if is_infrastructure(error):
                    raise
                messages = await self._read_singly(connection, limit)
        if not messages:
            return []
        start, self._next = self._next, messages[-1].offset + 1
        return [Batch(0, start, self._next, messages)]

    async def _read_singly(
        self, connection: Transaction, limit: int
    ) -> list[Message[StoredEvent]]:
        """The same rows one by one, because one of them cannot be read."""
        messages: list[Message[StoredEvent]] = []
        for position, key in await self._store.places(connection, self._next - 1, limit):
            try:
                event = await self._store.at(connection, position)
                messages.append(_message(event))
            except Exception as error:
                if is_infrastructure(error):
                    raise
                messages.append(Message(position, key, None, position, describe(error)))
        return messages


def _message(event: StoredEvent) -> Message[StoredEvent]:
    return Message(event.position, event.key, event, event.position, author=event.author)
