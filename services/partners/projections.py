"""The read tables: the directory, and what is known of each referral's state.

``referral_states`` is kept by the handler that makes a referral's delivery, in the same
transaction. So it is never behind what a partner can know of: whoever answers a referral was
sent it, and its row was committed with what was sent.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from uuid import UUID

import orjson

from contracts.base import Event
from contracts.partners import (
    AnswerReceived,
    CapacityReported,
    PartnerRegistered,
    PartnerRenamed,
    ServicePublished,
    ServiceWithdrawn,
)
from contracts.referrals import EVENTS as REFERRAL_EVENTS
from contracts.referrals import (
    AnswerRefused,
    AppointmentEvent,
    DeadlinePassed,
    ReferralMoved,
    ReferralProposed,
    ReferralRequested,
)
from contracts.registry import parse_event
from infra.eventstore.events import StoredEvent
from infra.eventstore.store import EventStore
from infra.keys.vault import Vault
from infra.postgres.transaction import Transaction, columns
from infra.privacy.restrictions import apply_restrictions
from infra.readmodels.read_tables import ReadTables, Resealed
from infra.readmodels.rebuild import fold, heard_until
from services.partners.handlers.references import (
    keep_references,
    opened,
    same_references,
    seal_reference,
)
from services.partners.model.life_cycle import fold_states
from services.partners.model.partner_text import fold_words
from services.partners.tables import directory, statements

RELEVANT = {
    event.type
    for event in REFERRAL_EVENTS
    if issubclass(
        event,
        ReferralProposed
        | ReferralRequested
        | ReferralMoved
        | AnswerRefused
        | DeadlinePassed
        | AppointmentEvent,
    )
}

SUBSCRIPTION = "deliveries"
"""The subscription that keeps ``referral_states``."""
Parsed = tuple[StoredEvent, Event]


def relevant(messages: Sequence[StoredEvent]) -> list[Parsed]:
    """Return the referral service's events that concern partners, parsed."""
    return [(m, parse_event(m.type, m.data)) for m in messages if m.type in RELEVANT]


async def keep_directory(tx: Transaction, events: Sequence[Event]) -> None:
    """Bring partners and services to what was last published."""
    registered = {e.partner_id: e for e in events if isinstance(e, PartnerRegistered)}
    published = {e.service_id: e for e in events if isinstance(e, ServicePublished)}
    if registered:
        partners = [
            (p.partner_id, p.kind, p.name, orjson.dumps(p.structure).decode())
            for p in registered.values()
        ]
        await tx.execute(statements.UPSERT_PARTNERS, *columns(partners))
    if published:
        services = []
        for s in published.values():
            offer = (s.service_id, s.partner_id, s.kind, s.name, s.policy, s.commission)
            services.append((*offer, s.clear_json().decode()))
        await tx.execute(statements.UPSERT_SERVICES, *columns(services))
    last = {
        e.service_id: e for e in events if isinstance(e, ServicePublished | ServiceWithdrawn)
    }
    gone = [i for i, event in last.items() if isinstance(event, ServiceWithdrawn)]
    if gone:
        await tx.execute(directory.WITHDRAW_SERVICES, gone)
    names = {(e.partner_id, e.since): e.name for e in events if isinstance(e, PartnerRenamed)}
    if names:
        named = [(partner, since, name) for (partner, since), name in names.items()]
        await tx.execute(directory.KEEP_NAMES, *columns(named))
    for report in (event for event in events if isinstance(event, CapacityReported)):
        capacity = (report.status, report.seats, report.until, report.reported_at)
        values = (report.service_id, *capacity, report.sessions)
        await tx.execute(statements.KEEP_CAPACITY, *values)


async def keep_states(tx: Transaction, events: Sequence[Parsed]) -> None:
    """Bring ``referral_states`` up to date with a batch of the referral service's events."""
    changes = fold_states([(recorded.version, event) for recorded, event in events])
    if not changes:
        return
    new, moved = [], []
    for referral_id, c in changes.items():
        if origin := c.origin:
            whose = (referral_id, origin.partner_id, origin.service_id, origin.case_id)
            known = (c.status, c.version, c.commission_on, c.appointment_at)
            new.append((*whose, origin.person_id, *known))
        moves = (c.status, c.version, c.settles, c.commission_on)
        moved.append((referral_id, *moves, c.appointed, c.appointment_at))
    if new:
        await tx.execute(statements.INSERT_STATES, *columns(new))
    answers = [answer_id for change in changes.values() for answer_id in change.answers]
    await tx.execute(statements.UPDATE_STATES, *columns(moved), answers)


async def _fill(tx: Transaction, vault: Vault) -> int:
    """Fold what the subscription has handled; then what partners said in between."""

    async def keep_states_and_references(
        tx: Transaction, messages: Sequence[StoredEvent]
    ) -> None:
        events = relevant(messages)
        await keep_states(tx, events)
        await keep_references(tx, vault, events)

    async def keep_own(tx: Transaction, messages: Sequence[StoredEvent]) -> None:
        events = [parse_event(m.type, m.data) for m in messages]
        await keep_directory(tx, events)
        answered = {e.referral_id for e in events if isinstance(e, AnswerReceived)}
        if answered:
            await _keep_partner_text(vault, tx, answered)

    await fold(tx, "referrals", keep_states_and_references, SUBSCRIPTION)
    await fold(tx, "intake", apply_restrictions, "rights")
    await tx.execute(statements.DROP_FORGOTTEN_STATES)
    return await fold(tx, "partners", keep_own)


async def _keep_partner_text(vault: Vault, tx: Transaction, answered: Collection[UUID]) -> None:
    """Keep what these referrals' partners said, in order with what was handled meanwhile."""
    until, streams = await heard_until(tx, SUBSCRIPTION), [f"referral-{i}" for i in answered]
    own = await _loaded(tx, "partners", streams, {AnswerReceived.type})
    others = await _loaded(tx, "referrals", streams, RELEVANT)
    answers = _by_stream(await opened(vault, own))
    moves = _by_stream(await opened(vault, [(m, e) for m, e in others if m.position <= until]))
    keys = await vault.keys({m.person_id for m, _ in own if m.person_id})
    rows = []
    for stream, given in answers.items():
        events = [event for _, event in given if isinstance(event, AnswerReceived)]
        text = fold_words([(m.version, event) for m, event in moves[stream]], events)
        referral_id, key = events[0].referral_id, keys.get(events[0].person_id)
        sealed = key and text.reference and seal_reference(key, referral_id, text.reference)
        asked = (text.asked_status, text.asked_answer_id, text.commission_on)
        rows.append((referral_id, *asked, sealed or None))
    await tx.execute(statements.KEEP_WORDS, *columns(rows))


async def _loaded(
    tx: Transaction, service: str, streams: Sequence[str], types: Collection[str]
) -> list[Parsed]:
    histories = (await EventStore(service).load_many(tx, streams)).values()
    stored = (m for history in histories for m in history if m.type in types)
    return [(m, parse_event(m.type, m.data)) for m in stored]


def _by_stream(events: Sequence[Parsed]) -> defaultdict[str, list[Parsed]]:
    streams = defaultdict(list)
    for message, event in events:
        streams[message.stream].append((message, event))
    return streams


READ_TABLES = ReadTables(
    "partners",
    ("partners", "partner_names", "services", "referral_states", "limits"),
    _fill,
    resealed=(Resealed("referral_states", "partner_reference", same_references),),
)
