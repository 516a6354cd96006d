"""Reactions to other services' events: messages to partners, made in sets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from uuid import UUID

from contracts.base import Event
from contracts.days import local_day
from contracts.erasure import PersonErased
from contracts.intake import AgreementWithdrawn
from contracts.referrals import (
    AppointmentEvent,
    AppointmentExcused,
    AppointmentSet,
    DeadlinePassed,
    ReferralCancelled,
    ReferralMoved,
    ReferralRequested,
)
from contracts.registry import parse_event
from contracts.values import DeadlineStep
from infra.base.clock import Clock
from infra.eventstore.events import StoredEvent
from infra.eventstore.writer import Pending, Writer
from infra.postgres.transaction import Transaction
from infra.privacy.restrictions import ProcessingRestriction, limited_among
from services.partners import projections
from services.partners.handlers.compose import disclosure
from services.partners.handlers.references import keep_references
from services.partners.handlers.waiting import (
    HELD,
    KnownRequest,
    NewDelivery,
    Standing,
    by_hand,
    delivery_about,
    delivery_of,
    endpoints_for,
    insert,
    tell,
    waiting,
)
from services.partners.model.message_kinds import (
    APPOINTMENT,
    CALLED_OFF,
    CANCELLED,
    ERASED,
    REMINDED,
    WITHDRAWN,
    expired,
    tells_partner,
)
from services.partners.tables import appointments, statements, withdrawals
from services.partners.tables import rights as rights_tables


@dataclass(frozen=True, slots=True)
class _Appointed(KnownRequest):
    """A request with an appointment; ``by_api``: an API keeps it."""

    agreement_id: UUID | None
    agreed_until: date | None
    by_api: bool


@dataclass(frozen=True, slots=True)
class _Cancelled(KnownRequest):
    """A request that is cancelled; ``leased_until``: while it is being sent."""

    by_api: bool | None
    leased_until: datetime | None


@dataclass(frozen=True)
class Deliveries:
    """Makes deliveries. Their ids derive from the event, so a repeat makes none twice."""

    writer: Writer
    clock: Clock

    async def handle(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Keep states, and make deliveries and disclosures of a batch, in sets."""
        events = projections.relevant(messages)
        await projections.keep_states(tx, events)
        await keep_references(tx, self.writer.vault, events)
        requests = [(m, e) for m, e in events if isinstance(e, ReferralRequested)]
        cancelled = [(m, e) for m, e in events if isinstance(e, ReferralCancelled)]
        appointed = [
            (m, e) for m, e in events if isinstance(e, AppointmentEvent) and tells_partner(e)
        ]
        answered = {e.referral_id for _, e in events if isinstance(e, ReferralMoved)}
        overdue = _overdue(events)
        pending = await self._request(tx, requests) if requests else []
        if appointed:
            pending += await self._appoint(tx, appointed)
        if cancelled:
            pending += await self._cancel(tx, cancelled)
        if answered:
            # one that is tried again must not arrive after the answer it asks for
            await tx.execute(statements.DROP_REMINDERS, list(answered), self.clock())
        if overdue:
            pending += await self._remind(tx, overdue)
        await self.writer.write(tx, pending)

    async def _request(
        self, tx: Transaction, requests: list[tuple[StoredEvent, ReferralRequested]]
    ) -> list[Pending]:
        endpoints = await endpoints_for(tx, {(e.partner_id, e.service_id) for _, e in requests})
        persons = {e.person_id for _, e in requests}
        alive = await self.writer.vault.keys(persons)
        held = await limited_among(tx, persons, ProcessingRestriction.RESTRICTED)
        now, rows = self.clock(), []
        for recorded, event in requests:
            endpoint = endpoints.get((event.partner_id, event.service_id))
            standing = waiting(endpoint, now)
            if event.person_id not in alive:
                standing = Standing("cancelled", None, "person-erased")
            elif expired(event.agreed_until, local_day(now)):
                standing = Standing("cancelled", None, "agreement-expired")
            elif event.person_id in held and standing.state == "pending":
                standing = HELD
            rows.append(delivery_of(recorded, event, endpoint, standing))
        new = await insert(tx, rows, now)
        asked = {recorded.event_id: event for recorded, event in requests}
        disclosures = [
            disclosure(asked[row.event_id], row, alive[row.person_id], row.cause)
            for row in new
            if row.disclosed
        ]
        return disclosures + by_hand(new)

    async def _appoint(
        self, tx: Transaction, events: list[tuple[StoredEvent, AppointmentEvent]]
    ) -> list[Pending]:
        """Tell whoever has the request of its appointment: by the API that keeps it, else by
        another channel or an adviser; who came is for that API alone."""
        now = self.clock()
        records = await tx.fetch(appointments.APPOINTED, [e.referral_id for _, e in events])
        known = {request.referral_id: request for request in map(_Appointed.of, records)}
        keys = {request.key for request in known.values()}
        api = await endpoints_for(tx, keys, by_api=True)
        others = await endpoints_for(tx, keys, by_api=False)
        persons = {request.person_id for request in known.values()}
        held = await limited_among(tx, persons, ProcessingRestriction.RESTRICTED)
        newest: dict[UUID, NewDelivery] = {}
        kept: list[NewDelivery] = []
        for recorded, event in events:
            if (request := known.get(event.referral_id)) is None:
                continue
            message = CALLED_OFF if isinstance(event, AppointmentExcused) else APPOINTMENT
            keeper = api.get(request.key) if request.by_api else None
            row = replace(
                delivery_about(
                    recorded, message, request, keeper or others.get(request.key), now
                ),
                agreement_id=request.agreement_id,
                agreed_until=request.agreed_until,
            )
            if request.person_id in held:
                row = replace(row, standing=HELD)
            if keeper is not None:
                kept.append(row)
            elif isinstance(event, AppointmentSet | AppointmentExcused):
                newest[event.referral_id] = row
        await tx.execute(appointments.SUPERSEDE, list(newest), now)
        return by_hand(await insert(tx, [*kept, *newest.values()], now))

    async def _cancel(
        self, tx: Transaction, cancelled: list[tuple[StoredEvent, ReferralCancelled]]
    ) -> list[Pending]:
        ids, now = [event.referral_id for _, event in cancelled], self.clock()
        await tx.execute(statements.CANCEL_DELIVERIES, ids, now)
        records = await tx.fetch(statements.KNOWN_TO_PARTNER, ids)
        known = {request.referral_id: request for request in map(_Cancelled.of, records)}
        news = [
            (recorded, known[event.referral_id])
            for recorded, event in cancelled
            if event.referral_id in known and tells_partner(event)
        ]
        endpoints = await endpoints_for(tx, {r.key for _, r in news}, by_api=False)
        api = await endpoints_for(tx, {r.key for _, r in news if r.by_api}, by_api=True)
        rows = []
        for recorded, request in news:
            endpoint = endpoints.get(request.key)
            if request.by_api:  # what made an appointment takes it away again
                endpoint = api.get(request.key, endpoint)
            row = delivery_about(recorded, CANCELLED, request, endpoint, now)
            if row.standing.state == "pending" and request.leased_until:
                # the request is being sent at this moment: its cancellation must not overtake
                row = replace(row, standing=Standing("pending", request.leased_until))
            rows.append(row)
        return by_hand(await insert(tx, rows, now))

    async def _remind(self, tx: Transaction, overdue: dict[UUID, StoredEvent]) -> list[Pending]:
        """Remind whoever took the request and has not ended it in the meantime."""
        records = await tx.fetch(statements.REMINDABLE, list(overdue))
        requests, now = [KnownRequest.of(record) for record in records], self.clock()
        endpoints = await endpoints_for(tx, {r.key for r in requests}, by_api=False)
        rows = [
            delivery_about(overdue[r.referral_id], REMINDED, r, endpoints.get(r.key), now)
            for r in requests
        ]
        return by_hand(await insert(tx, rows, now))


@dataclass(frozen=True)
class Withdrawals:
    """Keeps back messages whose agreement is withdrawn, and tells partners."""

    writer: Writer
    clock: Clock

    async def handle(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Remember each, keep back what did not leave, tell whoever received something."""
        pending: list[Pending] = []
        for recorded in messages:
            if recorded.type == AgreementWithdrawn.type:
                event = parse_event(recorded.type, recorded.data)
                assert isinstance(event, AgreementWithdrawn)
                # what was sent before the hub heard of it; the sender's own clock may be wrong
                at, now = recorded.recorded_at, self.clock()
                about = event.person_id, event.agreement_id
                await tx.execute(withdrawals.WITHDRAW, *([value] for value in about), [at])
                await tx.execute(withdrawals.DROP_WITHDRAWN, *about, at, now)
                records = await tx.fetch(withdrawals.TOLD_UNDER, *about, at)
                requests = [(recorded, KnownRequest.of(record)) for record in records]
                pending += await tell(tx, requests, WITHDRAWN, now)
        await self.writer.write(tx, pending)


@dataclass(frozen=True)
class Receipts:
    """Tells partners that a person was erased, once the log says so (RGPD art. 19)."""

    writer: Writer
    clock: Clock

    async def handle(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Store a message to each partner for each request that it got."""
        erased = {m.person_id: m for m in messages if m.type == PersonErased.type}
        records = await tx.fetch(rights_tables.TOLD, [p for p in erased if p]) if erased else []
        requests = [KnownRequest.of(record) for record in records]
        about_each = [(erased[request.person_id], request) for request in requests]
        await self.writer.write(tx, await tell(tx, about_each, ERASED, self.clock()))


def _overdue(events: Sequence[tuple[StoredEvent, Event]]) -> dict[UUID, StoredEvent]:
    """Return referral id → its reminder, unless the same batch has an answer after it."""
    reminders: dict[UUID, StoredEvent] = {}
    for recorded, event in events:
        if isinstance(event, DeadlinePassed) and event.step is DeadlineStep.REMIND:
            reminders[event.referral_id] = recorded
        elif isinstance(event, ReferralMoved):
            reminders.pop(event.referral_id, None)
    return reminders
