"""Core selects of what advisers read: cases, partners, rules."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Date,
    Float,
    Select,
    Text,
    Uuid,
    any_,
    cast,
    exists,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from services.referrals.tables.schema import ALIASES, CASES, REFERRALS, RULES

fixed = partial(literal, literal_execute=True)
"""A value written into the statement, so that PostgreSQL may use a partial index for it."""


def cases(
    limit: int,
    *,
    person_id: UUID | None = None,
    status: str | None = None,
    after: UUID | None = None,
) -> Select[Any]:
    """Select cases in the order of their ids; of one person, under all of its ids."""
    statement = select(CASES).order_by(CASES.c.case_id).limit(limit)
    if person_id is not None:
        same = _same_person(person_id)
        statement = statement.where(CASES.c.person_id.in_(select(same.c.person_id)))
    if status is not None:
        statement = statement.where(CASES.c.status == fixed(status))
    if after is not None:
        statement = statement.where(CASES.c.case_id > after)
    return statement


def case(case_id: UUID) -> Select[Any]:
    """Select one case."""
    return select(CASES).where(CASES.c.case_id == case_id)


def _same_person(person_id: UUID) -> CTE:
    """The ids under which a person is known: who was merged into whom, up and down again."""
    start = select(literal(person_id, Uuid).label("person_id")).cte("up", recursive=True)
    into = select(ALIASES.c.into_id).join(start, start.c.person_id == ALIASES.c.person_id)
    up = start.union(into)
    merged = exists().where(ALIASES.c.person_id == up.c.person_id)
    top = select(up.c.person_id).where(~merged).cte("same", recursive=True)
    below = select(ALIASES.c.person_id).join(top, top.c.person_id == ALIASES.c.into_id)
    return top.union(below)


_SHOWN = (
    "referral_id",
    "case_id",
    "proposal_id",
    "partner_id",
    "partner_kind",
    "service_id",
    "attempt",
    "replaces",
    "status",
    "business_status",
    "reason",
    "outcome",
    "agreement_id",
    "appointment_at",
    "commission_on",
    "suggested_service_id",
    "awaits",
    "next_on",
    "expire_on",
    "passed",
    "updated_at",
)


def referrals_of_cases(case_ids: Sequence[UUID]) -> Select[Any]:
    """Select the referrals of cases, each case's in their order."""
    wanted = any_(literal(list(case_ids), ARRAY(Uuid)))
    return (
        select(*(REFERRALS.c[name] for name in _SHOWN))
        .where(REFERRALS.c.case_id == wanted)
        .order_by(REFERRALS.c.case_id, REFERRALS.c.attempt)
    )


def rules(digest: str | None = None) -> Select[Any]:
    """Select the rules in force, or those of a digest; ``content`` as the text it is."""
    statement = select(
        RULES.c.version,
        RULES.c.rules,
        cast(RULES.c.content, Text).label("content"),
        RULES.c.published_at,
    )
    if digest is not None:
        statement = statement.where(RULES.c.digest == digest)
    return statement.order_by(RULES.c.version.desc()).limit(1)


def silences(since: date, after: str | None, limit: int) -> Select[Any]:
    """Select per partner, of what was requested since a day: what stays out, what lapsed, how
    fast the answers came."""
    r = REFERRALS.c
    unanswered = (r.status == "requested") & r.answered_at.is_(None)
    answered = r.answered_at.is_not(None)
    days = cast(func.timezone("Europe/Paris", r.answered_at), Date) - r.requested_on
    median = func.percentile_cont(0.5, type_=Float).within_group(days)
    counted: dict[str, ColumnElement[Any]] = {
        "unanswered": func.count().filter(unanswered),
        "oldest": func.min(r.requested_on).filter(unanswered),
        "escalated": func.count().filter(r.passed == "escalate", r.awaits == "partner"),
        "lapsed": func.count().filter(r.status == "cancelled", r.reason == "no-response"),
        "answered": func.count().filter(answered),
        "last_answer_at": func.max(r.answered_at),
        "median_days": median.filter(answered),
    }
    statement = (
        select(r.partner_id, *(column.label(name) for name, column in counted.items()))
        .where(r.requested_on >= since)
        .group_by(r.partner_id)
        .order_by(r.partner_id)
        .limit(limit)
    )
    return statement.where(r.partner_id > after) if after else statement


def bounces(since: date, limit: int) -> Select[Any]:
    """Select A → B → A: pairs of partners between whom persons were sent, and back again."""
    r = REFERRALS.c
    category = func.split_part(CASES.c.thematique, "--", 1)
    chain: dict[str, Any] = {
        "partition_by": (CASES.c.person_id, category),
        "order_by": (r.requested_on, r.case_id, r.attempt),
    }
    steps = (
        select(
            r.partner_id,
            r.requested_on,
            r.referral_id,
            func.lag(r.partner_id, 1).over(**chain).label("before"),
            func.lag(r.partner_id, 2).over(**chain).label("first"),
        )
        .join(CASES, CASES.c.case_id == r.case_id)
        .where(r.requested_on >= since)
        .cte("steps")
    )
    s = steps.c
    newest = aggregate_order_by(s.referral_id, s.requested_on.desc())
    persons = func.count().label("persons")
    return (
        select(
            s.partner_id,
            s.before.label("other_partner_id"),
            persons,
            func.max(s.requested_on).label("last_on"),
            func.array_agg(newest, type_=ARRAY(Uuid))[1:20].label("referrals"),
        )
        .where(s.partner_id == s.first, s.partner_id != s.before)
        .group_by(s.partner_id, s.before)
        .order_by(persons.desc(), s.partner_id, s.before)
        .limit(limit)
    )
