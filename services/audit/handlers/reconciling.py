"""Compare the log with what every service wrote: each event once, the same, none besides.

Nothing is trusted to say of itself that it is whole: events are looked up in the log, entries
among the events, versions are counted, and the tree is grown again from its leaves.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from contracts.registry import SERVICES
from infra.base.clock import Clock
from infra.eventstore.events import header_bytes
from infra.postgres.database import Database
from infra.postgres.transaction import Record, Transaction, columns
from infra.readmodels.reconciliation import Report, announce
from infra.tlog.commitment import Opening
from infra.tlog.growth import grow
from infra.tlog.merkle import Frontier, leaf_hash
from services.audit.tables import reconciliation as sql
from services.audit.tables import tree
from services.audit.tables.reconciliation import Logged, Row

LOCK_CLASS = 4715
PAGE = 2000
STATEMENT_SECONDS = 1800
PATIENCE = timedelta(hours=1)
"""How long an event may be on its way by a topic while later ones have arrived by others."""


@dataclass(frozen=True, slots=True)
class Applied:
    """How far the log has read a service: to ``high`` by some way, to ``low`` by all."""

    low: int
    high: int
    patience_until: datetime

    def on_its_way(self, position: int, recorded_at: datetime) -> bool:
        """Say whether an event that is not in the log may still come."""
        if position > self.high:
            return True
        return position > self.low and recorded_at > self.patience_until


class Reconciler:
    """Streams through events and entries as of one moment; memory does not grow with them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run(self) -> list[Report]:
        """One report for each service's events, one for the log; empty if another is at it."""
        async with self._database.snapshot() as tx:
            await tx.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
            if not await tx.fetchval("SELECT pg_try_advisory_xact_lock($1, 0)", LOCK_CLASS):
                return []
            reports = [await self._events(tx, service) for service in SERVICES]
            return [*reports, await _log(tx)]

    async def night(self) -> None:
        """Compare, and say what was found."""
        announce(await self.run())

    async def _events(self, tx: Transaction, service: str) -> Report:
        report = Report(f"{service}.events")
        positions = [at for (at,) in await tx.fetch(sql.APPLIED, f"log-{service}")] or [0]
        applied = Applied(min(positions), max(positions), self._clock() - PATIENCE)
        async for page in _pages(tx, sql.EVENTS.format(service)):
            events = [Row(*record) for record in page]
            rows = await tx.fetch(sql.IN_LOG, [event.event_id for event in events])
            logged = {row.event_id: row for row in (Logged(*record) for record in rows)}
            for event in events:
                _check_event(report, service, event, logged.get(event.event_id))
            absent = [event for event in events if event.event_id not in logged]
            await _check_absent(report, tx, service, absent, applied)
        await _check_versions(report, tx, service)
        return report


def _check_event(report: Report, service: str, event: Row, logged: Logged | None) -> None:
    report.compared += 1
    _check_own(report, service, event, logged.header if logged else None)
    if logged is None:
        return
    if (logged.service, logged.position) != (service, event.position):
        known = f"the log has it from {logged.service} at {logged.position}"
        report.add("duplicate", str(event), f"stands at {event.position}, {known}")
    elif logged.entry != event.entry:
        report.add("changed", str(event), "its entry is not the one in the log")


async def _check_absent(
    report: Report, tx: Transaction, service: str, events: Sequence[Row], applied: Applied
) -> None:
    """Events that are not in the log: on their way, parked, or gone missing."""
    due = [e for e in events if not applied.on_its_way(e.position, e.recorded_at)]
    report.in_flight += len(events) - len(due)
    if not due:
        return
    positions = [event.position for event in due]
    rows = await tx.fetch(sql.PARKED, f"log-{service}", positions)
    parked = {position for (position,) in rows}
    for event in due:
        why = "parked: aiguillage status" if event.position in parked else "never read"
        report.add("missing", str(event), f"not in the log ({why})")


async def _check_versions(report: Report, tx: Transaction, service: str) -> None:
    """Versions of each stream: 1, 2, 3 … each once."""
    current, last = None, 0
    async for rows in _pages(tx, sql.VERSIONS.format(service)):
        for stream, version in rows:
            if stream != current:
                current, last = stream, 0
            if version == last:
                report.add("duplicate", stream, f"version {last} is there twice")
            elif version != last + 1:
                report.add("hole", stream, f"version {version} follows {last}")
            last = version


async def _log(tx: Transaction) -> Report:
    """The log's entries and its tree."""
    report, frontier, nodes, following = Report("audit.entries"), Frontier(), 0, 0
    async for page in _pages(tx, sql.ENTRIES):
        entries = [Row(*record) for record in page]
        leaves = [leaf_hash(entry.entry) for entry in entries]
        for entry, leaf in zip(entries, leaves, strict=True):
            report.compared += 1
            _check_own(report, entry.service, entry, entry.header)
            if entry.idx != following:
                report.add("hole", f"entry {following}", f"entry {entry.idx} follows")
            if entry.leaf_hash != leaf:
                detail = "its leaf hash is not that of its bytes"
                report.add("changed", f"entry {entry.idx}", detail)
            following = entry.idx + 1
        for service in {entry.service for entry in entries}:
            own = [entry for entry in entries if entry.service == service]
            await _check_origin(report, tx, service, own)
        frontier, made = grow(frontier, leaves)
        await _check_nodes(report, tx, {(t.level, t.idx): t.hash for t in made})
        nodes += len(made)
    await _check_tree(report, tx, frontier, nodes)
    return report


async def _check_origin(
    report: Report, tx: Transaction, service: str, entries: Sequence[Row]
) -> None:
    """Entries whose event is not, or no longer, among those of the service."""
    known = set()
    if service in SERVICES:
        ids = [entry.event_id for entry in entries]
        known = {known for (known,) in await tx.fetch(sql.IN_EVENTS.format(service), ids)}
    for entry in entries:
        if entry.event_id not in known:
            detail = f"{service} has no such event: it was deleted there, or added here"
            report.add("extra", str(entry), detail)


async def _check_nodes(
    report: Report, tx: Transaction, made: Mapping[tuple[int, int], bytes]
) -> None:
    if not made:
        return
    rows = await tx.fetch(sql.NODES, *columns(made))
    stored = {(level, idx): value for level, idx, value in rows}
    for (level, idx), value in made.items():
        if stored.get((level, idx)) != value:
            report.add("changed", f"tile hash {idx} of level {level}", "not that of its leaves")


async def _check_tree(report: Report, tx: Transaction, grown: Frontier, nodes: int) -> None:
    stored = await tree.load_frontier(tx)
    if stored != grown:
        report.add("changed", "tree", f"{stored.size} entries, not those that are there")
    if (count := await tx.fetchval(sql.COUNT_NODES)) != nodes:
        report.add("extra", "tile hashes", f"{count} are stored, {nodes} belong to the tree")
    async for rows in _pages(tx, sql.STREAMS):
        for service, stream, known, logged in rows:
            detail = f"version {known} is kept, {logged} is logged"
            report.add("changed", f"{service} {stream}", detail)


def _check_own(report: Report, service: str, row: Row, header: bytes | None) -> None:
    """Compare a row with what its own entry commits to; ``header``: the one in the log."""
    fields = row.fields(service)
    salts = row.salt + (row.sealed_salt or b"")
    own = header_bytes(fields)
    try:
        entry = orjson.loads(row.entry)
        wrong = Opening(salts, own, row.data.encode(), row.sealed or b"").differs(entry)
        report.erased += row.sealed is None and entry["sealed"] is not None
    except (KeyError, TypeError, ValueError):
        wrong = "entry"
    if wrong is None and row.header not in (None, own):
        wrong = "header"
    if wrong == "header":
        wrong = _other_fields(fields, header)
    if wrong:
        report.add("changed", str(row), f"not what its entry vouches for: {wrong}")


def _other_fields(fields: Mapping[str, Any], header: bytes | None) -> str:
    """Name the fields of a row that are others than in the header that the log has of it."""
    try:
        logged = orjson.loads(header or b"{}")
        return ", ".join(name for name in fields if fields[name] != logged[name]) or "header"
    except (KeyError, TypeError, ValueError):
        return "header"


async def _pages(tx: Transaction, query: str) -> AsyncIterator[list[Record]]:
    cursor = await tx.cursor(query)
    while page := await cursor.fetch(PAGE):
        yield page
