"""The directory from a source that others keep: data·inclusion v1, or HSDS mapped to it.

Every row is checked by data·inclusion's own schema. What does not fit is refused with why
and holds nothing else up; what is the same makes no event; what its source does not list any
more is withdrawn, never deleted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import orjson
from pydantic import ValidationError

from contracts.base import Event
from contracts.kinds import KINDS
from contracts.partners import PartnerRegistered, ServicePublished, ServiceWithdrawn
from contracts.values import PartnerKind
from infra.eventstore.events import EventMetadata
from infra.eventstore.store import ConcurrencyError
from infra.eventstore.writer import Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.partners.handlers.directory import (
    Entry,
    SeedService,
    publish,
    published,
    registered,
)
from services.partners.handlers.hsds_export import ListedService, to_hsds
from services.partners.handlers.rows import (
    Checked,
    Documents,
    ImportRefusedError,
    Refused,
    check,
    id_of,
)
from services.partners.tables import directory as tables

NETWORKS = {network: kind for kind, entry in KINDS.items() for network in entry.networks}
"""The kind of a network's members, by data·inclusion's name of the network."""
KEPT = (
    "policy",
    "delay_days",
    "channels",
    "commission",
    "deadlines",
    "minimum_age",
    "maximum_age",
)
"""What data·inclusion does not know of a service: an import leaves it as it is."""
TRIES = 3
AT_ONCE = 5000
"""Rows to a transaction: the service's other events wait while one is committed."""
Row = dict[str, Any]
T = TypeVar("T")
What = Literal["structure", "service"]


@dataclass(slots=True)
class Report:
    """Result of an import, in rows; a row may be refused for several reasons."""

    entries: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    withdrawn: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        documents: Documents,
        checked: Checked,
        gone: list[str],
        appended: Sequence[tuple[Event, bool]],
    ) -> "Report":
        """Count the rows; ``appended``: events, and whether each is the first of its stream."""
        firsts = [
            first
            for event, first in appended
            if isinstance(event, PartnerRegistered | ServicePublished)
        ]
        entries = len(documents.structures) + len(documents.services or ())
        out = len({(refused.what, refused.row) for refused in checked.refused})
        new, unchanged = sum(firsts), entries - out - len(firsts)
        return cls(
            entries=entries,
            new=new,
            changed=len(firsts) - new,
            unchanged=unchanged,
            withdrawn=gone,
            refused=checked.refused,
        )


@dataclass(frozen=True, slots=True)
class Choices:
    """``kind``: of structures whose network says none. ``dry_run``: report, store nothing.

    ``withdraw_many``: take a file that withdraws more than half of what its source listed.
    """

    kind: PartnerKind | None = None
    dry_run: bool = False
    withdraw_many: bool = False


@dataclass(frozen=True)
class Importer:
    """Takes a whole source in: one transaction for every ``AT_ONCE`` rows, withdrawals last."""

    database: Database
    writer: Writer

    async def run(self, documents: Documents, choices: Choices, meta: EventMetadata) -> Report:
        """Publish what is new or different, withdraw what is gone, refuse what does not fit.

        Raises ``ImportRefusedError``, before anything is stored, if the rows are of several
        sources, or if more than half of what the source listed would be withdrawn: a file that
        was cut off looks so; and ``ConcurrencyError`` if others keep changing the same entries.
        What was cut short goes on when it is run again: a row that is known makes no event.
        """
        source = _source(documents)
        # thousands of rows: elsewhere, so that other requests go on
        checked = await asyncio.to_thread(check, documents)
        async with self.database.reading() as connection:
            rows = await connection.fetch(tables.LISTED_SERVICES, source)
        listed: dict[str, str] = dict(map(tuple, rows))
        gone = _gone(listed.keys(), documents, choices)
        out = {r.id for r in checked.refused if r.what == "structure"}
        reading = _Reading(source, choices.kind, checked, documents.ages, out)
        appended: list[tuple[Event, bool]] = []
        for part in reading.parts(AT_ONCE):
            appended += await _retried(partial(self._once, reading, part, choices, meta))
        entries: list[Entry] = [
            (f"service-{i}", ServiceWithdrawn(service_id=i, partner_id=listed[i])) for i in gone
        ]

        async def withdraw(some: Sequence[Entry]) -> None:
            async with self.database.transaction() as tx:
                await publish(tx, self.writer, some, meta)

        for start in range(0, 0 if choices.dry_run else len(entries), AT_ONCE):
            await _retried(partial(withdraw, entries[start : start + AT_ONCE]))
        return Report.of(documents, checked, gone, appended)

    async def _once(
        self, reading: "_Reading", part: "Part", choices: Choices, meta: EventMetadata
    ) -> Sequence[tuple[Event, bool]]:
        async with self.database.transaction() as tx:
            known = await _Known.by(tx, part)
            entries, refused = await asyncio.to_thread(reading.entries, known, part)
            done = await publish(tx, self.writer, entries, meta)
            if choices.dry_run:
                await tx.rollback()
        reading.checked.refused.extend(refused)
        return done.appended


async def _retried(once: Callable[[], Awaitable[T]]) -> T:
    """Once more where a partner reported its capacity meanwhile, say."""
    for _ in range(TRIES - 1):
        try:
            return await once()
        except ConcurrencyError:
            continue
    return await once()


def _source(documents: Documents) -> str:
    rows = [*documents.structures, *(documents.services or ())]
    named = {row.get("source") for row in rows if isinstance(row, dict)}
    sources = {name for name in named if isinstance(name, str) and name}
    if len(sources) != 1:
        raise ImportRefusedError(
            "give the rows of one source at a time, each with its `source`"
        )
    return sources.pop()


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that go in together: structures, or services, each with its number."""

    what: What
    rows: Sequence[tuple[int, Row]]


class _KnownPartner(NamedTuple):
    kind: str
    source: str | None


class _KnownService(NamedTuple):
    source: str | None
    published: str


@dataclass(frozen=True, slots=True)
class _Known:
    """Entries of the directory that a part's rows name, by id."""

    partners: Mapping[str, _KnownPartner]
    services: Mapping[str, _KnownService]

    @classmethod
    async def by(cls, tx: Transaction, part: Part) -> "_Known":
        await tx.execute(tables.ONE_IMPORT)
        owner = "id" if part.what == "structure" else "structure_id"
        owners = sorted({item[owner] for _, item in part.rows})
        ids = sorted(item["id"] for _, item in part.rows) if part.what == "service" else []
        partners = await tx.fetch(tables.KNOWN_PARTNERS, owners)
        services = await tx.fetch(tables.KNOWN_SERVICES, ids)
        return cls(
            {name: _KnownPartner(*columns) for name, *columns in partners},
            {name: _KnownService(*columns) for name, *columns in services},
        )


def _gone(listed: Set[str], documents: Documents, choices: Choices) -> list[str]:
    """Services that the source does not list any more; one that is refused is still listed."""
    if documents.services is None:
        return []
    named = (row.get("id") for row in documents.services if isinstance(row, dict))
    gone = sorted(listed - {name for name in named if isinstance(name, str)})
    if 2 * len(gone) > len(listed) and not choices.withdraw_many:
        raise ImportRefusedError(
            f"{len(gone)} of {len(listed)} services would be withdrawn: "
            "is the file whole? If so, say that many may be"
        )
    return gone


class Wrong(NamedTuple):
    """Why a row is not taken: which field, in words of ours."""

    field: str
    detail: str


@dataclass(frozen=True)
class _Reading:
    """Rows that fit to events, part by part, where what is known allows it."""

    source: str
    kind: PartnerKind | None
    checked: Checked
    ages: Mapping[str, Row]
    out: set[str]
    """Structures that were refused."""
    kinds: dict[str, PartnerKind] = field(default_factory=dict)
    """Of the structures that were taken."""

    def parts(self, size: int) -> Iterator[Part]:
        """Structures first: what becomes of a service depends on its structure."""
        by_what: dict[What, list[tuple[int, Row]]] = {
            "structure": list(self.checked.structures.values()),
            "service": list(self.checked.services.values()),
        }
        for what, rows in by_what.items():
            for start in range(0, len(rows), size):
                yield Part(what, rows[start : start + size])

    def entries(self, known: _Known, part: Part) -> tuple[list[Entry], list[Refused]]:
        """(stream, event) of every row that may be told, and the rows that may not."""
        entries: list[Entry] = []
        refused: list[Refused] = []
        take = self._structure if part.what == "structure" else self._service
        for number, row in part.rows:
            made = take(known, row)
            if isinstance(made, Wrong):
                refused.append(Refused(part.what, number, id_of(row), *made))
            else:
                entries.append(made)
        return entries, refused

    def _structure(self, known: _Known, structure: Row) -> Entry | Wrong:
        name = structure["id"]
        if before := known.partners.get(name):
            if before.source != self.source:
                self.out.add(name)
                return Wrong("id", "another source keeps this structure")
            kind: PartnerKind | None = PartnerKind(before.kind)
        else:
            networks: Sequence[str] = structure.get("reseaux_porteurs", ())
            kind = next((NETWORKS[n] for n in networks if n in NETWORKS), self.kind)
        if kind is None:
            self.out.add(name)
            detail = "no network says what kind of partner it is: give the kind"
            return Wrong("reseaux_porteurs", detail)
        self.kinds[name] = kind
        return registered(kind, structure)

    def _service(self, known: _Known, service: Row) -> Entry | Wrong:
        name = service["id"]
        before = known.services.get(name)
        if before and before.source != self.source:
            return Wrong("id", "another source keeps this service")
        kind = self._kind_for(known, service["structure_id"])
        if kind is None:
            detail = "its structure is neither known nor in the file, or was refused"
            return Wrong("structure_id", detail)
        last = orjson.loads(before.published) if before else {}
        kept = {key: last[key] for key in KEPT if last.get(key) is not None}
        try:
            item = SeedService.model_validate(
                {"service": service, **kept, **self.ages.get(name, {})}
            )
        except ValidationError as error:
            return Wrong(str(error.errors()[0]["loc"][0]), "is not valid")
        return f"service-{name}", published(kind, item)

    def _kind_for(self, known: _Known, structure_id: str) -> PartnerKind | None:
        """Kind of a structure of the file, or of one that the same source gave before."""
        if structure_id in self.kinds:
            return self.kinds[structure_id]
        before = known.partners.get(structure_id)
        if before is None or before.source != self.source or structure_id in self.out:
            return None
        return PartnerKind(before.kind)


async def export(tx: Transaction, format: str, source: str | None, day: date) -> Row:
    """Return the directory as data·inclusion (as imported, row for row) or as HSDS."""
    structures = [text for (text,) in await tx.fetch(tables.EXPORTED_PARTNERS, source)]
    rows = await tx.fetch(tables.EXPORTED_SERVICES, source)
    services = [ListedService(*columns) for columns in rows]

    def exported() -> Row:
        documents = [orjson.loads(text) for text in structures]
        if format == "hsds":
            return to_hsds(documents, services, day)
        events = (ServicePublished.model_validate_json(row.published) for row in services)
        return {"structures": documents, "services": [event.service for event in events]}

    # thousands of rows: elsewhere, so that other requests go on
    return await asyncio.to_thread(exported)
