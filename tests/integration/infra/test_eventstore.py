"""The event store on a real PostgreSQL: order, versions, every way in."""

import asyncio
from uuid import uuid4

import pytest
from asyncpg import InsufficientPrivilegeError

from infra.base.clock import system_clock
from infra.eventstore.events import NewEvent, StoredEvent
from infra.eventstore.store import COPY_FROM, NO_STREAM, Append, ConcurrencyError, EventStore
from infra.eventstore.upcast import forget_upcaster, register_upcaster
from infra.postgres.database import Database
from tests.support.postgres import Databases

WRITERS = 8
EVENTS = 20_000
ROUNDS = 250


def event(n: int = 0, event_type: str = "fr.test.v1") -> NewEvent:
    return NewEvent(event_type, f'{{"n": {n}}}', system_clock(), uuid4())


@pytest.fixture
async def database(databases: Databases):
    database = databases.of("intake")
    yield database
    await database.close()


async def append(database: Database, *appends: Append) -> list[StoredEvent]:
    async with database.transaction() as tx:
        return await EventStore("intake").append(tx, appends, system_clock())


async def test_stored_event_is_read_back_byte_for_byte(database: Database):
    new = NewEvent("fr.test.v1", '{"b":1,  "a":"é"}', system_clock(), uuid4(), b"\x01sealed")
    (stored,) = await append(database, Append("s-1", [new]))
    async with database.reading() as tx:
        (read,) = await EventStore("intake").load(tx, "s-1")
        entry = await tx.fetchval("SELECT entry FROM events")
    assert read == stored
    assert read.data == new.data
    assert entry == read.entry()


async def test_second_writer_with_the_same_expected_version_is_refused(database: Database):
    await append(database, Append("s-1", [event()], NO_STREAM))
    with pytest.raises(ConcurrencyError):
        await append(database, Append("s-1", [event()], NO_STREAM))
    async with database.reading() as tx:
        assert len(await EventStore("intake").load(tx, "s-1")) == 1


async def test_versions_follow_each_other_whatever_the_writer_expected(database: Database):
    await append(database, Append("s-1", [event(), event()]), Append("s-2", [event()]))
    await append(database, Append("s-1", [event()], 2), Append("s-2", [event()]))
    async with database.reading() as tx:
        found = await EventStore("intake").load_many(tx, ["s-1", "s-2", "none"])
    assert {k: [e.version for e in v] for k, v in found.items()} == {
        "s-1": [1, 2, 3],
        "s-2": [1, 2],
    }


@pytest.mark.parametrize("count", [1, 7, COPY_FROM + 3])
async def test_every_way_in_gives_positions_in_the_order_given(database: Database, count: int):
    await append(database, Append("before", [event()]))
    given = [event(n) for n in range(count)]
    stored = await append(database, *[Append(f"s-{e.event_id}", [e], NO_STREAM) for e in given])
    async with database.reading() as tx:
        read = await EventStore("intake").read(tx, 1, count + 1)
    assert [e.event_id for e in read] == [e.event_id for e in given]
    assert [e.position for e in read] == [e.position for e in stored]


@pytest.mark.parametrize("size", [1, 20, COPY_FROM])
async def test_tailing_reader_misses_nothing_while_eight_writers_append(
    databases: Databases, size: int
):
    database = databases.of("intake")
    stop = asyncio.Event()
    seen: list[int] = []
    rounds = max(1, min(ROUNDS, EVENTS // WRITERS // size))

    async def write() -> None:
        for _ in range(rounds):
            new = [event() for _ in range(size)]
            await append(database, *[Append(f"s-{e.event_id}", [e], NO_STREAM) for e in new])

    async def tail() -> None:
        done = False
        while not done:
            done = stop.is_set()
            async with database.reading() as tx:
                after = seen[-1] if seen else 0
                seen.extend(e.position for e in await EventStore("intake").read(tx, after, 500))
            done = done and seen[-1:] == [await head(database)]

    reader = asyncio.create_task(tail())
    await asyncio.gather(*[write() for _ in range(WRITERS)])
    stop.set()
    await reader
    async with database.reading() as tx:
        stored = [r["position"] for r in await tx.fetch("SELECT position FROM events")]
    await database.close()
    assert len(stored) == rounds * size * WRITERS
    assert seen == sorted(stored)


async def head(database: Database) -> int:
    async with database.reading() as tx:
        return await EventStore("intake").head(tx)


async def test_old_events_are_read_in_todays_words_and_stay_as_stored(database: Database):
    await append(database, Append("s-1", [event(5, "fr.test.old.v1")]))
    register_upcaster("fr.test.old.v1", "fr.test.new.v2", lambda d: {"number": d["n"]})
    try:
        async with database.reading() as tx:
            (read,) = await EventStore("intake").load(tx, "s-1")
            stored = await tx.fetchval("SELECT data::text FROM events")
    finally:
        forget_upcaster("fr.test.old.v1")
    assert (read.type, read.data) == ("fr.test.new.v2", '{"number":5}')
    assert stored == '{"n": 5}'


@pytest.mark.parametrize("statement", ["UPDATE events SET type = 'x'", "DELETE FROM events"])
async def test_service_role_can_neither_change_nor_delete_events(
    database: Database, statement: str
):
    await append(database, Append("s-1", [event()]))
    with pytest.raises(InsufficientPrivilegeError, match="permission denied"):
        async with database.transaction() as tx:
            await tx.execute(statement)


async def test_service_reads_but_cannot_write_the_events_of_another(databases: Databases):
    database = databases.of("referrals")
    async with database.reading() as tx:
        assert await EventStore("intake").read(tx, 0, 10) == []
    with pytest.raises(Exception, match="permission denied"):
        async with database.transaction() as tx:
            await EventStore("intake").append(tx, [Append("s", [event()])], system_clock())
    await database.close()


async def test_statement_on_the_driver_belongs_to_the_transaction(database: Database):
    async def undone() -> None:
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO subscriptions (subscription) VALUES ('x')")
            raise RuntimeError("undone")

    with pytest.raises(RuntimeError, match="undone"):
        await undone()
    async with database.reading() as tx:
        assert await tx.fetchval("SELECT count(*) FROM subscriptions") == 0
