"""The read tables: the directory, and what is known of each referral's state.

``referral_states`` is kept by the handler that makes a referral's delivery, in the same
transaction. So it is never behind what a partner can know of: whoever answers a referral was
sent it, and its row was committed with what was sent.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
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
from infra.keys.vault import PersonKey, Vault
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
from services.partners.model.life_cycle import StateChange, fold_states
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
    """Partners and services as last published."""
    partners = {e.partner_id: e for e in events if isinstance(e, PartnerRegistered)}
    services = {e.service_id: e for e in events if isinstance(e, ServicePublished)}
    if partners:
        rows = [(p.partner_id, p.kind, p.name, _json(p.structure)) for p in partners.values()]
        await tx.execute(statements.UPSERT_PARTNERS, *columns(rows))
    if services:
        values = columns(_service(s) for s in services.values())
        await tx.execute(statements.UPSERT_SERVICES, *values)
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
    for said in (event for event in events if isinstance(event, CapacityReported)):
        await tx.execute(
            statements.KEEP_CAPACITY, said.service_id, said.status, said.seats, said.until,
            said.reported_at, said.sessions,
        )  # fmt: skip


async def keep_states(tx: Transaction, events: Sequence[Parsed]) -> None:
    """Bring ``referral_states`` up to date with a batch of the referral service's events."""
    changes = fold_states([(recorded.version, event) for recorded, event in events])
    if not changes:
        return
    new = [change for change in changes.values() if change.origin]
    if new:
        values = columns(_new_state(change) for change in new)
        await tx.execute(statements.INSERT_STATES, *values)
    moved = [
        (
            i,
            c.status,
            c.version,
            c.settles,
            c.commission_on,
            c.appointed,
            c.appointment_at,
        )
        for i, c in changes.items()
    ]
    answers = [answer_id for change in changes.values() for answer_id in change.answers]
    await tx.execute(statements.UPDATE_STATES, *columns(moved), answers)


def _new_state(change: StateChange) -> tuple[object, ...]:
    origin = change.origin
    assert origin is not None
    return (
        origin.referral_id, origin.partner_id, origin.service_id, origin.case_id,
        origin.person_id, change.status, change.version, change.commission_on,
        change.appointment_at,
    )  # fmt: skip


def _service(event: ServicePublished) -> tuple[object, ...]:
    return (
        event.service_id, event.partner_id, event.kind, event.name, event.policy,
        event.commission, event.clear_json().decode(),
    )  # fmt: skip


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


async def _fill(tx: Transaction, vault: Vault) -> int:
    """What was heard by the code that hears it; then what partners said in between."""
    await fold(tx, "referrals", partial(_keep_heard, vault), SUBSCRIPTION)
    await fold(tx, "intake", apply_restrictions, "rights")
    await tx.execute(statements.DROP_FORGOTTEN_STATES)
    return await fold(tx, "partners", partial(_keep_own, vault))


async def _keep_heard(vault: Vault, tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    events = relevant(messages)
    await keep_states(tx, events)
    await keep_references(tx, vault, events)


async def _keep_own(vault: Vault, tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    events = [parse_event(m.type, m.data) for m in messages]
    await keep_directory(tx, events)
    answered = {e.referral_id for e in events if isinstance(e, AnswerReceived)}
    if answered:
        await _keep_words(vault, tx, answered)


async def _keep_words(vault: Vault, tx: Transaction, answered: Collection[UUID]) -> None:
    """What these referrals' partners said, in order with what had been heard meanwhile."""
    until, streams = await heard_until(tx, SUBSCRIPTION), [f"referral-{i}" for i in answered]
    own = await _loaded(tx, "partners", streams, {AnswerReceived.type})
    others = await _loaded(tx, "referrals", streams, RELEVANT)
    answers = _by_stream(await opened(vault, own))
    moves = _by_stream(await opened(vault, [(m, e) for m, e in others if m.position <= until]))
    keys = await vault.keys({m.person_id for m, _ in own if m.person_id})
    rows = [_words(said, moves[stream], keys) for stream, said in answers.items()]
    await tx.execute(statements.KEEP_WORDS, *columns(rows))


async def _loaded(
    tx: Transaction, service: str, streams: Sequence[str], types: Collection[str]
) -> list[Parsed]:
    histories = (await EventStore(service).load_many(tx, streams)).values()
    found = [m for history in histories for m in history if m.type in types]
    return [(m, parse_event(m.type, m.data)) for m in found]


def _by_stream(events: Sequence[Parsed]) -> defaultdict[str, list[Parsed]]:
    found = defaultdict(list)
    for message, event in events:
        found[message.stream].append((message, event))
    return found


def _words(
    said: Sequence[Parsed], moves: Sequence[Parsed], keys: Mapping[UUID, PersonKey]
) -> tuple[object, ...]:
    answers = [event for _, event in said if isinstance(event, AnswerReceived)]
    words = fold_words([(m.version, event) for m, event in moves], answers)
    referral_id, key = answers[0].referral_id, keys.get(answers[0].person_id)
    sealed = key and words.reference and seal_reference(key, referral_id, words.reference)
    return (
        referral_id, words.asked_status, words.asked_answer_id, words.commission_on,
        sealed or None,
    )  # fmt: skip


READ_TABLES = ReadTables(
    "partners",
    ("partners", "partner_names", "services", "referral_states", "limits"),
    _fill,
    resealed=(Resealed("referral_states", "partner_reference", same_references),),
)
