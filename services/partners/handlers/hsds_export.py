"""The directory as Open Referral HSDS 3.1: services with organisation, places, attributes.

What HSDS has no field for travels as attributes of our own taxonomy, so that the way back
(``hsds``) loses nothing of data·inclusion.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

from contracts.partners import ServicePublished
from contracts.values import CapacityStatus
from services.partners.handlers.rows import LISTS

TAXONOMY = "data-inclusion-v1"
SCHEME = "data-inclusion"
SIRET = "FR-SIRET"
OPENING_HOURS = "OpenStreetMap opening_hours"
ORGANIZATION = {
    "name": "nom", "description": "description", "email": "courriel", "website": "site_web",
    "uri": "lien_source",
}  # fmt: skip
SERVICE = {
    "name": "nom", "description": "description", "email": "courriel", "url": "lien_source",
    "application_process": "mobilisation_precisions", "fees_description": "frais_precisions",
    "eligibility_description": "conditions_acces",
}  # fmt: skip
PLACE = {
    "address_1": "adresse", "address_2": "complement_adresse", "city": "commune",
    "postal_code": "code_postal",
}  # fmt: skip
_LOCATED = {*PLACE.values(), "longitude", "latitude", "code_insee", "accessibilite_lieu"}
_IN_FIELDS = {
    *ORGANIZATION.values(), *SERVICE.values(), *_LOCATED, "telephone", "horaires_accueil",
}  # fmt: skip
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


def to_hsds(partners: Iterable[Row], services: Iterable[Row], day: date) -> Row:
    """``organizations`` and ``services``; capacity where a partner's word holds on the day."""
    structures = [orjson.loads(row["structure"]) for row in partners]
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


def _service(row: Row, organizations: Mapping[str, Row], day: date) -> Row:
    told = ServicePublished.model_validate_json(row["published"])
    service = told.service
    key = f"service/{told.service_id}"
    return _full(
        _named(service, SERVICE)
        | {
            "id": _uuid(key),
            "organization_id": _uuid(f"organization/{told.partner_id}"),
            "status": "active",
            "minimum_age": told.minimum_age,
            "maximum_age": told.maximum_age,
            "wait_time": f"{told.delay_days} jours ouvrés" if told.delay_days else None,
            "last_modified": f"{service['date_maj']}T00:00:00Z",
            "service_areas": _areas(key, service),
            "service_at_locations": [
                {"id": _uuid(f"{key}/at"), "location_id": place["id"], "location": place}
                for place in _locations(key, service)
            ],
            "contacts": _one(key, "contact", name=service.get("contact_nom_prenom")),
            **_reached(key, service),
            "organization": organizations.get(told.partner_id),
            "attributes": _attributes(key, service, _OF_SERVICE),
            "capacities": _capacities(key, row, day),
        }
    )


def _locations(key: str, row: Row) -> list[Row]:
    if not _LOCATED & row.keys():
        return []
    insee = row.get("code_insee")
    location = {
        "id": _uuid(f"{key}/location"),
        "location_type": "physical",
        "longitude": row.get("longitude"),
        "latitude": row.get("latitude"),
        "external_identifier": insee,
        "external_identifier_type": "INSEE" if insee else None,
        "addresses": _addresses(key, row),
        "accessibility": _one(key, "accessibility", url=row.get("accessibilite_lieu")),
    }
    return [_full(location)]


def _addresses(key: str, row: Row) -> list[Row]:
    if not set(PLACE.values()) & row.keys():
        return []
    fixed = {"state_province": "", "country": "FR", "address_type": "physical"}
    filled = {theirs: row.get(ours, "") for theirs, ours in PLACE.items()}  # HSDS wants them
    return [{"id": _uuid(f"{key}/address"), **filled, **fixed}]


def _reached(key: str, row: Row) -> Row:
    opening = row.get("horaires_accueil")
    return {
        "phones": _one(key, "phone", number=row.get("telephone")),
        "schedules": _one(key, "schedule", description=opening, notes=OPENING_HOURS)
        if opening
        else [],
    }


def _areas(key: str, service: Row) -> list[Row]:
    return [
        {"id": _uuid(f"{key}/area/{code}"), "name": code, "extent": code, "extent_type": "text"}
        for code in service.get("zone_eligibilite", ())
    ]


def _attributes(key: str, row: Row, elsewhere: set[str]) -> list[Row]:
    found = []
    for name, value in row.items():
        if name in elsewhere:
            continue
        if name in _CODED:
            codes = value if isinstance(value, list) else [value]
            found += [_attribute(key, f"{TAXONOMY}/{name}", code, None) for code in codes]
        else:
            found.append(_attribute(key, TAXONOMY, name, str(value)))
    return found


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


def _capacities(key: str, row: Row, day: date) -> list[Row]:
    """A partner's own word, as long as it holds; places without a number are not HSDS."""
    said, until = row.get("capacity"), row.get("capacity_until")
    available = row["seats"] if said == CapacityStatus.CAPACITY else 0
    if said is None or available is None or (until and until < day):
        return []
    return [
        {
            "id": _uuid(f"{key}/capacity"),
            "service_id": _uuid(key),
            "available": available,
            "description": said,
            "updated": row["capacity_at"].isoformat(),
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
    found: UUID = uuid5(_IDS, name)
    return str(found)
