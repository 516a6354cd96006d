"""The read tables: the directory, and what is known of each referral's state.

``referral_states`` is kept by the handler that makes a referral's delivery, in the same
transaction. So it is never behind what a partner can know of: whoever answers a referral was
sent it, and its row was committed with what was sent.
"""

from collections.abc import Sequence

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Event
from contracts.partners import (
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
from infra.database import driver
from infra.eventstore.events import Recorded
from infra.limits import keep_limits
from infra.readtables import ReadTables
from infra.rebuilding import fold
from services.partners import tables
from services.partners.model import StateChange, fold_states
from services.partners.tables import directory

HEARD = {
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


def heard(messages: Sequence[Recorded]) -> list[tuple[Recorded, Event]]:
    """What of the referral service's events concerns partners."""
    return [(m, parse_event(m.type, m.data)) for m in messages if m.type in HEARD]


async def keep_directory(tx: AsyncConnection, events: Sequence[Event]) -> None:
    """Partners and services as last published."""
    raw = await driver(tx)
    partners = {e.partner_id: e for e in events if isinstance(e, PartnerRegistered)}
    services = {e.service_id: e for e in events if isinstance(e, ServicePublished)}
    if partners:
        rows = [(p.partner_id, p.kind, p.name, _json(p.structure)) for p in partners.values()]
        await raw.execute(tables.UPSERT_PARTNERS, *map(list, zip(*rows, strict=True)))
    if services:
        columns = map(list, zip(*(_service(s) for s in services.values()), strict=True))
        await raw.execute(tables.UPSERT_SERVICES, *columns)
    last = {
        e.service_id: e for e in events if isinstance(e, ServicePublished | ServiceWithdrawn)
    }
    gone = [i for i, event in last.items() if isinstance(event, ServiceWithdrawn)]
    if gone:
        await raw.execute(directory.WITHDRAW_SERVICES, gone)
    names = {(e.partner_id, e.since): e.name for e in events if isinstance(e, PartnerRenamed)}
    if names:
        named = [(partner, since, name) for (partner, since), name in names.items()]
        await raw.execute(directory.KEEP_NAMES, *map(list, zip(*named, strict=True)))
    for said in (event for event in events if isinstance(event, CapacityReported)):
        await raw.execute(
            tables.KEEP_CAPACITY, said.service_id, said.status, said.seats, said.until,
            said.reported_at, said.sessions,
        )  # fmt: skip


async def _fill(tx: AsyncConnection) -> int:
    await fold(tx, "referrals", _keep_heard_states, "deliveries")
    await fold(tx, "intake", keep_limits, "rights")
    await (await driver(tx)).execute(tables.DROP_FORGOTTEN_STATES)
    return await fold(tx, "partners", _keep_said)


async def _keep_said(tx: AsyncConnection, events: Sequence[Recorded]) -> None:
    await keep_directory(tx, [parse_event(e.type, e.data) for e in events])


async def _keep_heard_states(tx: AsyncConnection, messages: Sequence[Recorded]) -> None:
    await keep_states(tx, heard(messages))


READ_TABLES = ReadTables(
    "partners",
    ("partners", "partner_names", "services", "referral_states", "limits"),
    _fill,
    unsaid={
        "referral_states": (
            "asked_status",
            "asked_answer_id",
            "commission_on",
            "partner_reference",
        )
    },
)


async def keep_states(tx: AsyncConnection, events: Sequence[tuple[Recorded, Event]]) -> None:
    """Bring ``referral_states`` up to date with a batch of the referral service's events."""
    changes = fold_states([(recorded.version, event) for recorded, event in events])
    if not changes:
        return
    raw = await driver(tx)
    new = [change for change in changes.values() if change.origin]
    if new:
        columns = map(list, zip(*(_new_state(change) for change in new), strict=True))
        await raw.execute(tables.INSERT_STATES, *columns)
    moved = [
        (
            i,
            c.status,
            c.version,
            c.settles,
            c.answer_id,
            c.commission_on,
            c.appointed,
            c.appointment_at,
        )
        for i, c in changes.items()
    ]
    await raw.execute(tables.UPDATE_STATES, *map(list, zip(*moved, strict=True)))


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
