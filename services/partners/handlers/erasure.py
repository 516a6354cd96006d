"""Persons who are erased are forgotten; messages about who is restricted wait.

That messages were sent stays known, under a pseudonym.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.rights import PersonRestricted, PersonUnrestricted
from infra.base.clock import Clock
from infra.eventstore.events import StoredEvent
from infra.eventstore.writer import Pending, Writer
from infra.postgres.transaction import Transaction
from infra.privacy.erasure import forget, forgotten_events, keys_destroyed
from infra.privacy.restrictions import apply_restrictions
from services.partners.handlers.compose import EventRow, disclosures
from services.partners.tables import rights as tables


@dataclass(frozen=True)
class Rights:
    """Applies what the intake says of a person's rights to their messages."""

    writer: Writer
    clock: Clock

    async def on_intake(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Hold or release messages, in order; forget whoever's keys are gone."""
        await apply_restrictions(tx, messages)
        now = self.clock()
        pending: list[Pending] = []
        for message in messages:
            if message.type == PersonRestricted.type:
                await tx.execute(tables.HOLD, message.person_id, now)
            if message.type == PersonUnrestricted.type:
                # due again; what it discloses is noted now, if it was not noted before
                records = await tx.fetch(tables.RELEASE, message.person_id, now)
                rows = [EventRow.of(record) for record in records if not record["disclosed"]]
                alive = await self.writer.vault.keys({row.person_id for row in rows})
                pending += disclosures(rows, alive, message.caused())
        destroyed = keys_destroyed(messages, self.writer.vault)
        persons = [person for person in destroyed if person]
        fresh = await forget(tx, persons, now)
        await tx.execute(tables.STRIP_DELIVERIES, persons, now)
        for forgetting in tables.FORGET:
            await tx.execute(forgetting, persons)
        await self.writer.write(tx, pending + forgotten_events("partners", fresh, destroyed))
