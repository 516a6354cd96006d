"""A person is erased: fenced and announced, then the keys, then what the intake holds itself.

Whatever crashes in between is taken up again: the ledger says how far it is, and each event is
looked for before it is appended (docs/adr/0018).
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prometheus_client import Gauge

from contracts.base import Event
from contracts.erasure import ErasureReason, ErasureRequested, KeysDestroyed
from infra.base.clock import Clock
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.eventstore.retrying import retrying
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.privacy.erasure import forget, forgotten_events, keys_destroyed
from infra.privacy.erasure_ledger import Erasure, Erasures
from infra.privacy.restrictions import apply_restrictions
from services.intake.handlers.persons import UnknownPersonError
from services.intake.tables.persons import (
    announced,
    forget_persons,
    lock_persons,
    same_person,
    stream_of,
)

ATTEMPTS = 5
Unless = Callable[[Transaction, Sequence[UUID]], Awaitable[bool]]
"""Called with all ids of a person, under their locks: True keeps the person."""
UNDER_WAY = Gauge("aiguillage_erasures_under_way", "Persons whose erasure is not over")


@dataclass(frozen=True)
class Erasing:
    """Asks for erasures, and carries them through.

    ``wait``: how long after the fence no process can still hold a key of the person.
    """

    database: Database
    writer: Writer
    erasures: Erasures
    clock: Clock
    wait: timedelta

    async def request(
        self,
        person_id: UUID,
        reason: ErasureReason,
        meta: EventMetadata,
        unless: Unless | None = None,
    ) -> list[Erasure]:
        """Erase a person under every id that they are known by; a repeat changes nothing.

        Empty if ``unless`` kept them. Raises ``UnknownPersonError``.
        """

        async def fence(tx: Transaction) -> list[Erasure]:
            now = self.clock()
            if not await lock_persons(tx, [person_id]):
                raise UnknownPersonError("person")
            group = sorted(await same_person(tx, person_id))
            await lock_persons(tx, group)
            if unless is not None and await unless(tx, group):
                return []
            await self.erasures.fence([Erasure(p, reason, now) for p in group])
            self.writer.vault.drop(group)
            fenced = await self.erasures.find(group)
            await self._announce(tx, fenced.values(), (), meta)
            return list(fenced.values())

        return await retrying(self.database, fence, ATTEMPTS)

    async def state(self, person_id: UUID) -> list[Erasure]:
        """Return how far a person's erasure is, id by id; empty if nobody asked for it."""
        async with self.database.reading() as connection:
            group = await same_person(connection, person_id)
        erasures = await self.erasures.find(sorted(group | {person_id}))
        return sorted(erasures.values(), key=lambda erasure: erasure.person_id)

    async def step(self) -> int:
        """Append missing ErasureRequested and KeysDestroyed events, and destroy keys past the
        waiting time. Return the number of changes."""
        now = self.clock()
        due = await self.erasures.due(now - self.wait)
        if due:
            await self.erasures.destroy(due, now)
        rows = await self.erasures.unfinished()
        UNDER_WAY.set(await self.erasures.count_unfinished())
        destroyed = [e.person_id for e in rows if e.destroyed_at]
        async with self.database.transaction() as tx:
            return len(due) + await self._announce(tx, rows, destroyed, EventMetadata())

    async def _announce(
        self,
        tx: Transaction,
        rows: Iterable[Erasure],
        destroyed: Iterable[UUID],
        meta: EventMetadata,
    ) -> int:
        """Append the events that are missing: erasures asked for, keys destroyed."""
        events: list[tuple[UUID, Event]] = [
            (
                e.person_id,
                ErasureRequested(
                    person_id=e.person_id, reason=e.reason, requested_at=e.requested_at
                ),
            )
            for e in rows
        ]
        events += [(p, KeysDestroyed(person_id=p)) for p in destroyed]
        known = await announced(
            tx, [person for person, _ in events], [ErasureRequested.type, KeysDestroyed.type]
        )
        pending = [
            Pending(stream_of(person), [event], person, meta)
            for person, event in events
            if (person, event.type) not in known
        ]
        await self.writer.write(tx, pending)
        return len(pending)

    async def on_own_events(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Apply restrictions; forget persons whose keys are gone."""
        await apply_restrictions(tx, messages)
        destroyed = keys_destroyed(messages, self.writer.vault)
        persons = {person for person in destroyed if person}
        fresh = await forget(tx, persons, self.clock())
        await forget_persons(tx, persons)
        await self.writer.write(tx, forgotten_events("intake", fresh, destroyed))
