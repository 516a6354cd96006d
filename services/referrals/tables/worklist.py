"""The worklist as one Core select: an item for each reason why a case needs a human."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Date,
    Select,
    Text,
    Uuid,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    null,
    select,
    true,
    union_all,
)

from infra.eventstore.tables import ALARMS
from services.referrals.tables.queries import fixed
from services.referrals.tables.schema import CASES, DUPLICATES, REFERRALS, UNDELIVERED

_WITH_PARTNER = tuple(map(fixed, ("requested", "accepted", "in-progress", "on-hold")))
_ACTIVE = select(CASES).where(CASES.c.status == fixed("active")).cte("active")
_OPEN = (
    select(REFERRALS)
    .join(_ACTIVE, _ACTIVE.c.case_id == REFERRALS.c.case_id)
    .where(REFERRALS.c.status.in_((fixed("draft"), *_WITH_PARTNER)))
    .cte("open")
)
"""Referrals of active cases: drafts, and what is open at partners."""
_OF_REFERRAL = ("partner_id", "partner_kind", "service_id", "status", "suggested_service_id")
_NO_ID, _NO_TEXT = cast(null(), Uuid), cast(null(), Text)


def worklist(limit: int, offset: int) -> Select[Any]:
    """Select what needs a human: urgent first, then by the day by which it is due."""
    return _listed().limit(limit).offset(offset)


@cache  # it takes milliseconds to put together, and is the same each time
def _listed() -> Select[Any]:
    items = union_all(*_of_referrals(), *_of_cases(), _undelivered(), _unclear()).cte("items")
    about = (items.c.reason, CASES.c.case_id, CASES.c.person_id, items.c.referral_id)
    case_is = (items.c.due_on, CASES.c.urgent, CASES.c.thematique)
    referral_is = (REFERRALS.c[name] for name in _OF_REFERRAL)
    of_cases = (
        select(*about, *case_is, *referral_is, items.c.detail)
        .join(CASES, CASES.c.case_id == items.c.case_id)
        .outerjoin(REFERRALS, REFERRALS.c.referral_id == items.c.referral_id)
    )
    d, other = DUPLICATES.c, cast(DUPLICATES.c.other_id, Text)
    duplicates = _of_no_case(fixed("duplicate"), d.person_id, d.since, _NO_TEXT, other)
    a, began_on = ALARMS.c, cast(func.timezone("Europe/Paris", ALARMS.c.since), Date)
    without_rules = _of_no_case(fixed("no-rules"), _NO_ID, began_on, a.subject, _NO_TEXT)
    without_rules = without_rules.where(a.kind == "no-rules")
    rows = union_all(of_cases, duplicates, without_rules).subquery("rows")
    order = (rows.c.urgent.desc(), rows.c.due_on.nulls_first(), rows.c.case_id)
    return select(rows).order_by(*order, rows.c.referral_id)


def _item(
    reason: ColumnElement[str],
    case_id: ColumnElement[Any],
    referral_id: ColumnElement[Any],
    due_on: ColumnElement[Any],
    detail: ColumnElement[Any] = _NO_TEXT,
) -> Select[Any]:
    return select(
        reason.label("reason"),
        case_id.label("case_id"),
        referral_id.label("referral_id"),
        due_on.label("due_on"),
        detail.label("detail"),
    )


def _of_referrals() -> Iterator[Select[Any]]:
    """An adviser's turn: drafts, what partners ask for, and what they leave unanswered."""
    r = _OPEN.c
    at_adviser = and_(r.awaits == "adviser", r.status != "draft")
    escalated = and_(r.awaits == "partner", r.passed == "escalate")
    for reason, holds in (
        ("to-confirm", r.status == "draft"),
        ("partner-asks", at_adviser),
        ("escalated", escalated),
    ):
        item = _item(fixed(reason), r.case_id, r.referral_id, r.escalate_on)
        yield item.where(holds)


def _of_cases() -> Iterator[Select[Any]]:
    """Cases that do not go on by themselves, or would with an answer of the person."""
    c, draft = _ACTIVE.c, _OPEN.alias("draft")
    due_on = func.coalesce(c.exhausted_due, draft.c.escalate_on)
    unknown = _item(fixed("unknown-facts"), c.case_id, _NO_ID, due_on, c.exhausted)
    of_case = and_(draft.c.case_id == c.case_id, draft.c.status == "draft")
    yield unknown.select_from(_ACTIVE.outerjoin(draft, of_case)).where(
        c.questions > 0, c.exhausted.is_not(None) | draft.c.referral_id.is_not(None)
    )
    exhausted = _item(fixed("exhausted"), c.case_id, _NO_ID, c.exhausted_due, c.exhausted)
    yield exhausted.where(c.exhausted.is_not(None))


def _undelivered() -> Select[Any]:
    """Messages that a partner has not got, as long as it still matters that it has them."""
    c, r, u = CASES.c, REFERRALS.c, UNDELIVERED.c
    active, with_partner = c.status == "active", r.status.in_(_WITH_PARTNER)
    messages: dict[str, tuple[str, ColumnElement[bool]]] = {
        "referral.requested": (
            "delivery-",
            and_(active, r.status == "requested", r.answered_at.is_(None)),
        ),
        "referral.reminded": (
            "reminder-",
            and_(active, r.awaits == "partner", r.passed == "remind"),
        ),
        "appointment.changed": (  # while the appointment is ahead
            "appointment-",
            and_(active, r.appointment_at.is_not(None), with_partner),
        ),
        "appointment.cancelled": (  # unless there is another by now
            "appointment-off-",
            and_(active, r.appointment_at.is_(None), with_partner),
        ),
        "referral.cancelled": ("cancellation-", true()),
    }
    # what ends a referral has to be told, whatever became of the case
    prefix = case(
        {message: fixed(p) for message, (p, _) in messages.items()},
        value=u.message,
        else_=fixed("withdrawal-"),
    )
    matters = case(
        *((u.message == message, m) for message, (_, m) in messages.items()),
        else_=true(),
    )
    item = _item(prefix + u.trouble, r.case_id, r.referral_id, u.since, u.error)
    of_referral = UNDELIVERED.join(REFERRALS, r.referral_id == u.referral_id)
    return item.select_from(of_referral.join(CASES, c.case_id == r.case_id)).where(matters)


def _unclear() -> Select[Any]:
    """An answer that the state table did not allow, the last word in its case."""
    r, later = REFERRALS.c, REFERRALS.alias("later")
    since = cast(func.timezone("Europe/Paris", r.updated_at), Date)
    after = exists().where(later.c.case_id == r.case_id, later.c.updated_at > r.updated_at)
    item = _item(fixed("answer-unclear"), r.case_id, r.referral_id, since)
    of_active = REFERRALS.join(_ACTIVE, _ACTIVE.c.case_id == r.case_id)
    return item.select_from(of_active).where(r.refused_answer.is_not(None), ~after)


def _of_no_case(
    reason: ColumnElement[str],
    person_id: ColumnElement[Any],
    due_on: ColumnElement[Any],
    partner_kind: ColumnElement[Any],
    detail: ColumnElement[Any],
) -> Select[Any]:
    about, case_is = (reason, _NO_ID, person_id, _NO_ID), (due_on, false(), _NO_TEXT)
    referral_is = (_NO_TEXT, partner_kind, _NO_TEXT, _NO_TEXT, _NO_TEXT)
    return select(*about, *case_is, *referral_is, detail)
