"""Compare the log with what every service wrote: each event once, the same, none besides.

Nothing is trusted to say of itself that it is whole: events are looked up in the log, entries
among the events, versions are counted, and the tree is grown again from its leaves.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from contracts.registry import SERVICES
from infra.base.clock import Clock
from infra.eventstore.events import header_bytes, header_of
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.readmodels.reconciliation import Report, announce
from infra.tlog.commitment import Opening
from infra.tlog.growth import grow
from infra.tlog.merkle import Frontier, leaf_hash
from services.audit.tables import tree

LOCK_CLASS = 4715
PAGE = 2000
STATEMENT_SECONDS = 1800
PATIENCE = timedelta(hours=1)
"""How long an event may be on its way by a topic while later ones have arrived by others."""

_COLUMNS = (
    "position, event_id, stream, version, type, person_id, occurred_at, recorded_at, "
    "data::text AS data, sealed, salt, sealed_salt, entry"
)
APPLIED = "SELECT position FROM offsets WHERE subscription = $1"
EVENTS = f"SELECT {_COLUMNS}, meta->>'actor' AS actor FROM {{}}.events ORDER BY position"
VERSIONS = "SELECT stream, version FROM {}.events ORDER BY stream, version"
ENTRIES = f"SELECT {_COLUMNS}, header, actor, service, idx, leaf_hash FROM entries ORDER BY idx"
IN_LOG = (
    "SELECT event_id, service, position, header, entry FROM entries WHERE event_id = ANY($1)"
)
IN_EVENTS = "SELECT event_id FROM {}.events WHERE event_id = ANY($1)"
PARKED = "SELECT position FROM dead_letters WHERE subscription = $1 AND position = ANY($2)"
NODES = (
    "SELECT n.level, n.idx, n.hash FROM nodes n "
    "JOIN unnest($1::int[], $2::bigint[]) AS w (level, idx) USING (level, idx)"
)
COUNT_NODES = "SELECT count(*) FROM nodes"
STREAMS = """
SELECT service, stream, s.version AS known, e.version AS logged
FROM streams s FULL JOIN (
  SELECT service, stream, max(version) AS version FROM entries GROUP BY service, stream
) e USING (service, stream)
WHERE s.version IS DISTINCT FROM e.version ORDER BY service, stream
"""


@dataclass(frozen=True, slots=True)
class Applied:
    """How far the log has read a service: to ``high`` by some way, to ``low`` by all."""

    low: int
    high: int
    patience_until: datetime

    def on_its_way(self, event: Any) -> bool:
        """Whether an event that is not in the log may still come."""
        if event["position"] > self.high:
            return True
        late: bool = event["recorded_at"] <= self.patience_until
        return event["position"] > self.low and not late


class Reconciler:
    """Streams through events and entries as of one moment; memory does not grow with them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run(self) -> list[Report]:
        """One report for each service's events, one for the log; empty if another is at it."""
        async with self._moment() as tx:
            if not await tx.fetchval("SELECT pg_try_advisory_xact_lock($1, 0)", LOCK_CLASS):
                return []
            reports = [await self._events(tx, service) for service in SERVICES]
            return [*reports, await _log(tx)]

    async def night(self) -> None:
        """Compare, and say what was found."""
        announce(await self.run())

    @asynccontextmanager
    async def _moment(self) -> AsyncIterator[Transaction]:
        async with self._database.snapshot() as tx:
            await tx.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
            yield tx

    async def _events(self, tx: Transaction, service: str) -> Report:
        report = Report(f"{service}.events")
        rows = await tx.fetch(APPLIED, f"log-{service}")
        positions = [row["position"] for row in rows] or [0]
        applied = Applied(min(positions), max(positions), self._clock() - PATIENCE)
        async for events in _pages(tx, EVENTS.format(service)):
            found = await tx.fetch(IN_LOG, [event["event_id"] for event in events])
            logged = {row["event_id"]: row for row in found}
            for event in events:
                _check_event(report, service, event, logged.get(event["event_id"]))
            await _check_absent(
                report,
                tx,
                service,
                [e for e in events if e["event_id"] not in logged],
                applied,
            )
        await _check_versions(report, tx, service)
        return report


def _check_event(report: Report, service: str, event: Any, logged: Any | None) -> None:
    report.compared += 1
    _check_own(report, service, event, logged and logged["header"])
    if logged is None:
        return
    if (logged["service"], logged["position"]) != (service, event["position"]):
        known = f"the log has it from {logged['service']} at {logged['position']}"
        report.add("duplicate", _named(event), f"stands at {event['position']}, {known}")
    elif logged["entry"] != event["entry"]:
        report.add("changed", _named(event), "its entry is not the one in the log")


async def _check_absent(
    report: Report, tx: Transaction, service: str, events: Sequence[Any], applied: Applied
) -> None:
    """Events that are not in the log: on their way, parked, or gone missing."""
    due = [event for event in events if not applied.on_its_way(event)]
    report.in_flight += len(events) - len(due)
    if not due:
        return
    positions = [event["position"] for event in due]
    rows = await tx.fetch(PARKED, f"log-{service}", positions)
    parked = {row["position"] for row in rows}
    for event in due:
        why = "parked: aiguillage status" if event["position"] in parked else "never read"
        report.add("missing", _named(event), f"not in the log ({why})")


async def _check_versions(report: Report, tx: Transaction, service: str) -> None:
    """Versions of each stream: 1, 2, 3 … each once."""
    stream, last = None, 0
    async for rows in _pages(tx, VERSIONS.format(service)):
        for row in rows:
            if row["stream"] != stream:
                stream, last = row["stream"], 0
            if row["version"] == last:
                report.add("duplicate", f"{stream}", f"version {last} is there twice")
            elif row["version"] != last + 1:
                report.add("hole", f"{stream}", f"version {row['version']} follows {last}")
            last = row["version"]


async def _log(tx: Transaction) -> Report:
    """The log's entries and its tree."""
    report, frontier, nodes, following = Report("audit.entries"), Frontier(), 0, 0
    async for entries in _pages(tx, ENTRIES):
        leaves = [leaf_hash(entry["entry"]) for entry in entries]
        for entry, leaf in zip(entries, leaves, strict=True):
            _check_entry(report, entry, leaf, following)
            following = entry["idx"] + 1
        for service in {entry["service"] for entry in entries}:
            await _check_origin(report, tx, service, entries)
        frontier, made = grow(frontier, leaves)
        await _check_nodes(report, tx, {(t.level, t.idx): t.hash for t in made})
        nodes += len(made)
    await _check_tree(report, tx, frontier, nodes)
    return report


def _check_entry(report: Report, entry: Any, leaf: bytes, following: int) -> None:
    report.compared += 1
    _check_own(report, entry["service"], entry, entry["header"])
    if entry["idx"] != following:
        report.add("hole", f"entry {following}", f"entry {entry['idx']} follows")
    if entry["leaf_hash"] != leaf:
        report.add("changed", f"entry {entry['idx']}", "its leaf hash is not that of its bytes")


async def _check_origin(
    report: Report, tx: Transaction, service: str, entries: Sequence[Any]
) -> None:
    """Entries whose event is not, or no longer, among those of the service."""
    own = [entry for entry in entries if entry["service"] == service]
    known = set()
    if service in SERVICES:
        ids = [entry["event_id"] for entry in own]
        known = {row["event_id"] for row in await tx.fetch(IN_EVENTS.format(service), ids)}
    for entry in own:
        if entry["event_id"] not in known:
            detail = f"{service} has no such event: it was deleted there, or added here"
            report.add("extra", _named(entry), detail)


async def _check_nodes(
    report: Report, tx: Transaction, made: Mapping[tuple[int, int], bytes]
) -> None:
    if not made:
        return
    rows = await tx.fetch(NODES, [level for level, _ in made], [idx for _, idx in made])
    stored = {(row["level"], row["idx"]): row["hash"] for row in rows}
    for (level, idx), value in made.items():
        if stored.get((level, idx)) != value:
            report.add("changed", f"tile hash {idx} of level {level}", "not that of its leaves")


async def _check_tree(report: Report, tx: Transaction, grown: Frontier, nodes: int) -> None:
    stored = await tree.load_frontier(tx)
    if stored != grown:
        report.add("changed", "tree", f"{stored.size} entries, not those that are there")
    if (count := await tx.fetchval(COUNT_NODES)) != nodes:
        report.add("extra", "tile hashes", f"{count} are stored, {nodes} belong to the tree")
    async for rows in _pages(tx, STREAMS):
        for row in rows:
            name = f"{row['service']} {row['stream']}"
            detail = f"version {row['known']} is kept, {row['logged']} is logged"
            report.add("changed", name, detail)


def _check_own(report: Report, service: str, row: Any, header: bytes | None) -> None:
    """Whether a row says what its own entry commits to; ``header``: the one in the log."""
    said = header_of(service, row)
    salts = row["salt"] + (row["sealed_salt"] or b"")
    parts = header_bytes(said), row["data"].encode(), row["sealed"] or b""
    try:
        entry = orjson.loads(row["entry"])
        wrong = Opening(salts, *parts).differs(entry)
        report.erased += row["sealed"] is None and entry["sealed"] is not None
    except (KeyError, TypeError, ValueError):
        wrong = "entry"
    if wrong is None and row.get("header", parts[0]) != parts[0]:
        wrong = "header"
    if wrong == "header":
        wrong = _fields(said, header)
    if wrong:
        report.add("changed", _named(row), f"not what its entry vouches for: {wrong}")


def _fields(said: Mapping[str, Any], header: bytes | None) -> str:
    """Which fields a row says otherwise than the header that the log has of it."""
    try:
        logged = orjson.loads(header or b"{}")
        return ", ".join(name for name in said if said[name] != logged[name]) or "header"
    except (KeyError, TypeError, ValueError):
        return "header"


def _named(row: Any) -> str:
    return f"{row['event_id']} ({row['stream']} version {row['version']})"


async def _pages(tx: Transaction, query: str) -> AsyncIterator[list[Any]]:
    cursor = await tx.cursor(query)
    while page := await cursor.fetch(PAGE):
        yield page
