"""Persons who are erased are forgotten here; that messages were sent stays known."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.clock import Clock
from infra.database import driver
from infra.eventstore.events import Recorded
from infra.eventstore.writer import Writer
from infra.forgetting import forget, forgotten_events, heard_of
from services.partners.tables import erasure as tables


@dataclass(frozen=True)
class Erasing:
    """Hears what the intake says of erasures."""

    writer: Writer
    clock: Clock

    async def on_intake(self, messages: Sequence[Recorded], tx: AsyncConnection) -> None:
        """Forget whoever's keys are gone."""
        heard = heard_of(messages, self.writer.vault)
        persons = [person for person in heard if person]
        now = self.clock()
        fresh = await forget(tx, persons, now)
        raw = await driver(tx)
        await raw.execute(tables.STRIP_DELIVERIES, persons, now)
        for statement in tables.FORGET:
            await raw.execute(statement, persons)
        await self.writer.write(tx, forgotten_events("partners", fresh, heard))
