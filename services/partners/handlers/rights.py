"""Persons who are erased are forgotten; messages about who is restricted wait.

That messages were sent stays known, under a pseudonym.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.rights import PersonRestricted, PersonUnrestricted
from infra.clock import Clock
from infra.database import driver
from infra.eventstore.events import Recorded
from infra.eventstore.writer import Writer
from infra.forgetting import forget, forgotten_events, heard_of
from infra.limits import keep_limits
from services.partners.tables import rights as tables

_WAITS = {PersonRestricted.type: tables.HOLD, PersonUnrestricted.type: tables.RELEASE}


@dataclass(frozen=True)
class Rights:
    """Hears what the intake says of a person's rights."""

    writer: Writer
    clock: Clock

    async def on_intake(self, messages: Sequence[Recorded], tx: AsyncConnection) -> None:
        """Hold or release messages, in order; forget whoever's keys are gone."""
        await keep_limits(tx, messages)
        raw, now = await driver(tx), self.clock()
        for message in messages:
            if statement := _WAITS.get(message.type):
                await raw.execute(statement, message.person_id, now)
        heard = heard_of(messages, self.writer.vault)
        persons = [person for person in heard if person]
        fresh = await forget(tx, persons, now)
        await raw.execute(tables.STRIP_DELIVERIES, persons, now)
        for forgetting in tables.FORGET:
            await raw.execute(forgetting, persons)
        await self.writer.write(tx, forgotten_events("partners", fresh, heard))
