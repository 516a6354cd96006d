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
    """Keeps when each person was last here, and does what is due."""

    database: Database
    writer: Writer
    erasing: Erasing
    policy: Policy
    clock: Clock

    async def on_own_events(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Remember contacts; bring back whoever was archived and came again."""
        back = await keep_stays(tx, messages)
        pending = [_said(PersonReactivated(person_id=p), p) for p in sorted(back)]
        await self.writer.write(tx, pending)

    async def on_referrals(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Remember what is open with whom."""
        await keep_work(tx, messages)

    async def preview(self, on: date | None = None) -> list[Due]:
        """What would be done on a day, or today, if nobody came until then."""
        async with self.database.reading() as connection:
            return await self._due(connection, on or self._today())

    async def step(self) -> int:
        """Do what is due today; answers for how many ids."""
        async with self.database.transaction() as tx:
            found = (await self._due(tx, self._today()))[:BATCH]
            await self._archive(tx, [item for item in found if item.step is Step.ARCHIVE])
        erased = [await self._erase(item) for item in found if item.step is Step.ERASE]
        return len(found) - erased.count(False)

    async def _due(self, tx: Transaction, today: date) -> list[Due]:
        rows = await tx.fetch(retention.STAYS, *self.policy.latest(today))
        stays = [
            Stay(
                row["person_id"], row["root"], row["last_contact_on"],
                row["site"], row["archived"], row["held"],
            )
            for row in rows
        ]  # fmt: skip
        return due(stays, self.policy, today)

    async def _archive(self, tx: Transaction, items: Sequence[Due]) -> None:
        await tx.execute(retention.ARCHIVE, [item.person_id for item in items])
        said = [
            _said(
                PersonArchived(person_id=i.person_id, last_contact_on=i.last_contact_on),
                i.person_id,
            )
            for i in items
        ]
        await self.writer.write(tx, said)

    async def _erase(self, due: Due) -> bool:
        """Under every id; one that another id brought along is no person any more.

        False: somebody came, or something is open, and whoever lists them had not heard yet.
        """

        async def stays(tx: Transaction, group: Sequence[UUID]) -> bool:
            since = datetime.combine(due.last_contact_on + timedelta(days=1), time(), PARIS)
            streams = [stream_of(person) for person in group]
            found = await tx.fetch(retention.STAYS_ON, streams, list(CONTACTS), since, group)
            return bool(found[0][0])

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


def _said(event: Event, person_id: UUID) -> Pending:
    return Pending(stream_of(person_id), [event], person_id, ACTOR)
