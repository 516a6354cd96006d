"""The directory from a source that others keep: data·inclusion v1, as JSON or CSV.

Every row is checked by data·inclusion's own schema. What does not fit is refused with why
and holds nothing else up; what is the same makes no event; what its source does not list any
more is withdrawn, never deleted.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from data_inclusion.schema.v1 import Service as InclusionService
from data_inclusion.schema.v1 import Structure
from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Event
from contracts.nir import find_nir
from contracts.partners import (
    PartnerRegistered,
    PartnerRenamed,
    ServicePublished,
    ServiceWithdrawn,
)
from contracts.values import PartnerKind
from infra.database import Database, driver
from infra.eventstore.events import Meta
from infra.eventstore.writer import Writer
from services.partners.handlers.directory import SeedService, publish, published
from services.partners.tables import directory as tables

MOST_ROWS = 20_000
KINDS = {
    "france-travail": PartnerKind.FRANCE_TRAVAIL,
    "mission-locale": PartnerKind.MISSION_LOCALE,
    "plie": PartnerKind.PLIE,
    "cap-emploi": PartnerKind.CAP_EMPLOI,
    "e2c": PartnerKind.E2C,
    "bij": PartnerKind.INFORMATION_JEUNESSE,
    "pij": PartnerKind.INFORMATION_JEUNESSE,
}
"""What a network says of its members' kind (``reseaux_porteurs`` of data·inclusion)."""
LISTS = ("thematiques", "publics", "modes_accueil", "zone_eligibilite", "modes_mobilisation",
         "mobilisable_par", "reseaux_porteurs")  # fmt: skip
KEPT = ("policy", "delay_days", "channels", "commission", "deadlines", "minimum_age",
        "maximum_age")  # fmt: skip
"""What data·inclusion does not know of a service: an import leaves it as it is."""
Row = dict[str, Any]


class ImportRefusedError(Exception):
    """Nothing was imported: why, in words."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was not taken: which, which field, and why."""

    what: str
    row: int
    id: str
    field: str
    detail: str


@dataclass(slots=True)
class Report:
    """What an import found; ``changed``: new or different entries."""

    entries: int = 0
    changed: int = 0
    withdrawn: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Documents:
    """Structures and services of one source."""

    structures: Sequence[Row]
    services: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Choices:
    """``kind``: of structures whose network says none. ``dry_run``: report, store nothing.

    ``withdraw_many``: take a file that withdraws more than half of what its source listed.
    """

    kind: PartnerKind | None = None
    dry_run: bool = False
    withdraw_many: bool = False


def read_json(content: bytes) -> Documents:
    """``{"structures": […], "services": […]}``; raises ``ImportRefusedError``."""
    try:
        document = orjson.loads(content)
        return _bounded(document["structures"], document["services"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        message = "give an object with the lists `structures` and `services`"
        raise ImportRefusedError(message) from error


def read_csv(structures: str, services: str) -> Documents:
    """Two tables with data·inclusion's columns; lists as JSON or with ``|`` between."""
    return _bounded(_table(structures), _table(services))


def _bounded(structures: Any, services: Any) -> Documents:
    rows = [*structures, *services]
    if len(rows) > MOST_ROWS or not all(isinstance(row, dict) for row in rows):
        raise ImportRefusedError(f"give objects, {MOST_ROWS} at most")
    return Documents(structures, services)


def _table(text: str) -> list[Row]:
    lines = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    return [{k: _cell(k, v) for k, v in line.items() if k and v} for line in lines]


def _cell(name: str, value: str) -> Any:
    if name not in LISTS:
        return value
    if value.startswith("["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return [value]
    return [item.strip() for item in value.split("|") if item.strip()]


@dataclass(frozen=True)
class Importer:
    """Takes a whole source in, in one transaction."""

    database: Database
    writer: Writer

    async def run(self, documents: Documents, choices: Choices, meta: Meta) -> Report:
        """Publish what is new or different, withdraw what is gone, refuse what does not fit.

        Raises ``ImportRefusedError`` if the rows are of several sources, or if more than half
        of what the source listed would be withdrawn: a file that was cut off looks so.
        """
        source = _source(documents)
        report = Report()
        async with self.database.transaction() as tx:
            known = await _known(tx, source)
            entries = _Reading(known, choices.kind, report).entries(documents)
            gone = _gone(known, documents, choices)
            report.entries, report.withdrawn = len(entries), gone
            entries += [
                (f"service-{i}", _withdrawn(i, known.services[i]["partner_id"])) for i in gone
            ]
            done = await publish(tx, self.writer, entries, meta)
            report.changed = done.changed - len(gone)
            if choices.dry_run:
                await tx.rollback()
        return report


@dataclass(frozen=True, slots=True)
class _Known:
    partners: dict[str, Row]
    services: dict[str, Row]


async def _known(tx: AsyncConnection, source: str) -> _Known:
    raw = await driver(tx)
    partners = {row["partner_id"]: dict(row) for row in await raw.fetch(tables.KNOWN_PARTNERS)}
    services = await raw.fetch(tables.KNOWN_SERVICES, source)
    return _Known(partners, {row["service_id"]: dict(row) for row in services})


def _source(documents: Documents) -> str:
    rows = [*documents.structures, *documents.services]
    sources = {str(row.get("source")) for row in rows}
    if len(sources) != 1:
        raise ImportRefusedError("give the rows of one source at a time")
    return sources.pop()


def _gone(known: _Known, documents: Documents, choices: Choices) -> list[str]:
    """Services that the source does not list any more; one that is refused is still listed."""
    listed = {str(row.get("id")) for row in documents.services}
    gone = sorted(set(known.services) - listed)
    if 2 * len(gone) > len(known.services) and not choices.withdraw_many:
        raise ImportRefusedError(
            f"{len(gone)} of {len(known.services)} services would be withdrawn: "
            "is the file whole? If so, say that many may be"
        )
    return gone


def _withdrawn(service_id: str, partner_id: str) -> ServiceWithdrawn:
    return ServiceWithdrawn(service_id=service_id, partner_id=partner_id)


@dataclass(frozen=True)
class _Reading:
    """Rows to events; what does not fit goes into the report."""

    known: _Known
    kind: PartnerKind | None
    report: Report

    def entries(self, documents: Documents) -> list[tuple[str, Event]]:
        """(stream, event) of every row that fits."""
        kinds: dict[str, PartnerKind] = {}
        found: list[tuple[str, Event]] = []
        for number, row in enumerate(documents.structures, 1):
            found += self._structure(number, row, kinds)
        for number, row in enumerate(documents.services, 1):
            found += self._service(number, row, kinds)
        return found

    def _structure(
        self, number: int, row: Row, kinds: dict[str, PartnerKind]
    ) -> Iterable[tuple[str, Event]]:
        if not self._fits("structure", number, row, Structure):
            return []
        partner_id, known = row["id"], self.known.partners.get(row["id"])
        kind = PartnerKind(known["kind"]) if known else self._kind_of(row)
        if kind is None:
            detail = "no network says what kind of partner it is: give the kind"
            self._refuse("structure", number, row, "reseaux_porteurs", detail)
            return []
        kinds[partner_id] = kind
        registered = PartnerRegistered(
            partner_id=partner_id, kind=kind, name=row["nom"], structure=row
        )
        entries: list[tuple[str, Event]] = [(f"partner-{partner_id}", registered)]
        if known and known["name"] != row["nom"]:
            entries.append(renamed(partner_id, row["nom"], str(row["date_maj"])[:10]))
        return entries

    def _kind_of(self, row: Row) -> PartnerKind | None:
        networks = row.get("reseaux_porteurs") or []
        return next((KINDS[n] for n in networks if n in KINDS), self.kind)

    def _service(
        self, number: int, row: Row, kinds: dict[str, PartnerKind]
    ) -> Iterable[tuple[str, Event]]:
        if not self._fits("service", number, row, InclusionService):
            return []
        kind = kinds.get(row["structure_id"])
        if kind is None:
            detail = "its structure is not in the file, or was refused"
            self._refuse("service", number, row, "structure_id", detail)
            return []
        known = self.known.services.get(row["id"])
        before = orjson.loads(known["published"]) if known else {}
        kept = {name: before[name] for name in KEPT if before.get(name) is not None}
        entry = SeedService.model_validate({"service": row, **kept})
        return [(f"service-{row['id']}", published(kind, entry))]

    def _fits(self, what: str, number: int, row: Row, schema: type[BaseModel]) -> bool:
        if (name := find_nir(row)) is not None:
            self._refuse(what, number, row, name, "must not hold a NIR")
            return False
        try:
            schema.model_validate(row)
        except ValidationError as error:
            for found in error.errors():
                place = ".".join(map(str, found["loc"])) or "(row)"
                self._refuse(what, number, row, place, found["msg"])
            return False
        return True

    def _refuse(self, what: str, number: int, row: Row, name: str, detail: str) -> None:
        refused = Refused(what, number, str(row.get("id", "")), name, detail)
        self.report.refused.append(refused)


def renamed(partner_id: str, name: str, since: str) -> tuple[str, PartnerRenamed]:
    """(stream, event) of a name from a day on: one stream for each, so that it is said once."""
    event = PartnerRenamed.model_validate(
        {"partner_id": partner_id, "name": name, "since": since}
    )
    return f"partner-{partner_id}-name-{since}", event


def exported(partners: Iterable[Row], services: Iterable[Row]) -> Row:
    """The directory as data·inclusion again: what was imported, row for row."""
    return {
        "structures": [orjson.loads(row["structure"]) for row in partners],
        "services": [
            ServicePublished.model_validate_json(row["published"]).service for row in services
        ],
    }
