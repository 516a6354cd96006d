"""The directory from a source that others keep: data·inclusion v1, or HSDS mapped to it.

Every row is checked by data·inclusion's own schema. What does not fit is refused with why
and holds nothing else up; what is the same makes no event; what its source does not list any
more is withdrawn, never deleted.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import orjson
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.partners import PartnerRegistered, ServicePublished, ServiceWithdrawn
from contracts.values import PartnerKind
from infra.database import Database, driver
from infra.eventstore.events import Meta
from infra.eventstore.store import ConcurrencyError
from infra.eventstore.writer import Writer
from services.partners.handlers.directory import (
    Entry,
    Seeded,
    SeedService,
    publish,
    published,
    registered,
)
from services.partners.handlers.hsds_export import to_hsds
from services.partners.handlers.rows import (
    Checked,
    Documents,
    ImportRefusedError,
    Refused,
    check,
)
from services.partners.tables import directory as tables

KINDS = {
    "france-travail": PartnerKind.FRANCE_TRAVAIL,
    "mission-locale": PartnerKind.MISSION_LOCALE,
    "plie": PartnerKind.PLIE,
    "cap-emploi-reseau-cheops": PartnerKind.CAP_EMPLOI,
    "ecoles-de-la-deuxieme-chance": PartnerKind.E2C,
    "reseau-information-jeunesse": PartnerKind.INFORMATION_JEUNESSE,
    "espaces-publics-numeriques": PartnerKind.DIGITAL_SPACE,
    "conseillers-numeriques": PartnerKind.DIGITAL_SPACE,
    "afpa": PartnerKind.TRAINING_BODY,
    "reseau-app": PartnerKind.TRAINING_BODY,
}
"""What a network says of its members' kind; the keys are data·inclusion's own values."""
KEPT = ("policy", "delay_days", "channels", "commission", "deadlines", "minimum_age",
        "maximum_age")  # fmt: skip
"""What data·inclusion does not know of a service: an import leaves it as it is."""
TRIES = 3
Row = dict[str, Any]


@dataclass(slots=True)
class Report:
    """What an import found, in rows; a row may be refused for several reasons."""

    entries: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    withdrawn: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


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
    """Takes a whole source in, in one transaction."""

    database: Database
    writer: Writer

    async def run(self, documents: Documents, choices: Choices, meta: Meta) -> Report:
        """Publish what is new or different, withdraw what is gone, refuse what does not fit.

        Raises ``ImportRefusedError`` if the rows are of several sources, or if more than half
        of what the source listed would be withdrawn: a file that was cut off looks so; and
        ``ConcurrencyError`` if others keep changing the same entries.
        """
        source = _source(documents)
        for _ in range(TRIES - 1):
            try:
                return await self._once(documents, source, choices, meta)
            except ConcurrencyError:
                continue  # a partner reported its capacity meanwhile, say: look again
        return await self._once(documents, source, choices, meta)

    async def _once(
        self, documents: Documents, source: str, choices: Choices, meta: Meta
    ) -> Report:
        # thousands of rows: elsewhere, so that other requests go on
        checked = await asyncio.to_thread(check, documents)
        async with self.database.transaction() as tx:
            known = await _known(tx, source, documents, checked)
            gone = _gone(known, documents, choices)
            entries = _Reading(source, known, choices.kind, checked, documents.ages).entries()
            entries += [_withdrawn(service_id, known) for service_id in gone]
            done = await publish(tx, self.writer, entries, meta)
            if choices.dry_run:
                await tx.rollback()
        return _report(documents, checked, gone, done)


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
class _Known:
    partners: Mapping[str, Row]
    services: Mapping[str, Row]
    listed: frozenset[str]
    """Services that the source listed until now."""


async def _known(
    tx: AsyncConnection, source: str, documents: Documents, checked: Checked
) -> _Known:
    raw = await driver(tx)
    await raw.execute(tables.ONE_IMPORT)
    wanted = {*checked.structures, *(r["structure_id"] for _, r in checked.services.values())}
    partners = await raw.fetch(tables.KNOWN_PARTNERS, sorted(wanted))
    services = await raw.fetch(tables.KNOWN_SERVICES, source, sorted(checked.services))
    return _Known(
        {row["partner_id"]: row for row in partners},
        {row["service_id"]: row for row in services},
        frozenset(
            row["service_id"]
            for row in services
            if row["source"] == source and not row["withdrawn"]
        ),
    )


def _gone(known: _Known, documents: Documents, choices: Choices) -> list[str]:
    """Services that the source does not list any more; one that is refused is still listed."""
    if documents.services is None:
        return []
    named = (row.get("id") for row in documents.services if isinstance(row, dict))
    gone = sorted(known.listed - {name for name in named if isinstance(name, str)})
    if 2 * len(gone) > len(known.listed) and not choices.withdraw_many:
        raise ImportRefusedError(
            f"{len(gone)} of {len(known.listed)} services would be withdrawn: "
            "is the file whole? If so, say that many may be"
        )
    return gone


def _withdrawn(service_id: str, known: _Known) -> Entry:
    partner_id = known.services[service_id]["partner_id"]
    event = ServiceWithdrawn(service_id=service_id, partner_id=partner_id)
    return f"service-{service_id}", event


def _report(documents: Documents, checked: Checked, gone: list[str], done: Seeded) -> Report:
    rows = [
        first
        for event, first in done.told
        if isinstance(event, PartnerRegistered | ServicePublished)
    ]
    entries = len(documents.structures) + len(documents.services or ())
    out = len({(refused.what, refused.row) for refused in checked.refused})
    new, unchanged = sum(rows), entries - out - len(rows)
    return Report(entries, new, len(rows) - new, unchanged, gone, checked.refused)


@dataclass(frozen=True)
class _Reading:
    """Rows that fit to events, where what is known allows it."""

    source: str
    known: _Known
    kind: PartnerKind | None
    checked: Checked
    ages: Mapping[str, Row]
    kinds: dict[str, PartnerKind] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)

    def entries(self) -> list[Entry]:
        """(stream, event) of every row that may be told."""
        found: list[Entry] = []
        for number, row in self.checked.structures.values():
            found += self._structure(number, row)
        self.out.update(r.id for r in self.checked.refused if r.what == "structure")
        for number, row in self.checked.services.values():
            found += self._service(number, row)
        return found

    def _structure(self, number: int, row: Row) -> Iterable[Entry]:
        known = self.known.partners.get(row["id"])
        kind = PartnerKind(known["kind"]) if known else self._kind_of(row)
        if known and known["source"] != self.source:
            detail = "another source keeps this structure"
            self.checked.refuse("structure", number, row, "id", detail)
        elif kind is None:
            detail = "no network says what kind of partner it is: give the kind"
            self.checked.refuse("structure", number, row, "reseaux_porteurs", detail)
        else:
            self.kinds[row["id"]] = kind
            yield registered(kind, row)

    def _kind_of(self, row: Row) -> PartnerKind | None:
        networks: Sequence[str] = row.get("reseaux_porteurs", ())
        return next((KINDS[n] for n in networks if n in KINDS), self.kind)

    def _service(self, number: int, row: Row) -> Iterable[Entry]:
        before = self.known.services.get(row["id"])
        if before and before["source"] != self.source:
            detail = "another source keeps this service"
            self.checked.refuse("service", number, row, "id", detail)
            return
        kind = self._kind_for(row["structure_id"])
        if kind is None:
            detail = "its structure is neither known nor in the file, or was refused"
            self.checked.refuse("service", number, row, "structure_id", detail)
            return
        told = orjson.loads(before["published"]) if before else {}
        kept = {name: told[name] for name in KEPT if told.get(name) is not None}
        try:
            item = SeedService.model_validate(
                {"service": row, **kept, **self.ages.get(row["id"], {})}
            )
        except ValidationError as error:
            place = str(error.errors()[0]["loc"][0])
            self.checked.refuse("service", number, row, place, "is not valid")
            return
        yield f"service-{row['id']}", published(kind, item)

    def _kind_for(self, structure_id: str) -> PartnerKind | None:
        """The kind of a structure of the file, or of one that the same source gave before."""
        if structure_id in self.kinds:
            return self.kinds[structure_id]
        known = self.known.partners.get(structure_id)
        if known is None or known["source"] != self.source or structure_id in self.out:
            return None
        return PartnerKind(known["kind"])


async def export(tx: AsyncConnection, format: str, source: str | None, day: date) -> Row:
    """The directory as data·inclusion (what was imported, row for row) or as HSDS."""
    raw = await driver(tx)
    partners = await raw.fetch(tables.EXPORTED_PARTNERS, source)
    services = await raw.fetch(tables.EXPORTED_SERVICES, source)
    return await asyncio.to_thread(_exported, format, partners, services, day)


def _exported(format: str, partners: list[Any], services: list[Any], day: date) -> Row:
    if format == "hsds":
        return to_hsds(partners, services, day)
    told = (ServicePublished.model_validate_json(row["published"]) for row in services)
    return {
        "structures": [orjson.loads(row["structure"]) for row in partners],
        "services": [event.service for event in told],
    }
