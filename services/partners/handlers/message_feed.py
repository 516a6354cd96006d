"""A partner that was away pulls what it missed, in order, by a cursor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
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
        """Messages after a cursor, in the order they were made.

        What must not leave any more (agreement ended, person erased, referral over) is left
        out. That a message was given out is written down where it discloses something; whether
        it counts as delivered is for the partner to say (``acknowledge``).
        """
        async with self.database.transaction() as tx:
            rows = await tx.fetch(tables.MESSAGES, partner_id, cursor, limit)
            handed = await self._handed([row for row in rows if row["timely"]])
            fresh = [row for row, _ in handed if not row["disclosed"]]
            if fresh:
                await tx.execute(tables.TOLD, [row["delivery_id"] for row in fresh])
                alive = await self.writer.vault.keys({row["person_id"] for row in fresh})
                await self.writer.write(tx, disclosures(fresh, alive, meta))
        last = rows[-1]["seq"] if rows else cursor
        return Page([message for _, message in handed], last, len(rows) == limit)

    async def acknowledge(
        self, partner_id: str, taken: Sequence[UUID], meta: EventMetadata
    ) -> int:
        """Deliveries whose messages the partner has taken over; answers how many were not
        delivered before. They will not be sent again."""
        async with self.database.transaction() as tx:
            rows = await tx.fetch(tables.ACKNOWLEDGE, partner_id, taken, self.clock())
            await self.writer.write(tx, [_acknowledged(row, meta) for row in rows])
        return len(rows)

    async def _handed(self, rows: Sequence[Any]) -> list[tuple[Any, dict[str, Any]]]:
        persons = await self.writer.vault.keys({row["person_id"] for row in rows})
        composer = Composer(self.letterhead, persons, self.clock())
        made = [(row, composer.checked(MessageRow.of(row))) for row in rows]
        return [
            (
                row,
                {"seq": row["seq"], "webhook_id": webhook_id(row["delivery_id"])}
                | orjson.loads(body),
            )
            for row, body in made
            if not isinstance(body, Sent)
        ]


def _acknowledged(row: Any, meta: EventMetadata) -> Pending:
    succeeded = DeliverySucceeded(**about(row), attempts=row["attempts"])
    return Pending(f"delivery-{row['delivery_id']}", [succeeded], row["person_id"], meta)
