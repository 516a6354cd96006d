"""Persons who are erased: ciphertext beside the log goes, entries stay, a receipt comes."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.erasure import FORGOTTEN, PersonErased
from infra.base.clock import Clock
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.eventstore.store import ConcurrencyError
from infra.eventstore.writer import Pending, Writer
from infra.messaging.cloudevents import parse_record, to_record
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.privacy.erasure import forget, forgotten_events, keys_destroyed
from infra.privacy.erasure_ledger import Erasure, Erasures
from infra.privacy.restrictions import apply_restrictions
from services.audit.tables import statements


@dataclass(frozen=True)
class Erasing:
    """Drops the audit copy, and appends PersonErased once all services have confirmed."""

    database: Database
    writer: Writer
    erasures: Erasures
    clock: Clock

    async def on_intake(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Forget whoever's keys are gone; what is still to enter the log will, without them."""
        await apply_restrictions(tx, messages)
        destroyed = keys_destroyed(messages, self.writer.vault)
        persons = [person for person in destroyed if person]
        fresh = await forget(tx, persons, self.clock(), parked=False)
        await tx.execute(statements.FORGET_ENTRIES, persons)

        # an event that the log could not take yet must still enter it, without sealed part
        keys = [str(person) for person in persons]
        await tx.execute(statements.DROP_PARKED, keys)
        for parked, record in await tx.fetch(statements.PARKED, keys):
            stripped = to_record(parse_record(record).stripped())
            await tx.execute(statements.SET_PARKED, parked, stripped)
        await self.writer.write(tx, forgotten_events("audit", fresh, destroyed))

    async def step(self) -> int:
        """Append the receipts of persons whom the log says that every service has forgotten."""
        under_way = {e.person_id: e for e in await self.erasures.unfinished() if e.destroyed_at}
        if not under_way:
            return 0
        try:
            done = await self._receipts(under_way)
        except ConcurrencyError:
            return 0  # another process is at it
        await self.erasures.finish(sorted(done), self.clock())
        return len(done)

    async def _receipts(self, under_way: dict[UUID, Erasure]) -> set[UUID]:
        types = [event.type for event in FORGOTTEN.values()]
        async with self.database.transaction() as tx:
            rows = await tx.fetch(statements.FORGOTTEN_BY_ALL, list(under_way), types)
            everywhere = {person for (person,) in rows}
            streams = [stream_of(person) for person in everywhere]
            known = await tx.fetch(statements.RECEIPTS, streams, PersonErased.type)
            receipted = {person for (person,) in known}
            pending = []
            for person in sorted(everywhere - receipted):
                erasure = under_way[person]
                assert erasure.destroyed_at is not None
                erased = PersonErased(
                    person_id=person,
                    reason=erasure.reason,
                    requested_at=erasure.requested_at,
                    destroyed_at=erasure.destroyed_at,
                )
                pending.append(Pending(stream_of(person), [erased], person, EventMetadata()))
            await self.writer.write(tx, pending)
        return everywhere


def stream_of(person_id: UUID) -> str:
    """The stream of a person's erasure."""
    return f"erasure-{person_id}"
