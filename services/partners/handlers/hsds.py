"""Open Referral HSDS 3.x to data·inclusion rows: the other standard of directories.

Taken: the API's shape (services with their organisation, locations and attributes inside), as
a page (``contents``), a list or ``services``, and the same as separate lists that point to
each other by id. What has an id of data·inclusion keeps it; any other becomes
``source--id``. The way back is ``hsds_export``, where the table of both vocabularies is too.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from data_inclusion.schema.v1 import Thematique

from services.partners.handlers.hsds_export import (
    OPENING_HOURS,
    ORGANIZATION,
    PLACE,
    SCHEME,
    SERVICE,
    SIRET,
    TAXONOMY,
)
from services.partners.handlers.rows import LISTS, Documents, ImportRefusedError

UNKNOWN_DAY = "2000-01-01"
"""The first day that data·inclusion allows, where HSDS does not say when something changed."""
_THEMES = {theme.value for theme in Thematique}
_TIME = re.compile(r"^(\d\d:\d\d)")
Row = dict[str, Any]


def read_hsds(content: bytes, source: str | None = None) -> Documents:
    """Rows of data·inclusion; ``source``: of what names none itself.

    A service that is not ``active`` is not listed: it is withdrawn if it was known. Raises
    ``ImportRefusedError``.
    """
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ImportRefusedError("this is not JSON in UTF-8") from error
    tables = _Tables.of(document)
    if not tables.services and not tables.organizations:
        raise ImportRefusedError("give HSDS services: a list, `services`, or a page of the API")
    return _Mapping(tables, source or "").documents()


@dataclass(frozen=True)
class _Tables:
    """Every object, wherever it stood."""

    services: list[Row]
    organizations: dict[str, Row] = field(default_factory=dict)
    locations: dict[str, Row] = field(default_factory=dict)
    places: dict[str, list[Row]] = field(default_factory=dict)
    attributes: dict[str, list[Row]] = field(default_factory=dict)
    terms: dict[str, Row] = field(default_factory=dict)

    @staticmethod
    def of(document: Any) -> "_Tables":
        if isinstance(document, list):
            document = {"services": document}
        if not isinstance(document, dict):
            return _Tables([])
        services = _rows(document, "services") or _rows(document, "contents")
        nested = [
            s["organization"] for s in services if isinstance(s.get("organization"), dict)
        ]
        return _Tables(
            services,
            _by_id([*nested, *_rows(document, "organizations")]),
            _by_id(_rows(document, "locations")),
            _grouped(_rows(document, "service_at_locations"), "service_id"),
            _grouped(_rows(document, "attributes"), "link_id"),
            _by_id(_rows(document, "taxonomy_terms")),
        )


@dataclass(frozen=True)
class _Mapping:
    tables: _Tables
    source: str

    def documents(self) -> Documents:
        active = [s for s in self.tables.services if s.get("status", "active") == "active"]
        changed: dict[str, str] = {}
        for service in self.tables.services:
            owner, day = _owner(service), _day(service)
            changed[owner] = max(changed.get(owner, UNKNOWN_DAY), day)
        organizations = self.tables.organizations.items()
        structures = [self._structure(o, changed.get(i, UNKNOWN_DAY)) for i, o in organizations]
        services = [self._service(service) for service in active]
        pairs = zip(services, active, strict=True)
        ages = {str(row.get("id")): _ages(service) for row, service in pairs}
        return Documents(structures, services if self.tables.services else None, ages)

    def _structure(self, organization: Row, changed: str) -> Row:
        row = _renamed(organization, ORGANIZATION) | {
            "id": self._structure_id(organization),
            "siret": _identifier(organization, SIRET),
            "date_maj": changed,
            "telephone": _first(organization, "phones", "number"),
            "horaires_accueil": _opening(organization),
        }
        places = _rows(organization, "locations")
        if places:
            row |= _place(places[0])
            row["horaires_accueil"] = row["horaires_accueil"] or _opening(places[0])
        return self._with_attributes(row, organization, "structure")

    def _service(self, service: Row) -> Row:
        row = _renamed(service, SERVICE) | {
            "id": self._id(service),
            "structure_id": self._structure_id(
                self.tables.organizations.get(_owner(service), {})
            ),
            "date_maj": _day(service),
            "telephone": _first(service, "phones", "number"),
            "contact_nom_prenom": _first(service, "contacts", "name"),
            "horaires_accueil": _opening(service),
            "zone_eligibilite": [_area(area) for area in _rows(service, "service_areas")],
        }
        at = _rows(service, "service_at_locations") or self.tables.places.get(_id(service), [])
        for place in at[:1]:
            location = place.get("location")
            found = location or self.tables.locations.get(str(place.get("location_id")))
            row |= _place(found) if isinstance(found, dict) else {}
        return self._with_attributes(row, service, "service")

    def _structure_id(self, organization: Row) -> Any:
        return _identifier(organization, SCHEME) or self._id(organization)

    def _id(self, thing: Row) -> str:
        return f"{self.source}--{_id(thing)}" if _id(thing) else ""

    def _with_attributes(self, row: Row, thing: Row, what: str) -> Row:
        """What HSDS has no field for: terms of our vocabulary, and themes in any other."""
        row = {"source": self.source} | row
        inside = _rows(thing, "attributes")
        for attribute in inside or self.tables.attributes.get(_id(thing), []):
            term = attribute.get("taxonomy_term")
            if not isinstance(term, dict):
                term = self.tables.terms.get(str(attribute.get("taxonomy_term_id")), {})
            _apply(row, term, attribute.get("value"), what)
        return {name: value for name, value in row.items() if value not in (None, "", [])}


def _apply(row: Row, term: Row, value: Any, what: str) -> None:
    taxonomy, code = str(term.get("taxonomy")), str(term.get("code"))
    vocabulary, _, name = taxonomy.partition("/")
    if vocabulary != TAXONOMY:
        name = "thematiques" if code in _THEMES and what == "service" else ""
    if vocabulary == TAXONOMY and not name:
        row[code] = value
    elif name in LISTS:
        before = row.get(name)
        row[name] = [*before, code] if isinstance(before, list) else [code]
    elif name:
        row[name] = code


def _identifier(organization: Row, scheme: str) -> Any:
    identifiers = _rows(organization, "organization_identifiers")
    found = (i.get("identifier") for i in identifiers if i.get("identifier_scheme") == scheme)
    return next(found, None)


def _renamed(thing: Row, names: dict[str, str]) -> Row:
    return {ours: thing.get(theirs) for theirs, ours in names.items()}


def _place(location: Row) -> Row:
    addresses = _rows(location, "addresses")
    row = _renamed(addresses[0], PLACE) if addresses else {}
    row |= {name: location.get(name) for name in ("longitude", "latitude")}
    if location.get("external_identifier_type") == "INSEE":
        row["code_insee"] = location.get("external_identifier")
    if link := _first(location, "accessibility", "url"):
        row["accessibilite_lieu"] = link
    return row


def _area(area: Row) -> Any:
    """A code; or the name, to be refused: an unknown place must not come to mean anywhere."""
    return area.get("extent") if area.get("extent_type") == "text" else area.get("name") or "?"


def _opening(thing: Row) -> str | None:
    schedules = _rows(thing, "schedules")
    ours = [s.get("description") for s in schedules if s.get("notes") == OPENING_HOURS]
    if ours:
        return None if ours[0] is None else str(ours[0])
    return "; ".join(_weekly(schedules)) or None


def _weekly(schedules: Iterable[Row]) -> Iterator[str]:
    """``byday`` with opening and closing time, as OpenStreetMap writes it."""
    for schedule in schedules:
        times = [_TIME.match(str(schedule.get(name))) for name in ("opens_at", "closes_at")]
        days = re.findall(r"\b(MO|TU|WE|TH|FR|SA|SU)\b", str(schedule.get("byday")))
        if days and times[0] and times[1] and schedule.get("freq", "WEEKLY") == "WEEKLY":
            yield f"{','.join(d.title() for d in days)} {times[0][1]}-{times[1][1]}"


def _ages(service: Row) -> Row:
    ages = {name: service.get(name) for name in ("minimum_age", "maximum_age")}
    return {name: _whole(age) for name, age in ages.items() if age is not None}


def _whole(age: Any) -> Any:
    whole = isinstance(age, float) and math.isfinite(age) and age == int(age)
    return int(age) if whole else age


def _day(thing: Row) -> str:
    return str(thing.get("last_modified") or thing.get("assured_date") or UNKNOWN_DAY)[:10]


def _owner(service: Row) -> str:
    organization = service.get("organization")
    inside = organization.get("id") if isinstance(organization, dict) else None
    return str(inside or service.get("organization_id"))


def _id(thing: Row) -> str:
    return str(thing.get("id") or "")


def _first(thing: Row, name: str, wanted: str) -> Any:
    return next((row.get(wanted) for row in _rows(thing, name)), None)


def _rows(thing: Row, name: str) -> list[Row]:
    """A list of objects; whatever else stands there is left out."""
    value = thing.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _by_id(rows: Iterable[Row]) -> dict[str, Row]:
    """The fullest of those that bear the same id."""
    found: dict[str, Row] = {}
    for row in rows:
        found[_id(row)] = max(found.get(_id(row), row), row, key=len)
    return found


def _grouped(rows: Iterable[Row], name: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row.get(name)), []).append(row)
    return found
