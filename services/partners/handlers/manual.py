"""Messages that advisers hand over: by phone, on paper, in person.

The last channel of every partner, and the only one of those without an address. What other
channels look at before a message leaves is looked at when its sheet is opened, and once more
when somebody says that it was handed over.
"""

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
    """Way and recipient (a role) of a message that was handed over, and a note."""

    by: HandOver
    to: HandedTo
    note: str | None = None


@dataclass(frozen=True, slots=True)
class _SheetRow(MessageRow):
    """A message, its partner and its service; ``published``, ``structure``: JSON."""

    attempts: int
    state: str
    disclosed: bool
    kind: PartnerKind | None
    partner: str | None
    structure: str | None
    service: str | None
    published: str | None
    status: str
    appointment_at: datetime | None
    wanted: bool


@dataclass(frozen=True)
class Manual:
    """Lists, opens and records messages that go by hand."""

    database: Database
    writer: Writer
    clock: Clock
    letterhead: SenderProfile

    async def listed(self, partner_id: str | None) -> dict[str, Any]:
        """Return what waits, urgent first, and what was handed over today; nobody's data."""
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
        """Return the sheet, once it is written down who looks at what it discloses.

        Raises ``UnknownDeliveryError``, ``NotByHandError``, ``KeptBackError``, and
        ``LimitedError`` where nothing may leave about the person, or staff may not look.
        """
        async with self.database.transaction() as tx:
            row = await _by_hand(tx, tables.SHEET, delivery_id)
            if not row.wanted:
                raise NotByHandError
            await _require_unlimited(tx, row)
            sheet = self._sheet(row, await self._composer(row))
            if fields := sheet.data.get("person"):
                await log_access(
                    tx, self.writer, [View(row.person_id, "sheet", list(fields))], meta
                )
        return sheet

    async def hand_over(
        self, delivery_id: UUID, handed: HandedOver, meta: EventMetadata
    ) -> None:
        """Note that the partner has it. Raises as ``open`` does."""
        async with self.database.transaction() as tx:
            now = self.clock()
            row = await _by_hand(tx, tables.LOCKED_SHEET, delivery_id)
            await _require_unlimited(tx, row)
            composer = await self._composer(row)
            if why := composer.kept_back(row):
                raise KeptBackError(why)
            number = row.attempts + 1
            await tx.execute(tables.HANDED_OVER, delivery_id, now)
            call = (delivery_id, number, now, Outcome.OK, None)
            await tx.execute(tables.CALL, *call)
            succeeded = DeliverySucceeded(
                **about(row),
                attempts=number,
                channel=Channel.MANUAL,
                by=handed.by,
                to=handed.to,
                sealed=_note(handed.note),
            )
            pending = [_pending(row, succeeded, meta)]
            if not row.disclosed:
                pending += disclosures([row], composer.persons, meta)
            await self.writer.write(tx, pending)

    async def nobody_reached(
        self, delivery_id: UUID, note: str | None, meta: EventMetadata
    ) -> None:
        """Note a call in vain: the message stays to be handed over. Raises as ``open`` does."""
        async with self.database.transaction() as tx:
            now, why = self.clock(), "nobody-reached"
            row = await _by_hand(tx, tables.LOCKED_SHEET, delivery_id)
            number = row.attempts + 1
            await tx.execute(tables.NOBODY_REACHED, delivery_id, now)
            call = (delivery_id, number, now, Outcome.RETRY, why)
            await tx.execute(tables.CALL, *call)
            failed = DeliveryFailed(
                **about(row), channel=Channel.MANUAL, error=why, sealed=_note(note)
            )
            await self.writer.write(tx, [_pending(row, failed, meta)])

    async def _composer(self, row: _SheetRow) -> Composer:
        alive = await self.writer.vault.keys({row.person_id})
        return Composer(self.letterhead, alive, self.clock())

    def _sheet(self, row: _SheetRow, composer: Composer) -> Sheet:
        body = composer.checked(row)
        if isinstance(body, Sent):
            raise KeptBackError(body.error or "not-composed")
        contact = contact_of(
            row.partner or row.partner_id,
            row.service or row.service_id,
            orjson.loads(row.published or "{}"),
            orjson.loads(row.structure or "{}"),
        )
        kind = PartnerKind(row.kind) if row.kind else None
        choices: list[Choice] = []
        if row.message in (REQUESTED, MessageKind.REMINDED):
            choices = open_choices(ReferralStatus(row.status), row.referral_id, kind)
        data = orjson.loads(body)["data"]
        if row.message is REQUESTED:
            # its appointment may have been moved, or called off, since it was proposed
            data.pop("appointment_at", None)
            if row.appointment_at:
                data["appointment_at"] = rfc3339(row.appointment_at)
        return Sheet(
            delivery_id=row.delivery_id,
            message=row.message,
            contact=contact,
            data=data,
            choices=choices,
            kind=kind,
        )


async def _require_unlimited(tx: Transaction, row: _SheetRow) -> None:
    """Raise ``LimitedError`` for a message about a person whose data are not to be used."""
    if row.message not in WITHOUT_PERSON:
        await require_unlimited(tx, row.person_id)


async def _by_hand(tx: Transaction, statement: str, delivery_id: UUID) -> _SheetRow:
    record = await tx.fetchrow(statement, delivery_id)
    if record is None:
        raise UnknownDeliveryError("delivery")
    if record["state"] not in BY_HAND:
        raise NotByHandError
    return _SheetRow.of(record)


def _note(note: str | None) -> DeliveryNote | None:
    return DeliveryNote(note=note) if note else None


def _pending(row: _SheetRow, event: DeliveryEvent, meta: EventMetadata) -> Pending:
    return Pending(f"delivery-{event.delivery_id}", [event], row.person_id, meta)
