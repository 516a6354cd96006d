"""Another service's ``events`` table as a source: one partition, offsets are positions."""

from infra.codec import parse_record, to_record
from infra.database import Database
from infra.eventstore.events import Recorded
from infra.eventstore.store import EventStore
from infra.sources.base import Batch, Message, Offsets
from infra.wakeup import Listener


class PostgresSource:
    """Reads ``service``'s table through the subscriber's own connection pool and role."""

    inherits: str | None = None

    def __init__(self, database: Database, service: str, *, as_stored: bool = False) -> None:
        self.name = service
        self._database = database
        self._store = EventStore(service, as_stored=as_stored)
        self._listener: Listener | None = None
        self._next = 0
        self._drained = False

    async def start(self, offsets: Offsets) -> None:
        """Begin where the subscription stands."""
        self._listener = Listener(self.name)
        await self.seek(0, await offsets.next_offset(0))

    async def fetch(self, limit: int, seconds: float) -> list[Batch[Recorded]]:
        """The next events, waiting for a hint or ``seconds`` if there are none yet."""
        if self._drained and self._listener:
            await self._listener.wait(seconds)
        batch = await self._read(limit)
        self._drained = not batch
        return batch

    async def seek(self, partition: int, offset: int) -> None:
        """Read again from ``offset``."""
        self._next, self._drained = offset, False

    async def lag(self) -> dict[int, int]:
        """How far the table's head is ahead."""
        async with self._database.reading() as connection:
            head = await self._store.head(connection)
        return {0: max(0, head + 1 - max(1, self._next))}

    async def stop(self) -> None:
        """Nothing is held between two fetches."""
        if self._listener:
            self._listener.close()

    def dump(self, message: Message[Recorded]) -> bytes:
        """A parked event, whole; its personal part stays sealed."""
        return to_record(message.event) if message.event else b""

    def parse(self, record: bytes) -> Recorded:
        """Read back a parked event."""
        return parse_record(record)

    async def _read(self, limit: int) -> list[Batch[Recorded]]:
        async with self._database.reading() as connection:
            events = await self._store.read(connection, self._next - 1, limit)
        if not events:
            return []
        start, self._next = self._next, events[-1].position + 1
        messages = [Message(e.position, e.key, e, e.position) for e in events]
        return [Batch(0, start, self._next, messages)]
