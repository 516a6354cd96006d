"""Putting events into the log, beside storing the same rows with no order and no tree."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from infra.eventstore.events import StoredEvent
from infra.tlog import merkle
from services.audit.handlers.sequencing import sequence
from services.audit.tables import statements
from services.audit.tables.tree import Leaf
from tests.benchmarks.hub_log import EVENTS_OF_A_CASE, HubLog, hub_log
from tests.benchmarks.measure import ROUNDS, Run, bench, compare

CASES = 1500
EVENTS = CASES * EVENTS_OF_A_CASE
BATCH = 500
TABLE = "CREATE TABLE bench (LIKE audit.entries INCLUDING INDEXES)"
PLAIN = statements.ADD_ENTRIES.replace("INTO entries", "INTO bench")


def sequencing(hub: HubLog) -> Run:
    """The next events, from their service's table into the log, batch by batch."""
    after = 0

    async def run() -> int:
        nonlocal after
        for _ in range(0, EVENTS, BATCH):
            events = await hub.stored(after, BATCH)
            async with hub.database.transaction() as tx:
                await sequence(events, tx)
            after = events[-1].position
        return EVENTS

    return run


def storing(connection: Any, events: Sequence[StoredEvent]) -> Run:
    """As many rows of the same bytes, in as many transactions."""

    async def run() -> int:
        for start in range(0, len(events), BATCH):
            rows = [_row(event) for event in events[start : start + BATCH]]
            await connection.execute(PLAIN, *map(list, zip(*rows, strict=True)))
        await connection.execute("TRUNCATE bench")
        return len(events)

    return run


def _row(event: StoredEvent) -> tuple[Any, ...]:
    entry = event.entry()
    return Leaf(event, entry, merkle.leaf_hash(entry)).row(event.position)


async def main() -> None:
    """sequence."""
    async with bench() as place, hub_log(place) as hub:
        bare = await asyncpg.connect(place.url)
        await bare.execute(TABLE)
        await hub.happen(CASES * ROUNDS)
        peer = storing(bare, await hub.stored(0, EVENTS))
        await compare("sequence", sequencing(hub), "INSERT of the same rows", peer)
        await bare.close()
