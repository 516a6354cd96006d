"""The read tables, kept in the transaction that decides (so that a screen is right at once)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Event
from contracts.partners import ServicePublished
from contracts.referrals import (
    AppointmentSet,
    CaseClosed,
    CaseExhausted,
    CaseOpened,
    ProposalMade,
    ReferralMoved,
    ReferralProposed,
    ReferralRequested,
)
from contracts.registry import parse_event
from infra.database import driver
from infra.eventstore.events import Recorded
from infra.eventstore.store import EventStore
from services.referrals import tables

REBUILD_BATCH = 1000
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tables:
    """What a batch of events changes."""

    cases: list[CaseOpened]
    case_changes: dict[UUID, Row]
    referrals: list[ReferralProposed]
    referral_changes: dict[UUID, Row]


async def apply(tx: AsyncConnection, events: Sequence[Event], now: datetime) -> None:
    """Bring cases and referrals up to date with new events of this service."""
    changed = Tables([], {}, [], {})
    for event in events:
        _APPLY.get(type(event), _moved if isinstance(event, ReferralMoved) else _nothing)(
            changed, event
        )
    await _write(tx, changed, now)


async def rebuild(tx: AsyncConnection) -> int:
    """Empty the read tables and fold the service's own events again; answers how many."""
    raw = await driver(tx)
    await raw.execute(tables.TRUNCATE)
    store, after, count = EventStore("referrals"), 0, 0
    while batch := await store.read(tx, after, REBUILD_BATCH):
        for event in batch:  # one at a time: each row bears the time of its own last event
            await apply(tx, [parse_event(event.type, event.data)], event.recorded_at)
        after, count = batch[-1].position, count + len(batch)
    return count


async def keep_services(tx: AsyncConnection, messages: Sequence[Recorded]) -> None:
    """The directory, as the partner service publishes it; the last word of a batch counts."""
    published = [m.data for m in messages if m.type == ServicePublished.type]
    latest = {orjson.loads(data)["service_id"]: data for data in published}
    if latest:
        raw = await driver(tx)
        await raw.execute(tables.UPSERT_SERVICES, list(latest.values()))


def _case_opened(changed: Tables, event: Any) -> None:
    changed.cases.append(event)


def _proposal(changed: Tables, event: Any) -> None:
    changed.case_changes.setdefault(event.case_id, {})["proposal_id"] = event.proposal_id


def _closed(changed: Tables, event: Any) -> None:
    changed.case_changes.setdefault(event.case_id, {})["status"] = event.status


def _exhausted(changed: Tables, event: Any) -> None:
    changed.case_changes.setdefault(event.case_id, {})["exhausted"] = event.reason


def _proposed(changed: Tables, event: Any) -> None:
    changed.referrals.append(event)


def _requested(changed: Tables, event: Any) -> None:
    row = changed.referral_changes.setdefault(event.referral_id, {})
    row |= {"status": "requested", "agreement_id": event.agreement_id}


def _moved(changed: Tables, event: Any) -> None:
    row = changed.referral_changes.setdefault(event.referral_id, {})
    given = {n: getattr(event, n) for n in ("status", "business_status", "reason", "outcome")}
    row |= {name: value for name, value in given.items() if value is not None}


def _appointment(changed: Tables, event: Any) -> None:
    row = changed.referral_changes.setdefault(event.referral_id, {})
    row["appointment_at"] = event.starts_at


def _nothing(changed: Tables, event: Any) -> None:
    return


_APPLY: dict[type[Event], Callable[[Tables, Any], None]] = {
    CaseOpened: _case_opened,
    ProposalMade: _proposal,
    CaseClosed: _closed,
    CaseExhausted: _exhausted,
    ReferralProposed: _proposed,
    ReferralRequested: _requested,
    AppointmentSet: _appointment,
}


_CASE = ("case_id", "person_id", "need_id", "thematique", "urgent", "do_not_contact")
_CASE_CHANGE = ("status", "proposal_id", "exhausted")
_REFERRAL = (
    "referral_id", "case_id", "person_id", "proposal_id", "partner_id", "partner_kind",
    "service_id", "attempt", "replaces",
)  # fmt: skip
_REFERRAL_CHANGE = (
    "status", "business_status", "reason", "outcome", "agreement_id", "appointment_at",
)  # fmt: skip


async def _write(tx: AsyncConnection, changed: Tables, now: datetime) -> None:
    raw = await driver(tx)
    if changed.cases:
        await raw.execute(tables.INSERT_CASES, *_columns(changed.cases, _CASE), now)
    if changed.case_changes:
        columns = _changes(changed.case_changes, _CASE_CHANGE)
        await raw.execute(tables.UPDATE_CASES, *columns)
    if changed.referrals:
        await raw.execute(tables.INSERT_REFERRALS, *_columns(changed.referrals, _REFERRAL), now)
    if changed.referral_changes:
        columns = _changes(changed.referral_changes, _REFERRAL_CHANGE)
        await raw.execute(tables.UPDATE_REFERRALS, *columns, now)


def _columns(events: Sequence[Event], names: Sequence[str]) -> list[list[Any]]:
    return [[getattr(event, name) for event in events] for name in names]


def _changes(rows: dict[UUID, Row], names: Sequence[str]) -> list[list[Any]]:
    return [list(rows), *([row.get(name) for row in rows.values()] for name in names)]
