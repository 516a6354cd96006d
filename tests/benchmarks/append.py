"""Appending, beside the ``eventsourcing`` package and beside asyncpg with nothing around it."""

from typing import Any
from uuid import uuid4

import asyncpg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from sqlalchemy.engine import make_url

from infra.base.clock import system_clock
from infra.eventstore.events import NewEvent
from infra.eventstore.store import COPY_FROM, NO_STREAM, Append, EventStore
from infra.postgres.database import Database
from tests.benchmarks.measure import Bench, Run, bench, compare

SINGLE, BATCH, COPY = 1500, 100, 10_000
SEALED = b"x" * 300
BARE = """
CREATE TABLE bare (position bigserial PRIMARY KEY, id uuid, stream text, version int,
                   data json, sealed bytea, UNIQUE (stream, version))
"""
RAW = """
INSERT INTO bare (id, stream, version, data, sealed)
SELECT id, stream, version, data::json, sealed
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::bytea[])
  AS new (id, stream, version, data, sealed)
"""


def event() -> NewEvent:
    """About 600 bytes, as a real one."""
    return NewEvent("fr.bench.v1", '{"case_id": "x", "n": 1}', system_clock(), uuid4(), SEALED)


def ours(database: Database, size: int, rounds: int) -> Run:
    """``size`` events per transaction."""
    store = EventStore("intake")

    async def run() -> int:
        for _ in range(rounds):
            new = [event() for _ in range(size)]
            async with database.transaction() as tx:
                appends = [Append(f"s-{e.event_id}", [e], NO_STREAM) for e in new]
                await store.append(tx, appends, system_clock())
        return size * rounds

    return run


def package(recorder: Any, size: int, rounds: int) -> Run:
    """The ``eventsourcing`` package's PostgreSQL recorder, with its default (safe) path."""

    async def run() -> int:
        for _ in range(rounds):
            originator = uuid4()
            recorder.insert_events(
                [StoredEvent(originator, n, "fr.bench.v1", SEALED * 2) for n in range(size)]
            )
        return size * rounds

    return run


def raw(connection: Any, size: int, rounds: int) -> Run:
    """asyncpg and one INSERT of as many rows: no order, no versions."""

    async def run() -> int:
        for _ in range(rounds):
            columns = (
                [uuid4() for _ in range(size)],
                [f"s-{uuid4()}" for _ in range(size)],
                [1] * size,
                ['{"n": 1}'] * size,
                [SEALED] * size,
            )
            await connection.execute(RAW, *columns)
        return size * rounds

    return run


async def main() -> None:
    """append.single, append.batch, append.copy."""
    async with bench() as place:
        database = Database(place.url, "intake", pool_size=2)
        recorder = _recorder(place)
        bare = await asyncpg.connect(place.url)
        await bare.execute(BARE)
        for measure, size, rounds in (
            ("append.single", 1, SINGLE),
            ("append.batch", BATCH, 100),
            ("append.batch.500", 500, 40),
            ("append.copy", COPY, 3),
        ):
            assert size < COPY_FROM or measure == "append.copy"
            mine = ours(database, size, rounds)
            if size <= BATCH:
                theirs = package(recorder, size, rounds)
                await compare(measure, mine, "eventsourcing 9.5", theirs)
            await compare(measure, mine, "asyncpg unnest", raw(bare, size, rounds))
        await bare.close()
        await database.close()


def _recorder(place: Bench) -> Any:
    host = make_url(place.url).query["host"]
    store = PostgresDatastore("postgres", str(host), "5432", "postgres", "x")
    recorder = PostgresApplicationRecorder(store, events_table_name="bench_events")
    recorder.create_table()
    return recorder
