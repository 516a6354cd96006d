"""What one more entry costs as the log grows: 10 thousand, 1 million, 10 million entries.

The logs are made in SQL, with short entries: what an append meets as the log grows is the
number of rows in each index and of hashes in the frontier, not the bytes of older rows. About
5 GB of disk, given back in the end.
"""

from dataclasses import dataclass
from statistics import median

import asyncpg

from infra.eventstore.events import StoredEvent
from infra.postgres.database import Database, vault_url
from infra.postgres.migrations import migrate
from infra.postgres.transaction import Transaction
from infra.tlog.merkle import Frontier
from services.audit.handlers.sequencing import sequence
from tests.benchmarks.hub_log import EVENTS_OF_A_CASE, hub_log
from tests.benchmarks.measure import Bench, bench, rate, report

SIZES = (10_000, 1_000_000, 10_000_000)
BATCH, BATCHES, ROUNDS = 500, 6, 5
APPENDED = BATCH * BATCHES

ENTRIES = """
INSERT INTO audit.entries
SELECT n, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'old', n + 1,
  'case-' || n / 4, n % 4 + 1, 'fr.bench.v1', gen_random_uuid(), now(), now(), 'hub', '{}',
  '{}', NULL, sha256(int8send(n)), NULL, '{}', int8send(n), sha256(int8send(n))
FROM generate_series(0::bigint, $1 - 1) AS n
"""
STREAMS = """
INSERT INTO audit.streams
SELECT 'old', 'case-' || n, 4 FROM generate_series(0::bigint, ($1 - 1) / 4) AS n
"""
NODES = """
INSERT INTO audit.nodes
SELECT level, n, sha256(int8send(n)) FROM generate_series(1, 3) AS level,
  LATERAL generate_series(0::bigint, ($1::bigint >> 8 * level) - 1) AS n
"""
TREE = "UPDATE audit.tree SET size = $1, frontier = $2"
PERSONS = (
    "CREATE INDEX entries_person ON audit.entries (person_id, idx) WHERE person_id IS NOT NULL"
)


@dataclass
class Grown:
    """A log of some size, and the audit service's connection to it."""

    size: int
    database: Database
    costs: list[float]


async def grown(place: Bench, size: int) -> Grown:
    """A database whose log has so many entries."""
    url = place.server.url(f"log_{size}")
    await migrate(url, vault_url(url))
    raw = await asyncpg.connect(url, command_timeout=1800)
    try:
        await raw.execute("DROP INDEX audit.entries_person")  # faster to make than to fill
        for statement in (ENTRIES, STREAMS, NODES):
            await raw.execute(statement, size)
        await raw.execute(PERSONS)
        frontier = Frontier(size, [bytes(32)] * size.bit_count())
        await raw.execute(TREE, size, frontier.dump())
        await _settle(raw)
    finally:
        await raw.close()
    return Grown(size, Database(url, "audit", pool_size=1), [])


async def _settle(tx: Transaction) -> None:
    """Statistics and written pages: what follows pays for itself alone."""
    await tx.execute("VACUUM ANALYZE audit.entries")
    await tx.execute("VACUUM ANALYZE audit.streams")
    await tx.execute("CHECKPOINT")


async def main() -> None:
    """append_cost.10000, append_cost.1000000, append_cost.10000000."""
    async with bench() as place, hub_log(place) as hub:
        rounds = ROUNDS + 1  # the first warms up
        await hub.happen(APPENDED * rounds // EVENTS_OF_A_CASE)
        logs = [await grown(place, size) for size in SIZES]
        for number in range(rounds):
            events = await hub.stored(number * APPENDED, APPENDED)
            for log in logs:  # in turn: what else the machine does falls on all of them
                cost = 1e6 / await rate(lambda: _append(log, events))  # noqa: B023
                log.costs += [cost] if number else []
        await _report(logs)


async def _append(log: Grown, events: list[StoredEvent]) -> int:
    for start in range(0, len(events), BATCH):
        async with log.database.transaction() as tx:
            await sequence(events[start : start + BATCH], tx)
    return len(events)


async def _report(logs: list[Grown]) -> None:
    first = median(logs[0].costs)
    for log in logs:
        measure, cost = f"append_cost.{log.size}", median(log.costs)
        report(measure, cost, f"a log of {logs[0].size}", first, ROUNDS, unit="µs/entry")
        await log.database.close()
