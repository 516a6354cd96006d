"""A partner that was away pulls what it missed, in order, by a cursor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from contracts.partners import DeliverySucceeded
from infra.base.clock import Clock
from infra.delivery.webhook.sender import Sent
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from services.partners.handlers.compose import (
    Composer,
    MessageRow,
    SenderProfile,
    about,
    disclosures,
    webhook_id,
)
from services.partners.tables import messages as tables


@dataclass(frozen=True, slots=True)
class Page:
    """Messages as they would have been sent, and the cursor to go on from."""

    messages: list[dict[str, Any]]
    cursor: int
    more: bool


@dataclass(frozen=True, slots=True)
class _FeedRow(MessageRow):
    seq: int
    disclosed: bool


class _Acknowledged(NamedTuple):
    delivery_id: UUID
    referral_id: UUID
    partner_id: str
    person_id: UUID
    message: str
    attempts: int


@dataclass(frozen=True)
class MessageFeed:
    """Hands a partner its own messages."""

    database: Database
    writer: Writer
    clock: Clock
    letterhead: SenderProfile

    async def after(
        self, partner_id: str, cursor: int, limit: int, meta: EventMetadata
    ) -> Page:
        """Return messages after a cursor, in the order they were made.

        What must not leave any more (agreement ended, person erased, referral over) is left
        out. That a message was given out is written down where it discloses something; whether
        it counts as delivered is for the partner to say (``acknowledge``).
        """
        async with self.database.transaction() as tx:
            records = await tx.fetch(tables.MESSAGES, partner_id, cursor, limit)
            rows = [_FeedRow.of(record) for record in records if record["timely"]]
            persons = await self.writer.vault.keys({row.person_id for row in rows})
            composer = Composer(self.letterhead, persons, self.clock())
            made = [(row, composer.checked(row)) for row in rows]
            handed = [(row, body) for row, body in made if not isinstance(body, Sent)]
            fresh = [row for row, _ in handed if not row.disclosed]
            if fresh:
                await tx.execute(tables.TOLD, [row.delivery_id for row in fresh])
                await self.writer.write(tx, disclosures(fresh, persons, meta))
        messages = [
            {"seq": row.seq, "webhook_id": webhook_id(row.delivery_id)} | orjson.loads(body)
            for row, body in handed
        ]
        last = records[-1]["seq"] if records else cursor
        return Page(messages, last, len(records) == limit)

    async def acknowledge(
        self, partner_id: str, taken: Sequence[UUID], meta: EventMetadata
    ) -> int:
        """Mark messages as taken over by the partner: they will not be sent again.

        Return how many were not delivered before.
        """
        async with self.database.transaction() as tx:
            records = await tx.fetch(tables.ACKNOWLEDGE, partner_id, taken, self.clock())
            pending = []
            for row in (_Acknowledged(*columns) for columns in records):
                succeeded = DeliverySucceeded(**about(row), attempts=row.attempts)
                stream = f"delivery-{row.delivery_id}"
                pending.append(Pending(stream, [succeeded], row.person_id, meta))
            await self.writer.write(tx, pending)
        return len(pending)
