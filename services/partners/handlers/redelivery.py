"""Messages sent again because somebody asks for it: the same message, the same ``webhook-id``.

What leaves is composed from the stored event at the moment it is sent, as at the first time: an
agreement that has run out, or a person who was erased, keeps it from leaving.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from contracts.partners import DeliveryRedelivered, RedeliveryReason
from contracts.values import MessageKind
from infra.base.clock import Clock
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from services.partners.handlers.compose import EventRow, about, disclosures
from services.partners.tables import redelivery as tables

MOST = 5000
"""Deliveries that one request may set going again; the next request takes the next ones."""
Scope = Literal["failed", "missing"]


class NothingToRedeliverError(Exception):
    """There is no such delivery, or the referral is over: nothing may be sent for it."""


class StillWaitingError(Exception):
    """The delivery waits for its next attempt already."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Choice of deliveries: one; or of a partner, an endpoint or everybody, since a moment.

    ``failed``: no channel brought it. ``missing``: everything the partner has not got, that
    which was never sent for want of an address too. ``error``: the class of its last failure.
    """

    scope: Scope = "failed"
    delivery_id: UUID | None = None
    partner_id: str | None = None
    endpoint_id: UUID | None = None
    since: datetime | None = None
    error: str | None = None
    message: MessageKind | None = None


@dataclass(frozen=True, slots=True)
class _Redelivered(EventRow):
    delivery_id: UUID
    referral_id: UUID
    partner_id: str
    disclosed: bool


@dataclass(frozen=True)
class Redelivery:
    """Finds what may be sent again, and sets it going."""

    database: Database
    writer: Writer
    clock: Clock

    async def count(self, choice: Choice) -> int:
        """Count the deliveries that a choice would send again (``MOST`` at a time)."""
        async with self.database.reading() as connection:
            return int(await connection.fetchval(tables.COUNT_REDELIVERABLE, *_values(choice)))

    async def again(self, choice: Choice, reason: str, meta: EventMetadata) -> int:
        """Set them going; return how many. Each is an event, with the reason sealed.

        Raises ``NothingToRedeliverError`` if one was named and may not be sent, and
        ``StillWaitingError`` if it will be anyway.
        """
        async with self.database.transaction() as tx:
            rows = await tx.fetch(tables.REDELIVER, *_values(choice), self.clock(), MOST)
            if choice.delivery_id and not rows:
                state = await tx.fetchval(tables.STATE, choice.delivery_id)
                if state == "pending":
                    raise StillWaitingError
                raise NothingToRedeliverError("delivery")
            redelivered = [_Redelivered.of(row) for row in rows]
            alive = await self.writer.vault.keys({row.person_id for row in redelivered})
            fresh = [row for row in redelivered if not row.disclosed]
            pending = disclosures(fresh, alive, meta)
            for row in redelivered:
                sealed = RedeliveryReason(reason=reason) if row.person_id in alive else None
                again = DeliveryRedelivered(**about(row), asked_by=meta.actor, sealed=sealed)
                stream = f"delivery-{row.delivery_id}"
                pending.append(Pending(stream, [again], row.person_id, meta))
            await self.writer.write(tx, pending)
        return len(rows)


def _values(choice: Choice) -> tuple[Any, ...]:
    states = ["dead", "manual"] + (["succeeded"] if choice.delivery_id else [])
    never_sent_too = choice.scope == "missing" or choice.delivery_id is not None
    whose = (choice.delivery_id, choice.partner_id, choice.endpoint_id)
    return (states, never_sent_too, *whose, choice.since, choice.error, choice.message)
