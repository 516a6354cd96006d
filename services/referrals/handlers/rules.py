"""Rules from a file: checked, put into force, tried on the cases of the past."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from uuid import UUID

from contracts.explanation import Condition, Explanation
from contracts.referrals import ProposalMade
from contracts.registry import parse_event
from infra.base.clock import Clock
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.eventstore.sealed import unseal
from infra.eventstore.store import EventStore
from infra.eventstore.writer import Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.referrals import projections
from services.referrals.handlers.rulebook import STREAM, publication, published
from services.referrals.model.proposals import reevaluate
from services.referrals.model.routing import NOT_ELIGIBLE, Ranked
from services.referrals.model.rulecheck import Finding, findings
from services.referrals.model.rules import Rules
from services.referrals.tables import statements

BATCH = 100
"""Events read at once: proposals are among the largest."""
MOST_MOVED = 10_000
"""Cases of a simulation that are kept one by one; all are counted."""


class RefusedRulesError(Exception):
    """The rules are not published: what is wrong with them."""

    def __init__(self, against: list[Finding]) -> None:
        super().__init__(f"{len(against)} findings")
        self.findings = against


def read(path: Path, version: int = 0) -> Rules:
    """Read a rule set from a file, named after it.

    Raises ``OSError``, ``InvalidRulesError``.
    """
    return Rules.parse(path.read_bytes(), path.stem, version)


async def in_force(tx: Transaction, built_in: Path) -> Rules:
    """Return the rules in force; those of the project where none were published."""
    row = await published(tx)
    return row.parse() if row else read(built_in, 1)


async def publish(
    tx: Transaction, writer: Writer, clock: Clock, path: Path, actor: str
) -> Rules:
    """Put rules into force; running services use them from their next batch on.

    The same rules again are no new version. Raises ``RefusedRulesError`` unless the check
    passes, and what ``read`` does; then nothing is written.
    """
    if against := findings(read(path)):
        raise RefusedRulesError(against)
    streams = await writer.store.load_many(tx, [STREAM])
    version = len(streams.get(STREAM, ()))
    rules = read(path, version + 1)
    current = await in_force(tx, path)
    if version and current.digest == rules.digest:
        return current
    pending = publication(rules, version, EventMetadata(actor))
    now = clock()
    await projections.apply(tx, pending.events, now)
    await writer.write(tx, [pending], recorded_at=now)
    return rules


@dataclass(frozen=True, slots=True)
class Moved:
    """A case that would have had another first service: from, to, and what tipped it."""

    case_id: UUID
    before: str | None
    after: str | None
    because: tuple[str, ...]


@dataclass
class Simulation:
    """Past cases under candidate rules: how many there are, and which would have moved.

    ``partial``: ranked among the services that their proposals describe, of more there were.
    ``moved``: the first of those that would have moved; ``flows`` counts them all.
    """

    total: int = 0
    seen: int = 0
    erased: int = 0
    partial: int = 0
    moved: list[Moved] = field(default_factory=list)
    flows: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)


async def simulate(
    database: Database, writer: Writer, rules: Rules, since: date | None, limit: int
) -> AsyncIterator[Simulation]:
    """Rank past cases again under other rules, a batch at a time.

    The facts are those of the stored explanations, opened in memory only. A proposal counts
    as it was made: what changed since, in the directory or about the person, is left out; and
    of a large directory, the services that it does not describe.
    """
    simulation, after = Simulation(), 0
    store = EventStore("referrals")

    def rank_again(stored: Sequence[StoredEvent], opened: Mapping[UUID, bytes]) -> None:
        for event in stored:
            made = parse_event(event.type, event.data, opened.get(event.event_id))
            assert isinstance(made, ProposalMade)
            if since is None or made.evaluated_on >= since:
                _simulate(simulation, made, rules)

    async with database.reading() as connection:
        simulation.total = await connection.fetchval(statements.COUNT_PROPOSALS, since)
        while simulation.seen < limit:
            batch = await store.read(connection, after, BATCH)
            if not batch:
                break
            after = batch[-1].position
            stored = [e for e in batch if e.type == ProposalMade.type]
            opened = await unseal(writer.vault, stored)
            await asyncio.to_thread(rank_again, stored, opened)
            yield simulation
    yield simulation


def _simulate(simulation: Simulation, made: ProposalMade, rules: Rules) -> None:
    simulation.seen += 1
    if made.sealed is None:
        simulation.erased += 1
        return
    if not made.sealed.candidates:
        return
    simulation.partial += bool(made.sealed.left_out)
    ranked = reevaluate(made.sealed, made.thematique, rules)
    suits = ranked and ranked[0].verdict != NOT_ELIGIBLE
    before = made.ranked[0] if made.ranked else None
    after = ranked[0].service.service_id if suits else None
    if before != after:
        if len(simulation.moved) < MOST_MOVED:
            because = _because(made.sealed, ranked, before, after)
            simulation.moved.append(Moved(made.case_id, before, after, because))
        simulation.flows[before, after] += 1


def _because(
    then: Explanation, now: Sequence[Ranked], before: str | None, after: str | None
) -> tuple[str, ...]:
    """Return the conditions of both that came out otherwise; if none, the weights did it."""
    old = {c.service_id: _results(c.conditions) for c in then.candidates}
    new = {r.service.service_id: _results(r.conditions) for r in now}
    changed = {
        f"{service}: {code} {result}"
        for service in (before, after)
        if service
        for code, result in new.get(service, set()) - old.get(service, set())
    }
    return tuple(sorted(changed)) or ("ranking",)


def _results(conditions: Iterable[Condition]) -> set[tuple[str, str]]:
    return {(condition.code, condition.result) for condition in conditions}
