"""Open Referral HSDS 3.x to data·inclusion rows: the other standard of directories.

Taken: the API's shapes (services with their organisation, locations and attributes inside, or
organisations with their services inside), as the pages of a list (``contents``), a list,
``services`` or one object, and the same as separate lists that point to each other by id.
Pages are taken together only, for what a source does not list is withdrawn. What has an id of
data·inclusion keeps it; any other becomes ``source--id``. The way back is ``hsds_export``,
where the table of both vocabularies is too.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
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


def read_hsds(contents: Sequence[bytes], source: str | None = None) -> Documents:
    """Return rows of data·inclusion, of some files; ``source``: of what names none itself.

    A service that is not ``active`` is not listed: it is withdrawn if it was known. Raises
    ``ImportRefusedError``, also for some pages of a list without the others.
    """
    try:
        documents = [orjson.loads(content) for content in contents]
    except orjson.JSONDecodeError as error:
        raise ImportRefusedError("this is not JSON in UTF-8") from error
    # a list of pages is taken for its pages, anything else for itself
    pages = [isinstance(d, list) and bool(d) and all(map(_is_page, d)) for d in documents]
    documents = [
        item for given, paged in zip(documents, pages, strict=True)
        for item in (given if paged else [given])
    ]  # fmt: skip
    _check_whole([document for document in documents if _is_page(document)])
    tables = _Tables.of(documents)
    if not tables.services and not tables.organizations:
        raise ImportRefusedError("give HSDS services: a list, `services`, or the API's pages")
    return _Mapping(tables, source or "").documents()


def _is_page(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("contents"), list)


def _check_whole(pages: Sequence[Row]) -> None:
    """Refuse pages of which others are missing: by number, count, or their own word."""
    numbers = {page.get("page_number") for page in pages}
    total = max((_count(page, "total_pages") for page in pages), default=0)
    items = max((_count(page, "total_items") for page in pages), default=0)
    if len(numbers) < total:
        part = f"{len(numbers)} of {total} pages of a list"
        raise ImportRefusedError(f"this is {part}: give all of them together")
    short = sum(len(page["contents"]) for page in pages) < items
    if short or _without(pages, "first_page") or _without(pages, "last_page"):
        raise ImportRefusedError("pages of a list are missing: give all of them together")


def _without(pages: Sequence[Row], end: str) -> bool:
    marks = [page.get(end) for page in pages]
    return False in marks and True not in marks


def _count(page: Row, name: str) -> int:
    value = page.get(name)
    return value if isinstance(value, int) else 0


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
    def of(documents: Iterable[Any]) -> "_Tables":
        given: dict[str, list[Row]] = {}
        for document in documents:
            # a list, and a single object, are lists of services too
            if isinstance(document, dict) and "id" in document:
                document = [document]
            if isinstance(document, list):
                document = {"services": document}
            for name in document if isinstance(document, dict) else ():
                given.setdefault(name, []).extend(_rows(document, name))
        listed = [*given.get("services", ()), *given.get("contents", ())]
        organizations = [*given.get("organizations", ()), *filter(_is_organization, listed)]
        services = [item for item in listed if not _is_organization(item)]
        known = {_id(service) for service in services}
        for organization in organizations:  # with its services inside (``organization_full``)
            own = {name: value for name, value in organization.items() if name != "services"}
            inside = ({"organization": own} | s for s in _rows(organization, "services"))
            services += [service for service in inside if _id(service) not in known]
        nested = (s.get("organization") for s in services)
        return _Tables(
            services=services,
            organizations=_by_id(
                [*(item for item in nested if isinstance(item, dict)), *organizations]
            ),
            locations=_by_id(given.get("locations", ())),
            places=_grouped(given.get("service_at_locations", ()), "service_id"),
            attributes=_grouped(given.get("attributes", ()), "link_id"),
            terms=_by_id(given.get("taxonomy_terms", ())),
        )


def _is_organization(row: Row) -> bool:
    """HSDS gives a service a status and an organisation, and an organisation its services."""
    return not row.keys() & {"status", "organization", "organization_id"} and (
        isinstance(row.get("services"), list) or "organization_identifiers" in row
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
            row.update(horaires_accueil=row.get("horaires_accueil") or _opening(places[0]))
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
            # a code, or a name to be refused: an unknown place must not mean anywhere
            "zone_eligibilite": [
                area.get("extent")
                if area.get("extent_type") == "text"
                else area.get("name") or "?"
                for area in _rows(service, "service_areas")
            ],
        }
        at = _rows(service, "service_at_locations") or self.tables.places.get(_id(service), [])
        for place in at[:1]:
            pointed_at = self.tables.locations.get(str(place.get("location_id")))
            location = place.get("location") or pointed_at
            row |= _place(location) if isinstance(location, dict) else {}
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
    ours = (i.get("identifier") for i in identifiers if i.get("identifier_scheme") == scheme)
    return next(ours, None)


def _renamed(thing: Row, names: dict[str, str]) -> Row:
    return {ours: thing.get(theirs) for theirs, ours in names.items()}


def _place(location: Row) -> Row:
    addresses = _rows(location, "addresses")
    place = _renamed(addresses[0], PLACE) if addresses else {}
    place |= {name: location.get(name) for name in ("longitude", "latitude")}
    if location.get("external_identifier_type") == "INSEE":
        place["code_insee"] = location.get("external_identifier")
    if link := _first(location, "accessibility", "url"):
        place["accessibilite_lieu"] = link
    return place


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
    ages = {}
    for name in ("minimum_age", "maximum_age"):
        if (age := service.get(name)) is not None:
            whole = isinstance(age, float) and math.isfinite(age) and age == int(age)
            ages[name] = int(age) if whole else age
    return ages


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
    """Return id → the fullest of those that bear it."""
    fullest: dict[str, Row] = {}
    for item in rows:
        fullest[_id(item)] = max(fullest.get(_id(item), item), item, key=len)
    return fullest


def _grouped(rows: Iterable[Row], name: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for item in rows:
        groups.setdefault(str(item.get(name)), []).append(item)
    return groups
