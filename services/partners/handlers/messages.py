"""A partner that was away pulls what it missed, in order, by a cursor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from contracts.partners import DeliverySucceeded
from infra.clock import Clock
from infra.database import Database, driver
from infra.eventstore.events import Meta
from infra.eventstore.writer import Pending, Writer
from infra.webhooks.sender import Sent
from services.partners.handlers.compose import (
    Composer,
    Letterhead,
    about,
    disclosures,
    webhook_id,
)
from services.partners.tables import messages as tables

UNSENT = ("pending", "dead", "manual")


@dataclass(frozen=True, slots=True)
class Page:
    """Messages as they would have been sent, and the cursor to go on from."""

    messages: list[dict[str, Any]]
    cursor: int
    more: bool


@dataclass(frozen=True)
class Messages:
    """Hands a partner its own messages."""

    database: Database
    writer: Writer
    clock: Clock
    letterhead: Letterhead

    async def after(self, partner_id: str, cursor: int, limit: int, meta: Meta) -> Page:
        """Messages after a cursor, in the order they were made.

        What must not leave any more (agreement ended, person erased, referral over) is left
        out. What was not delivered before counts as delivered: it will not be sent again.
        """
        async with self.database.transaction() as tx:
            raw = await driver(tx)
            rows = await raw.fetch(tables.MESSAGES, partner_id, cursor, limit)
            handed = await self._handed([row for row in rows if row["timely"]])
            fresh = [row for row, _ in handed if row["state"] in UNSENT]
            ids = [row["delivery_id"] for row in fresh]
            await raw.execute(tables.FETCHED, ids, self.clock())
            alive = await self.writer.vault.keys({row["person_id"] for row in fresh})
            pending = [_fetched(row, meta) for row in fresh]
            await self.writer.write(tx, pending + disclosures(fresh, alive, meta))
        last = rows[-1]["seq"] if rows else cursor
        return Page([message for _, message in handed], last, len(rows) == limit)

    async def _handed(self, rows: Sequence[Any]) -> list[tuple[Any, dict[str, Any]]]:
        persons = await self.writer.vault.keys({row["person_id"] for row in rows})
        composer = Composer(self.letterhead, persons, self.clock())
        made = [(row, composer.checked(row)) for row in rows]
        return [
            (row, {"seq": row["seq"], "webhook_id": webhook_id(row)} | orjson.loads(body))
            for row, body in made
            if not isinstance(body, Sent)
        ]


def _fetched(row: Any, meta: Meta) -> Pending:
    succeeded = DeliverySucceeded(**about(row), attempts=row["attempts"] + 1)
    return Pending(f"delivery-{row['delivery_id']}", [succeeded], row["person_id"], meta)
