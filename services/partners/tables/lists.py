"""Selects of what routes list: the directory, endpoints, deliveries, what goes by hand."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Label,
    Select,
    case,
    cast,
    exists,
    false,
    func,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSON

from infra.eventstore.tables import LIMITS
from services.partners.model.message_kinds import ABOUT_PERSON
from services.partners.tables.schema import (
    DELIVERIES,
    DELIVERY_ATTEMPTS,
    ENDPOINTS,
    PARTNER_NAMES,
    PARTNERS,
    REFERRAL_STATES,
    SERVICES,
)

AT_MOST = 500
"""Rows of a list that has no pages."""
UNLISTED = {"rate_at", "keeps_appointments"}
"""Columns of addresses that are for the delivery queue alone."""
_PARTNER = func.coalesce(PARTNERS.c.name, DELIVERIES.c.partner_id).label("partner")


def partners_after(partner_id: str, limit: int) -> Select[Any]:
    """Select a page of the directory's organisations."""
    return (
        select(PARTNERS)
        .where(PARTNERS.c.partner_id > partner_id)
        .order_by(PARTNERS.c.partner_id)
        .limit(limit)
    )


def services_after(service_id: str, limit: int, partner_id: str | None = None) -> Select[Any]:
    """Select a page of what partners offer, withdrawn ones too."""
    of = SERVICES.c
    statement = (
        select(of.published, of.capacity, of.seats, of.capacity_until, of.capacity_at)
        .add_columns(of.sessions, of.withdrawn)
        .where(of.service_id > service_id)
        .order_by(of.service_id)
        .limit(limit)
    )
    return statement if partner_id is None else statement.where(of.partner_id == partner_id)


def names_of(partner_id: str) -> Select[Any]:
    """Select a partner's names by day; one without a day where the name never changed."""
    name = func.coalesce(PARTNER_NAMES.c.name, PARTNERS.c.name).label("name")
    return (
        select(PARTNER_NAMES.c.since, name)
        .select_from(
            PARTNERS.outerjoin(
                PARTNER_NAMES, PARTNER_NAMES.c.partner_id == PARTNERS.c.partner_id
            )
        )
        .where(PARTNERS.c.partner_id == partner_id)
        .order_by(PARTNER_NAMES.c.since)
    )


def endpoints_of(partner_id: str | None) -> Select[Any]:
    """Select a partner's addresses, or everybody's, oldest first; nothing secret."""
    statement = (
        select(*(column for column in ENDPOINTS.c if column.name not in UNLISTED))
        .order_by(ENDPOINTS.c.created_at, ENDPOINTS.c.endpoint_id)
        .limit(1000)
    )
    return (
        statement
        if partner_id is None
        else statement.where(ENDPOINTS.c.partner_id == partner_id)
    )


def deliveries_after(
    seq: int,
    limit: int,
    *,
    state: str | None = None,
    partner_id: str | None = None,
    referral_id: UUID | None = None,
) -> Select[Any]:
    """Select a page of deliveries in the order they were made; nothing of the person."""
    of = DELIVERIES.c
    due = case((of.state == "pending", of.next_attempt_at)).label("next_attempt_at")
    wanted = {of.state: state, of.partner_id: partner_id, of.referral_id: referral_id}
    return (
        select(of.seq, of.delivery_id, of.endpoint_id, of.partner_id, of.service_id)
        .add_columns(of.referral_id, of.message, of.state, of.attempts, of.last_error)
        .add_columns(of.last_status, of.file, of.acknowledged_at, of.created_at)
        .add_columns(of.updated_at, due)
        .where(of.seq > seq)
        .where(*(column == value for column, value in wanted.items() if value is not None))
        .order_by(of.seq)
        .limit(limit)
    )


def attempts_of(delivery_id: UUID, partner_id: str | None) -> Select[Any]:
    """Select every attempt to send a message; none of another partner's."""
    of = DELIVERY_ATTEMPTS.c
    channel = func.coalesce(ENDPOINTS.c.channel, "manual").label("channel")
    statement = (
        select(of.attempt, of.endpoint_id, channel, of.sent_at, of.outcome)
        .add_columns(of.status, of.error, of.duration_ms)
        .outerjoin(ENDPOINTS, ENDPOINTS.c.endpoint_id == of.endpoint_id)
        .join(DELIVERIES, DELIVERIES.c.delivery_id == of.delivery_id)
        .where(of.delivery_id == delivery_id)
        .order_by(of.sent_at, of.attempt)
        .limit(AT_MOST)
    )
    return (
        statement
        if partner_id is None
        else statement.where(DELIVERIES.c.partner_id == partner_id)
    )


def waiting_by_hand(partner_id: str | None) -> Select[Any]:
    """Select messages that wait to be handed over, urgent first; of persons not restricted."""
    of, attempt = DELIVERIES.c, DELIVERY_ATTEMPTS.c
    calls = (
        select(func.count().label("calls"), func.max(attempt.sent_at).label("last_call_at"))
        .where(attempt.delivery_id == of.delivery_id, attempt.endpoint_id.is_(None))
        .lateral("calls")
    )
    urgent = _flag("urgent")
    restricted = exists().where(
        of.message.in_(ABOUT_PERSON),
        LIMITS.c.person_id == of.person_id,
        LIMITS.c.kind == "restricted",
    )
    statement = (
        select(of.delivery_id, of.partner_id, PARTNERS.c.kind, _PARTNER, of.service_id)
        .add_columns(SERVICES.c.name.label("service"), of.referral_id)
        .add_columns(REFERRAL_STATES.c.status.label("referral_status"), of.message, urgent)
        .add_columns(_flag("do_not_contact"), of.agreed_until, of.last_error.label("error"))
        .add_columns(of.created_at, calls.c.calls, calls.c.last_call_at)
        .select_from(DELIVERIES)
        .outerjoin(PARTNERS, PARTNERS.c.partner_id == of.partner_id)
        .outerjoin(SERVICES, SERVICES.c.service_id == of.service_id)
        .outerjoin(REFERRAL_STATES, REFERRAL_STATES.c.referral_id == of.referral_id)
        .join(calls, true())
        .where(of.state == "manual", ~restricted)
        .order_by(urgent.desc(), of.seq)
        .limit(AT_MOST)
    )
    return statement if partner_id is None else statement.where(of.partner_id == partner_id)


def done_by_hand(partner_id: str | None, since: datetime) -> Select[Any]:
    """Select messages that were handed over since a moment, in order."""
    of, attempt = DELIVERIES.c, DELIVERY_ATTEMPTS.c
    statement = (
        select(of.delivery_id, of.partner_id, PARTNERS.c.kind, _PARTNER, of.service_id)
        .add_columns(of.referral_id, of.message, attempt.sent_at.label("handed_over_at"))
        .select_from(DELIVERY_ATTEMPTS)
        .join(DELIVERIES, of.delivery_id == attempt.delivery_id)
        .outerjoin(PARTNERS, PARTNERS.c.partner_id == of.partner_id)
        .where(attempt.endpoint_id.is_(None), attempt.outcome == "ok", attempt.sent_at >= since)
        .order_by(attempt.sent_at)
        .limit(AT_MOST)
    )
    return statement if partner_id is None else statement.where(of.partner_id == partner_id)


def _flag(name: str) -> Label[bool]:
    """Read a yes or no of the event that a message is made from; no where it is silent."""
    value = cast(cast(DELIVERIES.c.data, JSON)[name].astext, Boolean)
    return func.coalesce(value, false()).label(name)
