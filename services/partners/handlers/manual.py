"""Messages that advisers hand over: by phone, on paper, in person.

The last channel of every partner, and the only one of those without an address. What other
channels look at before a message leaves is looked at when its sheet is opened, and once more
when somebody says that it was handed over.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any
from uuid import UUID

import orjson

from contracts.days import PARIS, local_day
from contracts.partners import DeliveryEvent, DeliveryFailed, DeliveryNote, DeliverySucceeded
from contracts.values import (
    Channel,
    HandedTo,
    HandOver,
    MessageKind,
    PartnerKind,
    ReferralStatus,
)
from infra.base.clock import Clock, rfc3339
from infra.delivery.webhook.sender import Outcome, Sent
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.keys.vault import PersonKey
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.privacy.access_log import View, log_access
from infra.privacy.restrictions import require_unlimited
from services.partners.handlers.compose import (
    Composer,
    MessageRow,
    SenderProfile,
    about,
    disclosures,
)
from services.partners.model.choices import Choice, open_choices
from services.partners.model.message_kinds import REQUESTED, WITHOUT_PERSON
from services.partners.model.sheets import Contact, contact_of
from services.partners.tables import lists
from services.partners.tables import manual as tables

BY_HAND = ("manual", "dead")
"""States in which a human may still hand a message over."""


class UnknownDeliveryError(Exception):
    """There is no such delivery."""


class NotByHandError(Exception):
    """The message is not to be handed over: it has arrived, is on its way, or is over."""


class KeptBackError(Exception):
    """The message may not leave any more: why, as for other channels."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Sheet:
    """A message to hand over: whom to call, what to say, what may be answered.

    ``data``: the body that other channels would bring, and nothing more; its appointment as
    it is by now.
    """

    delivery_id: UUID
    message: MessageKind
    contact: Contact
    data: dict[str, Any] = field(repr=False)
    choices: list[Choice]
    kind: PartnerKind | None = None


@dataclass(frozen=True, slots=True)
class HandedOver:
    """How a message was handed over, to whom as a role, and what was noted."""

    by: HandOver
    to: HandedTo
    note: str | None = None


@dataclass(frozen=True)
class Manual:
    """What advisers do about messages that go by hand."""

    database: Database
    writer: Writer
    clock: Clock
    letterhead: SenderProfile

    async def listed(self, partner_id: str | None) -> dict[str, Any]:
        """What waits to be handed over (urgent first), and what was today; nobody's data."""
        today = local_day(self.clock())
        midnight = datetime.combine(today, time(), PARIS)
        async with self.database.reading() as tx:
            waiting = await tx.select(lists.waiting_by_hand(partner_id))
            done = await tx.select(lists.done_by_hand(partner_id, midnight))
        return {
            "today": today,
            "waiting": [row._asdict() for row in waiting],
            "done": [row._asdict() for row in done],
        }

    async def open(self, delivery_id: UUID, meta: EventMetadata) -> Sheet:
        """The sheet, once it is written down who looks at what it discloses.

        Raises ``UnknownDeliveryError``, ``NotByHandError``, ``KeptBackError``, and
        ``LimitedError`` where nothing may leave about the person, or staff may not look.
        """
        async with self.database.transaction() as tx:
            row = _by_hand(await tx.fetchrow(tables.SHEET, delivery_id))
            if not row["wanted"]:
                raise NotByHandError
            await _require_unlimited(tx, row)
            sheet = self._sheet(row, await self._keys(row))
            if fields := sheet.data.get("person"):
                view = View(row["person_id"], "sheet", list(fields))
                await log_access(tx, self.writer, [view], meta)
        return sheet

    async def hand_over(
        self, delivery_id: UUID, handed: HandedOver, meta: EventMetadata
    ) -> None:
        """The partner has it. Raises as ``open`` does."""
        async with self.database.transaction() as tx:
            now = self.clock()
            row = _by_hand(await tx.fetchrow(tables.LOCKED_SHEET, delivery_id))
            await _require_unlimited(tx, row)
            alive = await self._keys(row)
            if why := self._composer(alive).kept_back(MessageRow.of(row)):
                raise KeptBackError(why)
            number = row["attempts"] + 1
            await tx.execute(tables.HANDED_OVER, delivery_id, now)
            await tx.execute(tables.CALL, delivery_id, number, now, Outcome.OK, None)
            succeeded = DeliverySucceeded(
                **about(row), attempts=number, channel=Channel.MANUAL, by=handed.by,
                to=handed.to, sealed=_note(handed.note),
            )  # fmt: skip
            pending = [_said(row, succeeded, meta), *disclosures([row], alive, meta)]
            await self.writer.write(tx, pending)

    async def nobody_reached(
        self, delivery_id: UUID, note: str | None, meta: EventMetadata
    ) -> None:
        """A call in vain: the message stays to be handed over. Raises as ``open`` does."""
        async with self.database.transaction() as tx:
            now, why = self.clock(), "nobody-reached"
            row = _by_hand(await tx.fetchrow(tables.LOCKED_SHEET, delivery_id))
            await tx.execute(tables.NOBODY_REACHED, delivery_id, now)
            await tx.execute(
                tables.CALL, delivery_id, row["attempts"] + 1, now, Outcome.RETRY, why
            )
            failed = DeliveryFailed(
                **about(row), channel=Channel.MANUAL, error=why, sealed=_note(note)
            )
            await self.writer.write(tx, [_said(row, failed, meta)])

    async def _keys(self, row: Any) -> dict[UUID, PersonKey]:
        return await self.writer.vault.keys({row["person_id"]})

    def _composer(self, alive: Mapping[UUID, PersonKey]) -> Composer:
        return Composer(self.letterhead, alive, self.clock())

    def _sheet(self, row: Any, alive: Mapping[UUID, PersonKey]) -> Sheet:
        body = self._composer(alive).checked(MessageRow.of(row))
        if isinstance(body, Sent):
            raise KeptBackError(body.error or "not-composed")
        contact = contact_of(
            row["partner"] or row["partner_id"],
            row["service"] or row["service_id"],
            orjson.loads(row["published"] or "{}"),
            orjson.loads(row["structure"] or "{}"),
        )
        message = MessageKind(row["message"])
        choices = _choices(row) if message in (REQUESTED, MessageKind.REMINDED) else []
        data = orjson.loads(body)["data"]
        if message is REQUESTED:
            data = _up_to_date(data, row["appointment_at"])
        return Sheet(row["delivery_id"], message, contact, data, choices, _kind(row))


async def _require_unlimited(tx: Transaction, row: Any) -> None:
    """What says nothing of a person may leave all the same."""
    if row["message"] not in WITHOUT_PERSON:
        await require_unlimited(tx, row["person_id"])


def _by_hand(row: Any) -> Any:
    if row is None:
        raise UnknownDeliveryError("delivery")
    if row["state"] not in BY_HAND:
        raise NotByHandError
    return row


def _up_to_date(data: dict[str, Any], at: datetime | None) -> dict[str, Any]:
    """An appointment may have been moved, or called off, since it was proposed."""
    kept = {name: value for name, value in data.items() if name != "appointment_at"}
    return kept | ({"appointment_at": rfc3339(at)} if at else {})


def _choices(row: Any) -> list[Choice]:
    return open_choices(ReferralStatus(row["status"]), row["referral_id"], _kind(row))


def _kind(row: Any) -> PartnerKind | None:
    return PartnerKind(row["kind"]) if row["kind"] else None


def _note(note: str | None) -> DeliveryNote | None:
    return DeliveryNote(note=note) if note else None


def _said(row: Any, event: DeliveryEvent, meta: EventMetadata) -> Pending:
    return Pending(f"delivery-{event.delivery_id}", [event], row["person_id"], meta)
