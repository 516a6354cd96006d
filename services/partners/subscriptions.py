"""What the partner service hears from the referral service: whom to tell what."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Event
from contracts.erasure import PersonErased
from contracts.intake import AgreementWithdrawn
from contracts.partners import DeliveryManual
from contracts.referrals import (
    AppointmentEvent,
    DeadlinePassed,
    ReferralCancelled,
    ReferralMoved,
    ReferralRequested,
)
from contracts.registry import parse_event
from contracts.values import DeadlineStep
from infra.channels.mail import MailSender
from infra.clock import Clock
from infra.database import Database, driver
from infra.eventstore.events import Recorded
from infra.eventstore.writer import Pending, Writer
from infra.ids import derived_id
from infra.limits import Limit, limited_among
from infra.platform import Platform
from infra.sources.postgres import PostgresSource
from infra.subscription import Subscription
from services.partners import projections, tables
from services.partners.handlers.compose import disclosure
from services.partners.handlers.notices import Notices
from services.partners.handlers.rights import Rights
from services.partners.model import (
    APPOINTMENT,
    CANCELLED,
    ERASED,
    REMINDED,
    REQUESTED,
    WITHDRAWN,
    expired,
    tells_partner,
)
from services.partners.tables import appointments, withdrawals
from services.partners.tables import rights as rights_tables

HELD = {"state": "held", "next_attempt_at": None, "last_error": "person-restricted"}
Key = tuple[str, str]
Row = dict[str, Any]


def subscriptions(
    platform: Platform, database: Database, writer: Writer
) -> list[Subscription[Recorded]]:
    """``deliveries``: a request or a cancellation becomes a message to the partner.

    ``withdrawals``: an agreement withdrawn keeps back what did not leave, and tells whoever
    received something. ``rights``: holds what concerns a restricted person, forgets erased
    ones; ``receipts``: tells whoever received something that a person was erased.
    """
    deliveries = Deliveries(writer, platform.clock)
    withdrawn = Withdrawals(platform.clock)
    rights, receipts = Rights(writer, platform.clock), Receipts(platform.clock)
    return [
        platform.subscription("deliveries", database, "referrals", deliveries.handle),
        platform.subscription("withdrawals", database, "intake", withdrawn.handle),
        platform.subscription(
            "rights", database, "intake", rights.on_intake, of_forgotten=True
        ),
        platform.subscription(
            "receipts", database, "audit", receipts.handle, of_forgotten=True
        ),
    ]


def notices(platform: Platform, database: Database, mail: MailSender) -> Subscription[Recorded]:
    """``notices``: our own word that an address is disabled becomes mail."""
    handler = Notices(mail, platform.settings.operator_mail)
    source = PostgresSource(database, "partners")
    return platform.subscription("notices", database, "partners", handler.handle, source)


@dataclass(frozen=True)
class Deliveries:
    """Makes deliveries. Their ids derive from the event, so a repeat makes none twice."""

    writer: Writer
    clock: Clock

    async def handle(self, messages: Sequence[Recorded], tx: AsyncConnection) -> None:
        """States, deliveries and disclosures of a batch, in sets."""
        heard = projections.heard(messages)
        await projections.keep_states(tx, heard)
        requests = [(m, e) for m, e in heard if isinstance(e, ReferralRequested)]
        cancelled = [(m, e) for m, e in heard if isinstance(e, ReferralCancelled)]
        appointed = [
            (m, e) for m, e in heard if isinstance(e, AppointmentEvent) and tells_partner(e)
        ]
        answered = {e.referral_id for _, e in heard if isinstance(e, ReferralMoved)}
        overdue = _overdue(heard)
        disclosures = await self._request(tx, requests) if requests else []
        if appointed:
            await self._appoint(tx, appointed)
        if cancelled:
            await self._cancel(tx, cancelled)
        if answered:
            # one that is tried again must not arrive after the answer it asks for
            raw = await driver(tx)
            await raw.execute(tables.DROP_REMINDERS, list(answered), self.clock())
        if overdue:
            await self._remind(tx, overdue)
        await self.writer.write(tx, disclosures)

    async def _request(
        self, tx: AsyncConnection, requests: list[tuple[Recorded, ReferralRequested]]
    ) -> list[Pending]:
        endpoints = await _endpoints(tx, {(e.partner_id, e.service_id) for _, e in requests})
        persons = {e.person_id for _, e in requests}
        alive = await self.writer.vault.keys(persons)
        held = await limited_among(tx, persons, Limit.RESTRICTED)
        rows = []
        for recorded, event in requests:
            row = _row(recorded, event, endpoints.get((event.partner_id, event.service_id)))
            standing = self._standing(event, row, event.person_id in alive)
            if event.person_id in held and standing["state"] != "cancelled":
                standing = HELD
            rows.append(row | standing)
        new = await _insert(tx, rows, self.clock())
        made = [
            (recorded, event, row)
            for (recorded, event), row in zip(requests, rows, strict=True)
            if row["delivery_id"] in new
        ]
        disclosures = [
            disclosure(event, row, alive[event.person_id], recorded.caused())
            for recorded, event, row in made
            if row["endpoint_id"] and row["state"] in ("pending", "held")
        ]
        return disclosures + [_manual(m, row) for m, _, row in made if row["state"] == "manual"]

    def _standing(self, event: ReferralRequested, row: Row, alive: bool) -> Row:
        """State, due time and reason of a new delivery."""
        now, error = self.clock(), None
        if not alive:
            error = "person-erased"
        elif expired(event.agreed_until, now.date()):
            error = "agreement-expired"
        if error:
            return {"state": "cancelled", "next_attempt_at": None, "last_error": error}
        return _waiting(row, now)

    async def _appoint(
        self, tx: AsyncConnection, said: list[tuple[Recorded, AppointmentEvent]]
    ) -> None:
        """Tell a partner whose own system keeps the appointment; by its API or by nothing."""
        raw, now = await driver(tx), self.clock()
        found = await raw.fetch(appointments.APPOINTED, [e.referral_id for _, e in said])
        known = {request["referral_id"]: request for request in found}
        told = [(m, known[e.referral_id]) for m, e in said if e.referral_id in known]
        endpoints = await _endpoints(tx, {_key(r) for _, r in told}, by_api=True)
        held = await limited_among(tx, {r["person_id"] for _, r in told}, Limit.RESTRICTED)
        rows = []
        for recorded, request in told:
            row = _about(recorded, APPOINTMENT, request, endpoints.get(_key(request)))
            row |= {name: request[name] for name in ("agreement_id", "agreed_until")}
            rows.append(row | (HELD if request["person_id"] in held else _waiting(row, now)))
        await _insert(tx, rows, now)

    async def _cancel(
        self, tx: AsyncConnection, cancelled: list[tuple[Recorded, ReferralCancelled]]
    ) -> None:
        raw = await driver(tx)
        ids = [event.referral_id for _, event in cancelled]
        await raw.execute(tables.CANCEL_DELIVERIES, ids, self.clock())
        known = {r["referral_id"]: r for r in await raw.fetch(tables.KNOWN_TO_PARTNER, ids)}
        told = [(m, e) for m, e in cancelled if e.referral_id in known and tells_partner(e)]
        wanted = [known[e.referral_id] for _, e in told]
        endpoints = await _endpoints(tx, {_key(r) for r in wanted}, by_api=False)
        api = await _endpoints(tx, {_key(r) for r in wanted if r["by_api"]}, by_api=True)
        rows = []
        for recorded, event in told:
            request = known[event.referral_id]
            endpoint = endpoints.get(_key(request))
            if request["by_api"]:  # what made an appointment takes it away again
                endpoint = api.get(_key(request), endpoint)
            row = _about(recorded, CANCELLED, request, endpoint)
            row |= _waiting(row, self.clock())
            if row["state"] == "pending" and request["leased_until"]:
                # the request is being sent at this moment: its cancellation must not overtake
                row["next_attempt_at"] = request["leased_until"]
            rows.append(row)
        await _insert(tx, rows, self.clock())

    async def _remind(self, tx: AsyncConnection, overdue: dict[UUID, Recorded]) -> None:
        """Remind whoever took the request and has not ended it in the meantime."""
        raw = await driver(tx)
        found = await raw.fetch(tables.REMINDABLE, list(overdue))
        told = [(overdue[request["referral_id"]], request) for request in found]
        endpoints = await _endpoints(tx, {_key(request) for _, request in told}, by_api=False)
        rows = [
            _about(recorded, REMINDED, request, endpoints.get(_key(request)))
            for recorded, request in told
        ]
        now = self.clock()
        await _insert(tx, [row | _waiting(row, now) for row in rows], now)


@dataclass(frozen=True)
class Withdrawals:
    """What a withdrawn agreement means for messages."""

    clock: Clock

    async def handle(self, messages: Sequence[Recorded], tx: AsyncConnection) -> None:
        """Remember each, keep back what did not leave, tell whoever received something."""
        for recorded in messages:
            if recorded.type == AgreementWithdrawn.type:
                event = parse_event(recorded.type, recorded.data)
                assert isinstance(event, AgreementWithdrawn)
                await self._withdraw(tx, recorded, event)

    async def _withdraw(
        self, tx: AsyncConnection, recorded: Recorded, event: AgreementWithdrawn
    ) -> None:
        raw, at = await driver(tx), recorded.occurred_at
        about = event.person_id, event.agreement_id
        await raw.execute(withdrawals.WITHDRAW, *([value] for value in about), [at])
        await raw.execute(withdrawals.DROP_WITHDRAWN, *about, at, self.clock())
        told = await raw.fetch(withdrawals.TOLD_UNDER, *about, at)
        await _tell(tx, [(recorded, request) for request in told], WITHDRAWN, self.clock())


@dataclass(frozen=True)
class Receipts:
    """Tells partners that a person was erased, once the log says so (RGPD art. 19)."""

    clock: Clock

    async def handle(self, messages: Sequence[Recorded], tx: AsyncConnection) -> None:
        """A message to each partner for each request that it got."""
        heard = {m.person_id: m for m in messages if m.type == PersonErased.type}
        raw = await driver(tx)
        told = await raw.fetch(rights_tables.TOLD, [p for p in heard if p]) if heard else []
        await _tell(tx, [(heard[request["person_id"]], request) for request in told], ERASED,
                    self.clock())  # fmt: skip


async def _tell(
    tx: AsyncConnection, told: Sequence[tuple[Recorded, Any]], message: str, now: datetime
) -> None:
    """One message about each request that a partner got, derived from what was heard."""
    endpoints = await _endpoints(tx, {_key(request) for _, request in told}, by_api=False)
    rows = [
        _about(recorded, message, request, endpoints.get(_key(request)))
        | {"delivery_id": derived_id(recorded.event_id, str(request["referral_id"]))}
        for recorded, request in told
    ]
    await _insert(tx, [row | _waiting(row, now) for row in rows], now)


def _waiting(row: Row, now: datetime) -> Row:
    """Due now; by phone or paper (``manual``) where the partner gave no address."""
    if row["endpoint_id"] is None:
        return {"state": "manual", "next_attempt_at": None, "last_error": "no-endpoint"}
    return {"state": "pending", "next_attempt_at": now, "last_error": None}


async def _insert(tx: AsyncConnection, rows: list[Row], now: datetime) -> set[UUID]:
    if not rows:
        return set()
    raw = await driver(tx)
    columns = [[row[name] for row in rows] for name in tables.DELIVERY_COLUMNS]
    new = await raw.fetch(tables.INSERT_DELIVERIES, *columns, now)
    return {row["delivery_id"] for row in new}


async def _endpoints(
    tx: AsyncConnection, wanted: Iterable[Key], by_api: bool | None = None
) -> dict[Key, UUID]:
    """(partner, service) → the endpoint to deliver to, where there is one.

    ``by_api``: only by the channel ``rest``, or by any other; none: by any.
    """
    raw, keys = await driver(tx), sorted(wanted)
    if not keys:
        return {}
    columns = map(list, zip(*keys, strict=True))
    rows = await raw.fetch(tables.ENDPOINTS_FOR, *columns, by_api)
    # Locked, so that one being disabled at this moment does not get a delivery that nobody
    # would ever look at: whoever disables it sees our rows, or we see that it is disabled.
    locked = await raw.fetch(tables.LOCK_ENDPOINTS, [row["endpoint_id"] for row in rows])
    active = {row["endpoint_id"] for row in locked}
    return {_key(row): row["endpoint_id"] for row in rows if row["endpoint_id"] in active}


def _key(row: Any) -> Key:
    return row["partner_id"], row["service_id"]


def _row(recorded: Recorded, event: ReferralRequested, endpoint: UUID | None) -> Row:
    return _common(recorded, REQUESTED, endpoint) | {
        "partner_id": event.partner_id,
        "service_id": event.service_id,
        "referral_id": event.referral_id,
        "person_id": event.person_id,
        "sealed": recorded.sealed,
        "agreement_id": event.agreement_id,
        "agreed_until": event.agreed_until,
    }


def _about(recorded: Recorded, message: str, request: Any, endpoint: UUID | None) -> Row:
    """A message about a request that the partner has: it says nothing of the person."""
    return _common(recorded, message, endpoint) | {
        "partner_id": request["partner_id"],
        "service_id": request["service_id"],
        "referral_id": request["referral_id"],
        "person_id": request["person_id"],
        "sealed": None,  # an adviser's comment is not for the partner
        "agreement_id": None,
        "agreed_until": None,
    }


def _overdue(heard: Sequence[tuple[Recorded, Event]]) -> dict[UUID, Recorded]:
    """Referral id → its reminder, unless the same batch has an answer after it."""
    found: dict[UUID, Recorded] = {}
    for recorded, event in heard:
        if isinstance(event, DeadlinePassed) and event.step is DeadlineStep.REMIND:
            found[event.referral_id] = recorded
        elif isinstance(event, ReferralMoved):
            found.pop(event.referral_id, None)
    return found


def _manual(recorded: Recorded, row: Row) -> Pending:
    manual = DeliveryManual(
        delivery_id=row["delivery_id"],
        referral_id=row["referral_id"],
        partner_id=row["partner_id"],
        service_id=row["service_id"],
    )
    stream = f"delivery-{row['delivery_id']}"
    return Pending(stream, [manual], row["person_id"], recorded.caused())


def _common(recorded: Recorded, message: str, endpoint: UUID | None) -> Row:
    return {
        "delivery_id": derived_id(recorded.event_id, "delivery"),
        "endpoint_id": endpoint,
        "message": message,
        "event_id": recorded.event_id,
        "event_type": recorded.type,
        "occurred_at": recorded.occurred_at,
        "data": recorded.data,
        "traceparent": recorded.meta.traceparent,
    }
