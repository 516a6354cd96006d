"""Deliveries that wait to be sent: what a row holds, by which address it goes, or by hand."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.partners import DeliveryManual
from contracts.referrals import ReferralRequested
from infra.base.ids import derived_id
from infra.eventstore.events import StoredEvent
from infra.eventstore.writer import Pending
from infra.postgres.transaction import Transaction, columns
from services.partners.handlers.compose import about
from services.partners.model.message_kinds import REQUESTED
from services.partners.tables import statements

HELD = {"state": "held", "next_attempt_at": None, "last_error": "person-restricted"}
Key = tuple[str, str]
Row = dict[str, Any]


async def tell(
    tx: Transaction, news: Sequence[tuple[StoredEvent, Any]], message: str, now: datetime
) -> list[Pending]:
    """Make one message about each request that a partner got; its id derives from the event."""
    endpoints = await endpoints_for(tx, {key_of(request) for _, request in news}, by_api=False)
    rows = [
        row_about(recorded, message, request, endpoints.get(key_of(request)))
        | {"delivery_id": derived_id(recorded.event_id, str(request["referral_id"]))}
        for recorded, request in news
    ]
    return by_hand(await insert(tx, [row | waiting(row, now) for row in rows], now))


def waiting(row: Row, now: datetime) -> Row:
    """Return the state of a row that is due; ``manual`` where the partner gave no address."""
    if row["endpoint_id"] is None:
        return {"state": "manual", "next_attempt_at": None, "last_error": "no-endpoint"}
    return {"state": "pending", "next_attempt_at": now, "last_error": None}


async def insert(tx: Transaction, rows: list[Row], now: datetime) -> list[Row]:
    """Store deliveries. Returns those that were not there before.

    ``disclosed``: what leaves by itself is written down as disclosed from the start.
    """
    if not rows:
        return []
    for row in rows:
        row["disclosed"] = row["message"] == REQUESTED and row["state"] == "pending"
    columns = [[row[name] for row in rows] for name in statements.DELIVERY_COLUMNS]
    new = {
        r["delivery_id"] for r in await tx.fetch(statements.INSERT_DELIVERIES, *columns, now)
    }
    return [row for row in rows if row["delivery_id"] in new]


async def endpoints_for(
    tx: Transaction, wanted: Iterable[Key], by_api: bool | None = None
) -> dict[Key, UUID]:
    """Return the endpoint to deliver to by partner and service, where there is one.

    ``by_api``: only by one that keeps appointments, or by any other; none: by any.
    """
    keys = sorted(wanted)
    if not keys:
        return {}
    values = columns(keys)
    rows = await tx.fetch(statements.ENDPOINTS_FOR, *values, by_api)
    # Locked, so that one being disabled at this moment does not get a delivery that nobody
    # would ever look at: whoever disables it sees our rows, or we see that it is disabled.
    chosen = {(partner, service): endpoint for partner, service, endpoint in rows}
    locked = await tx.fetch(statements.LOCK_ENDPOINTS, list(chosen.values()))
    active = {endpoint_id for (endpoint_id,) in locked}
    return {key: endpoint for key, endpoint in chosen.items() if endpoint in active}


def key_of(row: Any) -> Key:
    """Return partner and service of a row."""
    return row["partner_id"], row["service_id"]


def request_row(recorded: StoredEvent, event: ReferralRequested, endpoint: UUID | None) -> Row:
    """Return a request's row, with what it discloses as the log has it: sealed."""
    return _common(recorded, REQUESTED, endpoint) | {
        "partner_id": event.partner_id,
        "service_id": event.service_id,
        "referral_id": event.referral_id,
        "person_id": event.person_id,
        "sealed": recorded.sealed,
        "partner_reference": None,
        "agreement_id": event.agreement_id,
        "agreed_until": event.agreed_until,
    }


def row_about(recorded: StoredEvent, message: str, request: Any, endpoint: UUID | None) -> Row:
    """Return the row of a message about a request that the partner has.

    It says nothing of the person.
    """
    return _common(recorded, message, endpoint) | {
        "partner_id": request["partner_id"],
        "service_id": request["service_id"],
        "referral_id": request["referral_id"],
        "person_id": request["person_id"],
        "sealed": None,  # an adviser's comment is not for the partner
        "partner_reference": request["partner_reference"],
        "agreement_id": None,
        "agreed_until": None,
    }


def by_hand(rows: Sequence[Row]) -> list[Pending]:
    """Return the events by which an adviser hears of what has no address to go to."""
    return [
        Pending(
            f"delivery-{row['delivery_id']}",
            [
                DeliveryManual(
                    **about(row), service_id=row["service_id"], error=row["last_error"]
                )
            ],
            row["person_id"],
            row["cause"],
        )
        for row in rows
        if row["state"] == "manual"
    ]


def _common(recorded: StoredEvent, message: str, endpoint: UUID | None) -> Row:
    return {
        "delivery_id": derived_id(recorded.event_id, "delivery"),
        "endpoint_id": endpoint,
        "message": message,
        "event_id": recorded.event_id,
        "event_type": recorded.type,
        "occurred_at": recorded.occurred_at,
        "data": recorded.data,
        "traceparent": recorded.meta.traceparent,
        "cause": recorded.caused(),
    }
