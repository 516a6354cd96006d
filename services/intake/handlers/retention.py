"""Retention runs by itself: archived after so long without a contact, then erased.

The time counts from when the hub recorded the last contact: a sender's clock may say anything.
Who came back is taken out of the archive. Whoever has a case or a referral open stays in use,
and whoever is restricted as they are: a dispute keeps data as long as it lasts (CASF R263-8).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from uuid import UUID

from contracts.base import Event
from contracts.days import PARIS, local_day
from contracts.erasure import ErasureReason
from contracts.rights import PersonArchived, PersonReactivated
from infra.base.clock import Clock
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.intake.handlers.erasure import Erasing
from services.intake.handlers.persons import UnknownPersonError
from services.intake.model.retention import Due, Policy, Stay, Step, due
from services.intake.projections import CONTACTS, keep_stays, keep_work
from services.intake.tables import retention
from services.intake.tables.persons import stream_of

BATCH = 500
ACTOR = EventMetadata("policy:retention")


@dataclass(frozen=True)
class Retention:
    """Keeps the last contact of each person, and does what is due."""

    database: Database
    writer: Writer
    erasing: Erasing
    policy: Policy
    clock: Clock

    async def on_own_events(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Remember contacts; reactivate archived persons who came again."""
        back = await keep_stays(tx, messages)
        pending = [_pending(PersonReactivated(person_id=p), p) for p in sorted(back)]
        await self.writer.write(tx, pending)

    async def on_referrals(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Remember which cases and referrals are open."""
        await keep_work(tx, messages)

    async def preview(self, on: date | None = None) -> list[Due]:
        """Return what would be done on a day, or today, if nobody came until then."""
        async with self.database.reading() as connection:
            return await self._due(connection, on or self._today())

    async def step(self) -> int:
        """Do what is due today; return for how many ids."""
        async with self.database.transaction() as tx:
            batch = (await self._due(tx, self._today()))[:BATCH]
            archived = [item for item in batch if item.step is Step.ARCHIVE]
            await tx.execute(retention.ARCHIVE, [item.person_id for item in archived])
            events = (
                PersonArchived(person_id=item.person_id, last_contact_on=item.last_contact_on)
                for item in archived
            )
            await self.writer.write(tx, [_pending(event, event.person_id) for event in events])
        erased = [await self._erase(item) for item in batch if item.step is Step.ERASE]
        return len(batch) - erased.count(False)

    async def _due(self, tx: Transaction, today: date) -> list[Due]:
        rows = await tx.fetch(retention.STAYS, *self.policy.latest(today))
        return due([Stay(*row) for row in rows], self.policy, today)

    async def _erase(self, due: Due) -> bool:
        """Erase under every id; one that another id brought along is no person any more.

        False: somebody came, or something is open, which ``stays`` does not show yet.
        """

        async def stays(tx: Transaction, group: Sequence[UUID]) -> bool:
            since = datetime.combine(due.last_contact_on + timedelta(days=1), time(), PARIS)
            streams = [stream_of(person) for person in group]
            return bool(
                await tx.fetchval(retention.STAYS_ON, streams, list(CONTACTS), since, group)
            )

        with suppress(UnknownPersonError):
            if not await self.erasing.request(
                due.person_id, ErasureReason.RETENTION, ACTOR, unless=stays
            ):
                return False
        async with self.database.transaction() as tx:
            await tx.execute(retention.DROP, due.person_id)
        return True

    def _today(self) -> date:
        return local_day(self.clock())


def _pending(event: Event, person_id: UUID) -> Pending:
    return Pending(stream_of(person_id), [event], person_id, ACTOR)
