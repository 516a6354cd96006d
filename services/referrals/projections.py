"""The read tables, kept in the transaction that decides (so that a screen is right at once)."""

from collections.abc import Callable, Sequence
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
    DeliveryEvent,
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


@dataclass
class Changes:
    """What a batch of events changes; a change names only the columns that it touches."""

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


async def apply(tx: Transaction, events: Sequence[Event], now: datetime) -> None:
    """Bring the read tables up to date with new events of this service."""
    changed = Changes(now)
    for event in events:
        for kind, change in _APPLY:
            if isinstance(event, kind):
                change(changed, event)
                break
    await _write(tx, changed)


async def _fill(tx: Transaction, _: Vault) -> int:
    """What others said comes first: whoever was forgotten since is forgotten again."""
    for service, subscription, keep in _HEARD:
        await fold(tx, service, keep, subscription)
    return await fold(tx, "referrals", _apply_again)


async def _apply_again(tx: Transaction, events: Sequence[StoredEvent]) -> None:
    for event in events:  # one at a time: each row bears the time of its own last event
        await apply(tx, [parse_event(event.type, event.data)], event.recorded_at)


async def keep_said(tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    """What the intake says of persons that routing will look at; still sealed."""
    said = [m for m in messages if m.type in PERSON_EVENTS and m.person_id]
    rows = [
        (m.event_id, m.person_id, m.position, m.type, m.occurred_at, m.data, m.sealed)
        for m in said
    ]
    if rows:
        await tx.execute(statements.KEEP_PERSON_EVENTS, *columns(rows))


async def keep_services(tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    """The directory, as the partner service publishes it; the last word of a batch counts."""
    told = (ServicePublished.type, ServiceWithdrawn.type)
    latest = {orjson.loads(m.data)["service_id"]: m for m in messages if m.type in told}
    published = [m for m in latest.values() if m.type == ServicePublished.type]
    if published:
        texts, positions = [m.data for m in published], [m.position for m in published]
        await tx.execute(statements.UPSERT_SERVICES, texts, positions)
    gone = [i for i, m in latest.items() if m.type == ServiceWithdrawn.type]
    if gone:
        await tx.execute(statements.WITHDRAW_SERVICES, gone)
    said = [_parsed(m) for m in messages if m.type == CapacityReported.type]
    said.sort(key=lambda report: report.reported_at)  # of one moment: the later word
    reports = {report.service_id: report for report in said}
    if reports:
        rows = [(r.service_id, r.status, r.until, r.reported_at) for r in reports.values()]
        await tx.execute(statements.KEEP_CAPACITY, *columns(rows))


async def keep_undelivered(tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    """Messages that a partner has not got: somebody has to act, until it has them.

    The last word on a referral's request, reminder, cancellation or withdrawal counts.
    """
    told = [(m, _parsed(m)) for m in messages if m.type in _DELIVERIES]
    last = {(event.referral_id, event.message): (m, event) for m, event in told}
    if not last:
        return
    await tx.execute(statements.DROP_UNDELIVERED, *columns(last))
    rows = [_undelivered(m, event) for m, event in last.values() if _in_trouble(event)]
    if rows:
        await tx.execute(statements.KEEP_UNDELIVERED, *columns(rows))


def _in_trouble(event: DeliveryEvent) -> bool:
    """Of somebody who was erased nothing is to be told any more."""
    if isinstance(event, DeliveryDeadLettered):
        return event.error != "person-erased"
    return isinstance(event, DeliveryManual)


def _undelivered(message: StoredEvent, event: DeliveryManual | DeliveryDeadLettered) -> Any:
    trouble = "manual" if isinstance(event, DeliveryManual) else "dead"
    since = local_day(message.recorded_at)
    return event.referral_id, event.message, trouble, event.error, since


async def keep_persons(tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    """Who is the same person as whom, and who may be."""
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


_HEARD: tuple[tuple[str, str, Keep], ...] = (
    ("partners", "directory", keep_services),
    ("partners", "answers", keep_undelivered),
    ("intake", "routing", keep_said),
    ("intake", "routing", keep_persons),
    ("intake", "rights", apply_restrictions),
)
"""Whose events, as far as which subscription has heard them, fill which table."""
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


def _case_opened(changed: Changes, event: CaseOpened) -> None:
    changed.cases.append(event)


def _proposal(changed: Changes, event: ProposalMade) -> None:
    changed.proposals.append(event)
    changed.case(event.case_id, proposal_id=event.proposal_id, questions=event.questions)


def _closed(changed: Changes, event: CaseClosed) -> None:
    changed.case(event.case_id, status=event.status, outcome=event.outcome)


def _exhausted(changed: Changes, event: CaseExhausted) -> None:
    changed.case(event.case_id, exhausted=event.reason, exhausted_due=event.due_on)


def _proposed(changed: Changes, event: ReferralProposed) -> None:
    changed.referrals.append(event)
    changed.referral(event.referral_id, **_wait(event.awaits))
    changed.case(event.case_id, exhausted=None, exhausted_due=None)


def _requested(changed: Changes, event: ReferralRequested) -> None:
    changed.referral(
        event.referral_id,
        status="requested",
        agreement_id=event.agreement_id,
        requested_on=event.requested_on,
        appointment_at=event.appointment_at,
        **_wait(event.awaits),
    )


def _moved(changed: Changes, event: ReferralMoved) -> None:
    given = {n: getattr(event, n) for n in ("reason", "outcome", "commission_on")}
    given["suggested_service_id"] = event.suggested_service_id
    row = {name: value for name, value in given.items() if value is not None}
    row |= {"status": event.status, "business_status": event.business_status}
    if event.awaits or event.status in FINAL:
        row |= _wait(event.awaits)
    if Author.PARTNER in (event.author, event.on_behalf_of):
        row["answered_at"] = changed.now
    changed.referral(event.referral_id, refused_answer=None, **row)


def _wait(wait: Awaits | None) -> Row:
    return {
        "awaits": wait.party if wait else None,
        "remind_on": wait.remind_on if wait else None,
        "escalate_on": wait.escalate_on if wait else None,
        "expire_on": wait.expire_on if wait else None,
        "passed": None,
    }


def _deadline(changed: Changes, event: DeadlinePassed) -> None:
    changed.referral(event.referral_id, passed=event.step)


def _answer_refused(changed: Changes, event: AnswerRefused) -> None:
    changed.referral(event.referral_id, refused_answer=event.asked)


def _appointment(changed: Changes, event: AppointmentSet) -> None:
    wait = _wait(event.awaits) if event.awaits else {}
    changed.referral(event.referral_id, appointment_at=event.starts_at, **wait)


def _appointment_ended(changed: Changes, event: AppointmentEnded) -> None:
    changed.referral(event.referral_id, appointment_at=None)


def _rules(changed: Changes, event: RulesPublished) -> None:
    changed.rules.append(event)


def _forgotten(changed: Changes, event: ForgottenByReferrals) -> None:
    changed.forgotten.append(event.person_id)


_APPLY: tuple[tuple[type[Event], Callable[[Changes, Any], None]], ...] = (
    (ReferralMoved, _moved),
    (ReferralProposed, _proposed),
    (ReferralRequested, _requested),
    (CaseOpened, _case_opened),
    (ProposalMade, _proposal),
    (CaseClosed, _closed),
    (CaseExhausted, _exhausted),
    (DeadlinePassed, _deadline),
    (AnswerRefused, _answer_refused),
    (AppointmentSet, _appointment),
    (AppointmentEnded, _appointment_ended),
    (RulesPublished, _rules),
    (ForgottenByReferrals, _forgotten),
)
_CASE = (
    "case_id", "person_id", "need_id", "thematique", "urgent", "do_not_contact", "parallel",
)  # fmt: skip
_PROPOSAL = ("proposal_id", "case_id", "rules_digest", "evaluated_on")
_REFERRAL = (
    "referral_id", "case_id", "person_id", "proposal_id", "partner_id", "partner_kind",
    "service_id", "attempt", "replaces",
)  # fmt: skip


async def _write(tx: Transaction, changed: Changes) -> None:
    now = changed.now
    if changed.cases:
        await tx.execute(statements.INSERT_CASES, *_columns(changed.cases, _CASE), now)
    if changed.proposals:
        await tx.execute(statements.INSERT_PROPOSALS, *_columns(changed.proposals, _PROPOSAL))
    if changed.case_changes:
        await tx.execute(statements.UPDATE_CASES, *_rows(changed.case_changes))
    if changed.referrals:
        await tx.execute(
            statements.INSERT_REFERRALS, *_columns(changed.referrals, _REFERRAL), now
        )
    if changed.referral_changes:
        await tx.execute(statements.UPDATE_REFERRALS, *_rows(changed.referral_changes), now)
    for event in changed.rules:
        content = orjson.dumps(event.content).decode()
        await tx.execute(
            statements.INSERT_RULES, event.version, event.rules, event.digest, content, now
        )
    for statement in statements.FORGET if changed.forgotten else ():
        await tx.execute(statement, changed.forgotten)


def _columns(events: Sequence[Event], names: Sequence[str]) -> list[list[Any]]:
    return [[getattr(event, name) for event in events] for name in names]


def _rows(changes: dict[UUID, Row]) -> tuple[list[UUID], list[str]]:
    return list(changes), [orjson.dumps(row).decode() for row in changes.values()]
