"""Every event enters the log once, in a dense order, whatever happens on the way."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from asyncpg import InsufficientPrivilegeError

from infra.eventstore.events import NewEvent, StoredEvent
from infra.eventstore.upcast import forget_upcaster, register_upcaster
from infra.tlog import merkle
from infra.tlog.merkle import Frontier
from services.audit.app import build
from services.audit.handlers.sequencing import StreamBrokenError, sequence
from tests.support.audit_log import START, Hub, drain, plain
from tests.support.postgres import Databases

ENTRIES = "SELECT idx, event_id, service, position, stream, version FROM entries ORDER BY idx"


async def tree(hub: Hub) -> Frontier:
    (row,) = await hub.rows("SELECT size, frontier FROM tree")
    frontier = Frontier.load(row["frontier"])
    assert frontier.size == row["size"]
    return frontier


async def fill(hub: Hub, service: str, streams: int, each: int) -> list[StoredEvent]:
    stored = []
    for n in range(streams):
        stored += await hub.append(service, f"{service}-{n}", plain(each, uuid4()))
    return stored


async def assert_log_holds(hub: Hub, events: list[StoredEvent]) -> None:
    rows = await hub.rows(ENTRIES)
    assert [row["idx"] for row in rows] == list(range(len(events)))
    assert {row["event_id"] for row in rows} == {event.event_id for event in events}
    for service in {event.service for event in events}:
        positions = [row["position"] for row in rows if row["service"] == service]
        assert positions == sorted(positions)
    leaves = await hub.leaf_hashes()
    assert (await tree(hub)).root() == merkle.root_of(leaves)


async def test_events_of_all_services_enter_the_log_once_in_a_dense_order(hub: Hub) -> None:
    events = [*await fill(hub, "intake", 6, 50), *await fill(hub, "referrals", 7, 60)]
    events += await fill(hub, "audit", 1, 3)
    await hub.read_all()
    await assert_log_holds(hub, events)
    full = await hub.rows("SELECT level, idx, hash FROM nodes")
    leaves = await hub.leaf_hashes()
    expected = [(1, n, merkle.root_of(leaves[n * 256 : (n + 1) * 256])) for n in range(2)]
    assert sorted((r["level"], r["idx"], r["hash"]) for r in full) == expected


async def test_an_entry_is_the_stored_one_byte_for_byte(hub: Hub) -> None:
    given = NewEvent("fr.test.v1", '{"b":1,  "a":"é"}', START, uuid4(), b"\x01sealed")
    await hub.append("intake", "s-1", [given])
    await hub.read_all()
    (logged,) = await hub.rows("SELECT entry, data::text, sealed, person_id FROM entries")
    (stored,) = await hub.rows("SELECT entry, data::text, sealed, person_id FROM intake.events")
    assert tuple(logged) == tuple(stored)


async def test_an_old_event_enters_the_log_in_its_own_words(hub: Hub) -> None:
    await hub.append("intake", "s-1", [NewEvent("fr.test.old.v1", '{"n": 5}', START)])
    register_upcaster("fr.test.old.v1", "fr.test.new.v2", lambda d: {"number": d["n"]})
    try:
        await hub.read_all()
    finally:
        forget_upcaster("fr.test.old.v1")
    (row,) = await hub.rows(
        "SELECT e.type, e.data::text, e.entry = s.entry FROM entries e "
        "JOIN intake.events s USING (event_id)"
    )
    assert tuple(row) == ("fr.test.old.v1", '{"n": 5}', True)


async def test_reading_everything_again_adds_nothing(hub: Hub) -> None:
    events = await fill(hub, "intake", 3, 100)
    await hub.read_all()
    before = (await tree(hub)).dump()
    for sequencer in hub.sequencers:
        await sequencer.rewind()
    await hub.read_all()
    assert (await tree(hub)).dump() == before
    events += await fill(hub, "referrals", 1, 5)
    await hub.read_all()
    await assert_log_holds(hub, events)


async def test_one_event_given_twice_in_a_batch_enters_once(hub: Hub) -> None:
    (event,) = await hub.append("intake", "s-1", plain(1))
    async with hub.service.database.transaction() as tx:
        await sequence([event, event], tx)
    await assert_log_holds(hub, [event])


async def test_processes_that_share_the_work_keep_the_log_dense(
    hub: Hub, databases: Databases
) -> None:
    other = build(hub.platform)
    events = [*await fill(hub, "intake", 10, 80), *await fill(hub, "referrals", 10, 80)]
    both = [*hub.sequencers, *(w for w in other.workers if hasattr(w, "source"))]
    await asyncio.gather(*(drain(sequencer) for sequencer in both))  # type: ignore[arg-type]
    await other.stop()
    await assert_log_holds(hub, events)


async def test_batches_sequenced_at_the_same_time_keep_the_log_dense(hub: Hub) -> None:
    batches = [await hub.append("intake", f"s-{n}", plain(70)) for n in range(12)]

    async def put(batch: list[StoredEvent]) -> None:
        async with hub.service.database.transaction() as tx:
            await sequence(batch, tx)

    await asyncio.gather(*(put(batch) for batch in [*batches, *batches[:4]]))
    rows = await hub.rows(ENTRIES)
    assert [row["idx"] for row in rows] == list(range(12 * 70))
    assert (await tree(hub)).root() == merkle.root_of(await hub.leaf_hashes())


@pytest.mark.parametrize("version", [1, 2, 4, 9])
async def test_an_event_that_does_not_follow_its_stream_is_an_alarm(
    hub: Hub, version: int
) -> None:
    stored = await hub.append("intake", "s-1", plain(2))
    foreign = replace(stored[1], event_id=uuid4(), version=version)
    with pytest.raises(StreamBrokenError, match=f"s-1: version {version} after 2"):
        async with hub.service.database.transaction() as tx:
            await sequence([*stored, foreign], tx)
    assert await hub.rows(ENTRIES) == []


async def test_a_stream_with_a_hole_is_parked_and_the_others_go_on(hub: Hub) -> None:
    person = uuid4()
    broken = await hub.append("intake", "s-broken", plain(3, person))
    others = await fill(hub, "intake", 3, 5)
    await hub.tamper("DELETE FROM intake.events WHERE event_id = $1", broken[1].event_id)
    await hub.read_all()
    await assert_log_holds(hub, [broken[0], *others])
    parked = await hub.rows("SELECT key, error FROM dead_letters")
    assert [row["key"] for row in parked] == [str(person)]
    assert "s-broken: version 3 after 1" in parked[0]["error"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET type = 'x'",
        "DELETE FROM entries",
        "TRUNCATE entries",
        "UPDATE nodes SET idx = 5",
        "DELETE FROM checkpoints",
        "UPDATE checkpoints SET size = 0",
    ],
)
async def test_the_service_can_neither_change_nor_delete_what_is_logged(
    hub: Hub, statement: str
) -> None:
    with pytest.raises(InsufficientPrivilegeError, match="permission denied"):
        async with hub.service.database.transaction() as tx:
            await tx.execute(statement)
