"""The directory as Open Referral HSDS 3.1: services with organisation, places, attributes.

What HSDS has no field for travels as attributes of our own taxonomy, so that the way back
(``hsds``) loses nothing of data·inclusion.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from contracts.partners import ServicePublished
from contracts.values import CapacityStatus
from services.partners.handlers.rows import LISTS

TAXONOMY = "data-inclusion-v1"
SCHEME = "data-inclusion"
SIRET = "FR-SIRET"
OPENING_HOURS = "OpenStreetMap opening_hours"
ORGANIZATION = {
    "name": "nom",
    "description": "description",
    "email": "courriel",
    "website": "site_web",
    "uri": "lien_source",
}
SERVICE = {
    "name": "nom",
    "description": "description",
    "email": "courriel",
    "url": "lien_source",
    "application_process": "mobilisation_precisions",
    "fees_description": "frais_precisions",
    "eligibility_description": "conditions_acces",
}
PLACE = {
    "address_1": "adresse",
    "address_2": "complement_adresse",
    "city": "commune",
    "postal_code": "code_postal",
}
_LOCATED = {*PLACE.values(), "longitude", "latitude", "code_insee", "accessibilite_lieu"}
_IN_FIELDS = {
    *ORGANIZATION.values(),
    *SERVICE.values(),
    *_LOCATED,
    "telephone",
    "horaires_accueil",
}
_OF_ORGANIZATION = _IN_FIELDS | {"id", "siret"}
_OF_SERVICE = _IN_FIELDS | {
    "structure_id",
    "date_maj",
    "contact_nom_prenom",
    "zone_eligibilite",
}
_CODED = {*LISTS, "type", "frais"}
_IDS = uuid5(NAMESPACE_URL, "https://aiguillage.fr/hsds")
Row = dict[str, Any]


class ListedService(NamedTuple):
    """A service as last published, and its capacity as its partner last reported it."""

    published: str
    capacity: str | None
    seats: int | None
    until: date | None
    reported_at: datetime | None


def to_hsds(structures: Iterable[Row], services: Iterable[ListedService], day: date) -> Row:
    """Return ``organizations`` and ``services``; capacities where they hold on the day."""
    organizations = {s["id"]: _organization(s) for s in structures}
    return {
        "organizations": list(organizations.values()),
        "services": [_service(row, organizations, day) for row in services],
    }


def _organization(structure: Row) -> Row:
    key = f"organization/{structure['id']}"
    identifiers = {SCHEME: structure["id"], SIRET: structure.get("siret")}
    return _full(
        _named(structure, ORGANIZATION)
        | {
            "id": _uuid(key),
            "description": structure.get("description", ""),  # HSDS wants one
            "organization_identifiers": [
                {
                    "id": _uuid(f"{key}/identifier/{scheme}"),
                    "identifier_scheme": scheme,
                    "identifier_type": scheme,
                    "identifier": value,
                }
                for scheme, value in identifiers.items()
                if value
            ],
            "locations": _locations(key, structure),
            **_reached(key, structure),
            "attributes": _attributes(key, structure, _OF_ORGANIZATION),
        }
    )


def _service(row: ListedService, organizations: Mapping[str, Row], day: date) -> Row:
    event = ServicePublished.model_validate_json(row.published)
    service = event.service
    key = f"service/{event.service_id}"
    return _full(
        _named(service, SERVICE)
        | {
            "id": _uuid(key),
            "organization_id": _uuid(f"organization/{event.partner_id}"),
            "status": "active",
            "minimum_age": event.minimum_age,
            "maximum_age": event.maximum_age,
            "wait_time": f"{event.delay_days} jours ouvrés" if event.delay_days else None,
            "last_modified": f"{service['date_maj']}T00:00:00Z",
            "service_areas": [
                {
                    "id": _uuid(f"{key}/area/{code}"),
                    "name": code,
                    "extent": code,
                    "extent_type": "text",
                }
                for code in service.get("zone_eligibilite", ())
            ],
            "service_at_locations": [
                {"id": _uuid(f"{key}/at"), "location_id": place["id"], "location": place}
                for place in _locations(key, service)
            ],
            "contacts": _one(key, "contact", name=service.get("contact_nom_prenom")),
            **_reached(key, service),
            "organization": organizations.get(event.partner_id),
            "attributes": _attributes(key, service, _OF_SERVICE),
            "capacities": _capacities(key, row, day),
        }
    )


def _locations(key: str, row: Row) -> list[Row]:
    if not _LOCATED & row.keys():
        return []
    insee = row.get("code_insee")
    addresses = []
    if set(PLACE.values()) & row.keys():
        # HSDS wants them, empty or not
        filled = {theirs: row.get(ours, "") for theirs, ours in PLACE.items()}
        fixed = {"state_province": "", "country": "FR", "address_type": "physical"}
        addresses.append({"id": _uuid(f"{key}/address"), **filled, **fixed})
    location = {
        "id": _uuid(f"{key}/location"),
        "location_type": "physical",
        "longitude": row.get("longitude"),
        "latitude": row.get("latitude"),
        "external_identifier": insee,
        "external_identifier_type": "INSEE" if insee else None,
        "addresses": addresses,
        "accessibility": _one(key, "accessibility", url=row.get("accessibilite_lieu")),
    }
    return [_full(location)]


def _reached(key: str, row: Row) -> Row:
    opening = row.get("horaires_accueil")
    return {
        "phones": _one(key, "phone", number=row.get("telephone")),
        "schedules": _one(key, "schedule", description=opening, notes=OPENING_HOURS)
        if opening
        else [],
    }


def _attributes(key: str, row: Row, elsewhere: set[str]) -> list[Row]:
    attributes = []
    for name, value in row.items():
        if name in elsewhere:
            continue
        if name in _CODED:
            codes = value if isinstance(value, list) else [value]
            attributes += [_attribute(key, f"{TAXONOMY}/{name}", code, None) for code in codes]
        else:
            attributes.append(_attribute(key, TAXONOMY, name, str(value)))
    return attributes


def _attribute(key: str, taxonomy: str, code: str, value: str | None) -> Row:
    term = _uuid(f"{taxonomy}/{code}")
    attribute = {
        "id": _uuid(f"{key}/{taxonomy}/{code}"),
        "link_id": _uuid(key),
        "link_entity": key.partition("/")[0],
        "taxonomy_term_id": term,
        "value": value,
        "taxonomy_term": {
            "id": term,
            "code": code,
            "name": code,
            "description": f"{taxonomy.partition('/')[2] or 'champ'} (data·inclusion v1)",
            "taxonomy": taxonomy,
        },
    }
    return _full(attribute)


def _capacities(key: str, row: ListedService, day: date) -> list[Row]:
    """Return the capacity as long as it holds; places without a number are not HSDS."""
    available = row.seats if row.capacity == CapacityStatus.CAPACITY else 0
    if row.capacity is None or row.reported_at is None or available is None:
        return []
    if row.until and row.until < day:
        return []
    return [
        {
            "id": _uuid(f"{key}/capacity"),
            "service_id": _uuid(key),
            "available": available,
            "description": row.capacity,
            "updated": row.reported_at.isoformat(),
            "unit": {"id": _uuid("unit/place"), "name": "place"},
        }
    ]


def _named(row: Row, names: Mapping[str, str]) -> Row:
    return {theirs: row.get(ours) for theirs, ours in names.items()}


def _one(key: str, what: str, **given: Any) -> list[Row]:
    known = {name: value for name, value in given.items() if value is not None}
    return [{"id": _uuid(f"{key}/{what}"), **known}] if known else []


def _full(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is not None and value != []}


def _uuid(name: str) -> str:
    return str(uuid5(_IDS, name))
