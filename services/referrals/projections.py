"""The read tables, kept in the transaction that decides (so that a screen is right at once)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from contracts import persons
from contracts.base import Event
from contracts.days import local_day
from contracts.erasure import ForgottenByReferrals
from contracts.partners import (
    CapacityReported,
    DeliveryDeadLettered,
    DeliveryManual,
    DeliveryRedelivered,
    DeliverySucceeded,
    ServicePublished,
    ServiceWithdrawn,
)
from contracts.referrals import (
    AnswerRefused,
    AppointmentEnded,
    AppointmentSet,
    Awaits,
    CaseClosed,
    CaseExhausted,
    CaseOpened,
    DeadlinePassed,
    ProposalMade,
    ReferralMoved,
    ReferralProposed,
    ReferralRequested,
    RulesPublished,
)
from contracts.registry import parse_event
from contracts.values import Author
from infra.eventstore.events import StoredEvent
from infra.keys.vault import Vault
from infra.postgres.transaction import Transaction, columns
from infra.privacy.restrictions import apply_restrictions
from infra.readmodels.read_tables import ReadTables
from infra.readmodels.rebuild import Keep, fold
from services.referrals.model.person import PERSON_EVENTS
from services.referrals.model.referral import FINAL
from services.referrals.tables import statements

_PERSONS = frozenset(
    event.type
    for event in (
        persons.DuplicateSuspected,
        persons.DuplicateDismissed,
        persons.PersonMerged,
        persons.PersonUnmerged,
    )
)
_DELIVERIES = frozenset(
    event.type
    for event in (DeliveryDeadLettered, DeliveryManual, DeliverySucceeded, DeliveryRedelivered)
)
Row = dict[str, Any]
_CASE = (
    "case_id",
    "person_id",
    "need_id",
    "thematique",
    "urgent",
    "do_not_contact",
    "parallel",
)
_PROPOSAL = ("proposal_id", "case_id", "rules_digest", "evaluated_on")
_REFERRAL = (
    "referral_id",
    "case_id",
    "person_id",
    "proposal_id",
    "partner_id",
    "partner_kind",
    "service_id",
    "attempt",
    "replaces",
)


@dataclass
class Changes:
    """Changes of the read tables; a change names only the columns that it touches."""

    now: datetime
    cases: list[CaseOpened] = field(default_factory=list)
    proposals: list[ProposalMade] = field(default_factory=list)
    case_changes: dict[UUID, Row] = field(default_factory=dict)
    referrals: list[ReferralProposed] = field(default_factory=list)
    referral_changes: dict[UUID, Row] = field(default_factory=dict)
    rules: list[RulesPublished] = field(default_factory=list)
    forgotten: list[UUID] = field(default_factory=list)

    def case(self, case_id: UUID, **changed: Any) -> None:
        """Columns of a case."""
        self.case_changes.setdefault(case_id, {}).update(changed)

    def referral(self, referral_id: UUID, **changed: Any) -> None:
        """Columns of a referral."""
        self.referral_changes.setdefault(referral_id, {}).update(changed)

    async def write(self, tx: Transaction) -> None:
        """Write them: rows first, then what changes in rows."""
        if self.cases:
            values = _columns(self.cases, _CASE)
            await tx.execute(statements.INSERT_CASES, *values, self.now)
        if self.proposals:
            await tx.execute(statements.INSERT_PROPOSALS, *_columns(self.proposals, _PROPOSAL))
        if self.case_changes:
            await tx.execute(statements.UPDATE_CASES, *_rows(self.case_changes))
        if self.referrals:
            values = _columns(self.referrals, _REFERRAL)
            await tx.execute(statements.INSERT_REFERRALS, *values, self.now)
        if self.referral_changes:
            changes = _rows(self.referral_changes)
            await tx.execute(statements.UPDATE_REFERRALS, *changes, self.now)
        for event in self.rules:
            content = orjson.dumps(event.content).decode()
            row = (event.version, event.rules, event.digest, content, self.now)
            await tx.execute(statements.INSERT_RULES, *row)
        for statement in statements.FORGET if self.forgotten else ():
            await tx.execute(statement, self.forgotten)


def _columns(events: Sequence[Event], names: Sequence[str]) -> list[list[Any]]:
    return [[getattr(event, name) for event in events] for name in names]


def _rows(changes: dict[UUID, Row]) -> tuple[list[UUID], list[str]]:
    return list(changes), [orjson.dumps(row).decode() for row in changes.values()]


async def apply(tx: Transaction, events: Sequence[Event], now: datetime) -> None:
    """Bring the read tables up to date with new events of this service."""
    changed = Changes(now)
    for event in events:
        _apply_to_referral(changed, event)
        _apply_to_case(changed, event)
    await changed.write(tx)


async def _fill(tx: Transaction, _: Vault) -> int:
    """Rebuild from others' events first: whoever was forgotten since is forgotten again."""

    async def apply_again(tx: Transaction, events: Sequence[StoredEvent]) -> None:
        for event in events:  # one at a time: each row bears the time of its own last event
            await apply(tx, [parse_event(event.type, event.data)], event.recorded_at)

    for service, subscription, keep in _SOURCES:
        await fold(tx, service, keep, subscription)
    return await fold(tx, "referrals", apply_again)


async def keep_person_events(tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    """Keep the intake's events on persons that routing will look at; still sealed."""
    rows = [
        (m.event_id, m.person_id, m.position, m.type, m.occurred_at, m.data, m.sealed)
        for m in messages
        if m.type in PERSON_EVENTS and m.person_id
    ]
    if rows:
        await tx.execute(statements.KEEP_PERSON_EVENTS, *columns(rows))


async def keep_services(tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    """Keep the directory as partners publish it; the last event of a batch counts."""
    kinds = (ServicePublished.type, ServiceWithdrawn.type)
    latest = {orjson.loads(m.data)["service_id"]: m for m in messages if m.type in kinds}
    published = [m for m in latest.values() if m.type == ServicePublished.type]
    if published:
        texts, positions = [m.data for m in published], [m.position for m in published]
        await tx.execute(statements.UPSERT_SERVICES, texts, positions)
    gone = [i for i, m in latest.items() if m.type == ServiceWithdrawn.type]
    if gone:
        await tx.execute(statements.WITHDRAW_SERVICES, gone)
    reports = [_parsed(m) for m in messages if m.type == CapacityReported.type]
    reports.sort(key=lambda report: report.reported_at)  # of one moment: the later event
    last = {report.service_id: report for report in reports}
    if last:
        rows = [(r.service_id, r.status, r.until, r.reported_at) for r in last.values()]
        await tx.execute(statements.KEEP_CAPACITY, *columns(rows))


async def keep_undelivered(tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    """Keep messages that a partner has not got: somebody has to act, until it has them.

    The last event on a referral's request, reminder, cancellation or withdrawal counts.
    """
    deliveries = [(m, _parsed(m)) for m in messages if m.type in _DELIVERIES]
    last = {(event.referral_id, event.message): (m, event) for m, event in deliveries}
    if not last:
        return
    await tx.execute(statements.DROP_UNDELIVERED, *columns(last))
    rows: list[tuple[Any, ...]] = []
    for (referral_id, kind), (message, event) in last.items():
        since = local_day(message.recorded_at)
        if isinstance(event, DeliveryManual):
            rows.append((referral_id, kind, "manual", event.error, since))
        # of somebody who was erased, nothing is sent any more
        if isinstance(event, DeliveryDeadLettered) and event.error != "person-erased":
            rows.append((referral_id, kind, "dead", event.error, since))
    if rows:
        await tx.execute(statements.KEEP_UNDELIVERED, *columns(rows))


async def keep_persons(tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    """Keep who is the same person as whom, and who may be."""
    for message in messages:
        if message.type not in _PERSONS:
            continue
        event = _parsed(message)
        match event:
            case persons.DuplicateSuspected():
                since = local_day(message.recorded_at)  # not by whose sender said it
                await tx.execute(
                    statements.KEEP_DUPLICATE, event.person_id, event.other_id, since
                )
            case persons.DuplicateDismissed():
                await tx.execute(statements.DROP_DUPLICATE, event.person_id, event.other_id)
            case persons.PersonMerged():
                await tx.execute(statements.KEEP_ALIAS, event.person_id, event.into)
                await tx.execute(statements.DROP_DUPLICATE, event.person_id, event.into)
            case persons.PersonUnmerged():
                await tx.execute(statements.DROP_ALIAS, event.person_id)


_SOURCES: tuple[tuple[str, str, Keep], ...] = (
    ("partners", "directory", keep_services),
    ("partners", "answers", keep_undelivered),
    ("intake", "routing", keep_person_events),
    ("intake", "routing", keep_persons),
    ("intake", "rights", apply_restrictions),
)
"""Others' events that fill read tables: service, subscription that has read them, how."""
READ_TABLES = ReadTables(
    "referrals",
    (
        "cases",
        "proposals",
        "referrals",
        "rules",
        "person_events",
        "aliases",
        "duplicates",
        "services",
        "undelivered",
        "limits",
    ),
    _fill,
)


def _parsed(message: StoredEvent) -> Any:
    return parse_event(message.type, message.data)


def _apply_to_case(changed: Changes, event: Event) -> None:
    match event:
        case CaseOpened():
            changed.cases.append(event)
        case ProposalMade():
            changed.proposals.append(event)
            changed.case(
                event.case_id, proposal_id=event.proposal_id, questions=event.questions
            )
        case CaseClosed():
            changed.case(event.case_id, status=event.status, outcome=event.outcome)
        case CaseExhausted():
            changed.case(event.case_id, exhausted=event.reason, exhausted_due=event.due_on)
        case ReferralProposed():
            changed.case(event.case_id, exhausted=None, exhausted_due=None)
        case RulesPublished():
            changed.rules.append(event)
        case ForgottenByReferrals():
            changed.forgotten.append(event.person_id)


def _apply_to_referral(changed: Changes, event: Event) -> None:
    match event:
        case ReferralMoved():
            changed.referral(event.referral_id, **_moved(event, changed.now))
        case ReferralProposed():
            changed.referrals.append(event)
            changed.referral(event.referral_id, **_wait(event.awaits))
        case ReferralRequested():
            changed.referral(
                event.referral_id,
                status="requested",
                agreement_id=event.agreement_id,
                requested_on=event.requested_on,
                appointment_at=event.appointment_at,
                **_wait(event.awaits),
            )
        case DeadlinePassed():
            changed.referral(event.referral_id, passed=event.step)
        case AnswerRefused():
            changed.referral(event.referral_id, refused_answer=event.asked)
        case AppointmentSet():
            wait = _wait(event.awaits) if event.awaits else {}
            changed.referral(event.referral_id, appointment_at=event.starts_at, **wait)
        case AppointmentEnded():
            changed.referral(event.referral_id, appointment_at=None)


def _moved(event: ReferralMoved, now: datetime) -> Row:
    names = ("reason", "outcome", "commission_on", "suggested_service_id")
    row = {name: value for name in names if (value := getattr(event, name)) is not None}
    row |= {"status": event.status, "business_status": event.business_status}
    if event.awaits or event.status in FINAL:
        row |= _wait(event.awaits)
    if Author.PARTNER in (event.author, event.on_behalf_of):
        row["answered_at"] = now
    return {**row, "refused_answer": None}


def _wait(wait: Awaits | None) -> Row:
    return {
        "awaits": wait.party if wait else None,
        "remind_on": wait.remind_on if wait else None,
        "escalate_on": wait.escalate_on if wait else None,
        "expire_on": wait.expire_on if wait else None,
        "passed": None,
    }
