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
from contracts.registry import parse_event
from infra.database import driver
from infra.eventstore.events import Recorded
from infra.eventstore.store import EventStore
from infra.readtables import ReadTables
from services.partners import tables
from services.partners.model import StateChange, fold_states
from services.partners.tables import directory

REBUILD_BATCH = 1000


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
            said.reported_at,
        )  # fmt: skip


async def rebuild(tx: AsyncConnection) -> int:
    """Empty the directory and fold the service's own events again; answers how many.

    States of referrals come from the referral service: rewind the subscription ``deliveries``.
    It makes no delivery twice.
    """
    raw = await driver(tx)
    await raw.execute(tables.TRUNCATE_DIRECTORY)
    store, after, count = EventStore("partners"), 0, 0
    while batch := await store.read(tx, after, REBUILD_BATCH):
        await keep_directory(tx, [parse_event(e.type, e.data) for e in batch])
        after, count = batch[-1].position, count + len(batch)
    return count


READ_TABLES = ReadTables("partners", tables.REBUILT, rebuild)


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
        (i, c.status, c.version, c.settles, c.answer_id, c.commission_on)
        for i, c in changes.items()
    ]
    await raw.execute(tables.UPDATE_STATES, *map(list, zip(*moved, strict=True)))


def _new_state(change: StateChange) -> tuple[object, ...]:
    origin = change.origin
    assert origin is not None
    return (
        origin.referral_id, origin.partner_id, origin.service_id, origin.case_id,
        origin.person_id, change.status, change.version,
    )  # fmt: skip


def _service(event: ServicePublished) -> tuple[object, ...]:
    return (
        event.service_id, event.partner_id, event.kind, event.name, event.policy,
        event.commission, event.clear_json().decode(),
    )  # fmt: skip


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
