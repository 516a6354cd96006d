"""Reactions to other services' events: messages to partners, made in sets."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    Row,
    by_hand,
    endpoints_for,
    insert,
    key_of,
    request_row,
    row_about,
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


@dataclass(frozen=True)
class Deliveries:
    """Makes deliveries. Their ids derive from the event, so a repeat makes none twice."""

    writer: Writer
    clock: Clock

    async def handle(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """States, deliveries and disclosures of a batch, in sets."""
        heard = projections.heard(messages)
        await projections.keep_states(tx, heard)
        await keep_references(tx, self.writer.vault, heard)
        requests = [(m, e) for m, e in heard if isinstance(e, ReferralRequested)]
        cancelled = [(m, e) for m, e in heard if isinstance(e, ReferralCancelled)]
        appointed = [
            (m, e) for m, e in heard if isinstance(e, AppointmentEvent) and tells_partner(e)
        ]
        answered = {e.referral_id for _, e in heard if isinstance(e, ReferralMoved)}
        overdue = _overdue(heard)
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
        rows = []
        for recorded, event in requests:
            endpoint = endpoints.get((event.partner_id, event.service_id))
            row = request_row(recorded, event, endpoint)
            standing = self._standing(event, row, event.person_id in alive)
            if event.person_id in held and standing["state"] == "pending":
                standing = HELD
            rows.append(row | standing)
        new = await insert(tx, rows, self.clock())
        asked = {recorded.event_id: event for recorded, event in requests}
        disclosures = [
            disclosure(asked[row["event_id"]], row, alive[row["person_id"]], row["cause"])
            for row in new
            if row["disclosed"]
        ]
        return disclosures + by_hand(new)

    def _standing(self, event: ReferralRequested, row: Row, alive: bool) -> Row:
        """State, due time and reason of a new delivery."""
        now, error = self.clock(), None
        if not alive:
            error = "person-erased"
        elif expired(event.agreed_until, local_day(now)):
            error = "agreement-expired"
        if error:
            return {"state": "cancelled", "next_attempt_at": None, "last_error": error}
        return waiting(row, now)

    async def _appoint(
        self, tx: Transaction, said: list[tuple[StoredEvent, AppointmentEvent]]
    ) -> list[Pending]:
        """Tell whoever has the request of its appointment: by the API that keeps it, else by
        another channel or an adviser; who came is for that API alone."""
        now = self.clock()
        found = await tx.fetch(appointments.APPOINTED, [e.referral_id for _, e in said])
        known = {request["referral_id"]: request for request in found}
        keys = {key_of(request) for request in found}
        api = await endpoints_for(tx, keys, by_api=True)
        others = await endpoints_for(tx, keys, by_api=False)
        held = await limited_among(
            tx, {r["person_id"] for r in found}, ProcessingRestriction.RESTRICTED
        )
        newest: dict[UUID, Row] = {}
        kept: list[Row] = []
        for recorded, event in said:
            if (request := known.get(event.referral_id)) is None:
                continue
            message = CALLED_OFF if isinstance(event, AppointmentExcused) else APPOINTMENT
            endpoint = api.get(key_of(request)) if request["by_api"] else None
            by_api = endpoint is not None
            row = row_about(recorded, message, request, endpoint or others.get(key_of(request)))
            row |= {name: request[name] for name in ("agreement_id", "agreed_until")}
            row |= HELD if request["person_id"] in held else waiting(row, now)
            if by_api:
                kept.append(row)
            elif isinstance(event, AppointmentSet | AppointmentExcused):
                newest[event.referral_id] = row
        await tx.execute(appointments.SUPERSEDE, list(newest), now)
        return by_hand(await insert(tx, [*kept, *newest.values()], now))

    async def _cancel(
        self, tx: Transaction, cancelled: list[tuple[StoredEvent, ReferralCancelled]]
    ) -> list[Pending]:
        ids = [event.referral_id for _, event in cancelled]
        await tx.execute(statements.CANCEL_DELIVERIES, ids, self.clock())
        known = {r["referral_id"]: r for r in await tx.fetch(statements.KNOWN_TO_PARTNER, ids)}
        told = [(m, e) for m, e in cancelled if e.referral_id in known and tells_partner(e)]
        wanted = [known[e.referral_id] for _, e in told]
        endpoints = await endpoints_for(tx, {key_of(r) for r in wanted}, by_api=False)
        api = await endpoints_for(tx, {key_of(r) for r in wanted if r["by_api"]}, by_api=True)
        rows = []
        for recorded, event in told:
            request = known[event.referral_id]
            endpoint = endpoints.get(key_of(request))
            if request["by_api"]:  # what made an appointment takes it away again
                endpoint = api.get(key_of(request), endpoint)
            row = row_about(recorded, CANCELLED, request, endpoint)
            row |= waiting(row, self.clock())
            if row["state"] == "pending" and request["leased_until"]:
                # the request is being sent at this moment: its cancellation must not overtake
                row["next_attempt_at"] = request["leased_until"]
            rows.append(row)
        return by_hand(await insert(tx, rows, self.clock()))

    async def _remind(self, tx: Transaction, overdue: dict[UUID, StoredEvent]) -> list[Pending]:
        """Remind whoever took the request and has not ended it in the meantime."""
        found = await tx.fetch(statements.REMINDABLE, list(overdue))
        told = [(overdue[request["referral_id"]], request) for request in found]
        endpoints = await endpoints_for(tx, {key_of(r) for r in found}, by_api=False)
        rows = [
            row_about(recorded, REMINDED, request, endpoints.get(key_of(request)))
            for recorded, request in told
        ]
        now = self.clock()
        return by_hand(await insert(tx, [row | waiting(row, now) for row in rows], now))


@dataclass(frozen=True)
class Withdrawals:
    """What a withdrawn agreement means for messages."""

    writer: Writer
    clock: Clock

    async def handle(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Remember each, keep back what did not leave, tell whoever received something."""
        pending: list[Pending] = []
        for recorded in messages:
            if recorded.type == AgreementWithdrawn.type:
                event = parse_event(recorded.type, recorded.data)
                assert isinstance(event, AgreementWithdrawn)
                pending += await self._withdraw(tx, recorded, event)
        await self.writer.write(tx, pending)

    async def _withdraw(
        self, tx: Transaction, recorded: StoredEvent, event: AgreementWithdrawn
    ) -> list[Pending]:
        # what was sent before the hub heard of it; the sender's own clock may be wrong
        at = recorded.recorded_at
        about = event.person_id, event.agreement_id
        await tx.execute(withdrawals.WITHDRAW, *([value] for value in about), [at])
        await tx.execute(withdrawals.DROP_WITHDRAWN, *about, at, self.clock())
        told = await tx.fetch(withdrawals.TOLD_UNDER, *about, at)
        about_each = [(recorded, request) for request in told]
        return await tell(tx, about_each, WITHDRAWN, self.clock())


@dataclass(frozen=True)
class Receipts:
    """Tells partners that a person was erased, once the log says so (RGPD art. 19)."""

    writer: Writer
    clock: Clock

    async def handle(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """A message to each partner for each request that it got."""
        heard = {m.person_id: m for m in messages if m.type == PersonErased.type}
        told = await tx.fetch(rights_tables.TOLD, [p for p in heard if p]) if heard else []
        about_each = [(heard[request["person_id"]], request) for request in told]
        await self.writer.write(tx, await tell(tx, about_each, ERASED, self.clock()))


def _overdue(heard: Sequence[tuple[StoredEvent, Event]]) -> dict[UUID, StoredEvent]:
    """Referral id → its reminder, unless the same batch has an answer after it."""
    found: dict[UUID, StoredEvent] = {}
    for recorded, event in heard:
        if isinstance(event, DeadlinePassed) and event.step is DeadlineStep.REMIND:
            found[event.referral_id] = recorded
        elif isinstance(event, ReferralMoved):
            found.pop(event.referral_id, None)
    return found
