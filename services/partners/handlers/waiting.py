"""Deliveries that wait to be sent: what a row holds, by which address it goes, or by hand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from typing import Any, NamedTuple, Self
from uuid import UUID

from contracts.partners import DeliveryManual
from contracts.referrals import ReferralRequested
from contracts.values import MessageKind
from infra.base.ids import derived_id
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.eventstore.writer import Pending
from infra.postgres.transaction import Transaction, columns
from services.partners.handlers.compose import EventRow, about
from services.partners.model.message_kinds import REQUESTED
from services.partners.tables import statements

Key = tuple[str, str]


class Standing(NamedTuple):
    """State of a new delivery, when it is due, and why it is not sent."""

    state: str
    next_attempt_at: datetime | None = None
    last_error: str | None = None


HELD = Standing("held", None, "person-restricted")


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """A request that a partner has, or may have."""

    referral_id: UUID
    partner_id: str
    service_id: str
    person_id: UUID
    partner_reference: bytes | None

    @classmethod
    def of(cls, record: Any) -> Self:
        """Return the columns of a record that the class knows."""
        return cls(**{f.name: record[f.name] for f in fields(cls)})

    @property
    def key(self) -> Key:
        """Partner and service."""
        return self.partner_id, self.service_id


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery(EventRow):
    """A delivery to store; ``cause``: of the events that tell of it."""

    delivery_id: UUID
    endpoint_id: UUID | None
    partner_id: str
    service_id: str
    referral_id: UUID
    occurred_at: datetime
    partner_reference: bytes | None
    traceparent: str | None
    agreement_id: UUID | None = None
    agreed_until: date | None = None
    standing: Standing
    cause: EventMetadata

    @property
    def disclosed(self) -> bool:
        """Whether it is written down as disclosed from the start: it leaves by itself."""
        return self.message is REQUESTED and self.standing.state == "pending"

    def row(self) -> list[Any]:
        """Return the values of ``DELIVERY_COLUMNS``."""
        standing = self.standing._asdict()
        return [
            standing[name] if name in standing else getattr(self, name)
            for name in statements.DELIVERY_COLUMNS
        ]


async def tell(
    tx: Transaction,
    requests: Sequence[tuple[StoredEvent, KnownRequest]],
    message: MessageKind,
    now: datetime,
) -> list[Pending]:
    """Store one message about each request, derived from the event beside it."""
    endpoints = await endpoints_for(tx, {known.key for _, known in requests}, by_api=False)
    rows = [
        replace(
            delivery_about(recorded, message, known, endpoints.get(known.key), now),
            delivery_id=derived_id(recorded.event_id, str(known.referral_id)),
        )
        for recorded, known in requests
    ]
    return by_hand(await insert(tx, rows, now))


def waiting(endpoint: UUID | None, now: datetime) -> Standing:
    """Return: due now; by phone or paper (``manual``) where the partner gave no address."""
    if endpoint is None:
        return Standing("manual", None, "no-endpoint")
    return Standing("pending", now)


async def insert(
    tx: Transaction, rows: Sequence[NewDelivery], now: datetime
) -> list[NewDelivery]:
    """Store deliveries; return those that were not there before."""
    if not rows:
        return []
    values = columns(row.row() for row in rows)
    new = {i for (i,) in await tx.fetch(statements.INSERT_DELIVERIES, *values, now)}
    return [row for row in rows if row.delivery_id in new]


async def endpoints_for(
    tx: Transaction, wanted: Iterable[Key], by_api: bool | None = None
) -> dict[Key, UUID]:
    """Return (partner, service) → the endpoint to deliver to, where there is one.

    ``by_api``: only by one that keeps appointments, or by any other; none: by any.
    """
    keys = sorted(wanted)
    if not keys:
        return {}
    rows = await tx.fetch(statements.ENDPOINTS_FOR, *columns(keys), by_api)
    chosen = {(partner, service): endpoint for partner, service, endpoint in rows}
    # Locked, so that one being disabled at this moment does not get a delivery that nobody
    # would ever look at: whoever disables it sees our rows, or we see that it is disabled.
    locked = await tx.fetch(statements.LOCK_ENDPOINTS, list(chosen.values()))
    active = {endpoint for (endpoint,) in locked}
    return {key: endpoint for key, endpoint in chosen.items() if endpoint in active}


def delivery_of(
    recorded: StoredEvent, event: ReferralRequested, endpoint: UUID | None, standing: Standing
) -> NewDelivery:
    """Return a request, with what it discloses as the log has it: sealed."""
    return NewDelivery(
        **_event_of(recorded),
        message=REQUESTED,
        endpoint_id=endpoint,
        partner_id=event.partner_id,
        service_id=event.service_id,
        referral_id=event.referral_id,
        person_id=event.person_id,
        sealed=recorded.sealed,
        partner_reference=None,
        agreement_id=event.agreement_id,
        agreed_until=event.agreed_until,
        standing=standing,
    )


def delivery_about(
    recorded: StoredEvent,
    message: MessageKind,
    request: KnownRequest,
    endpoint: UUID | None,
    now: datetime,
) -> NewDelivery:
    """Return a message about a request that the partner has: it says nothing of the person."""
    return NewDelivery(
        **_event_of(recorded),
        message=message,
        endpoint_id=endpoint,
        partner_id=request.partner_id,
        service_id=request.service_id,
        referral_id=request.referral_id,
        person_id=request.person_id,
        sealed=None,  # an adviser's comment is not for the partner
        partner_reference=request.partner_reference,
        standing=waiting(endpoint, now),
    )


def by_hand(rows: Iterable[NewDelivery]) -> list[Pending]:
    """Return the events by which an adviser learns what has no address to go to."""
    return [
        Pending(
            f"delivery-{row.delivery_id}",
            [
                DeliveryManual(
                    **about(row), service_id=row.service_id, error=row.standing.last_error
                )
            ],
            row.person_id,
            row.cause,
        )
        for row in rows
        if row.standing.state == "manual"
    ]


def _event_of(recorded: StoredEvent) -> dict[str, Any]:
    return {
        "delivery_id": derived_id(recorded.event_id, "delivery"),
        "event_id": recorded.event_id,
        "event_type": recorded.type,
        "occurred_at": recorded.occurred_at,
        "data": recorded.data,
        "traceparent": recorded.meta.traceparent,
        "cause": recorded.caused(),
    }
