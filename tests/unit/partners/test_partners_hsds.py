"""HSDS and back: nothing of data·inclusion is lost; what others write is understood."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from data_inclusion.schema.v1 import Service, Structure
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.values import PartnerKind
from services.partners.handlers.directory import SeedService, load_seed, published
from services.partners.handlers.hsds import UNKNOWN_DAY, read_hsds
from services.partners.handlers.hsds_export import ListedService, to_hsds
from services.partners.handlers.rows import ImportRefusedError, canonical, check
from tests.support.inclusion import SERVICES, STRUCTURES

DAY = date(2026, 11, 23)
AGES = st.none() | st.integers(0, 120)


def rows(structure: Any, service: Any, **known: Any) -> tuple[list[Any], list[Any]]:
    """What the directory's tables hold."""
    kept = {name: known.pop(name) for name in ("minimum_age", "maximum_age") if name in known}
    event = published(PartnerKind.PLIE, SeedService(service=service, **kept))
    row = ListedService(event.clear_json().decode(), None, None, None, None)._replace(**known)
    return [canonical(Structure, structure)], [row]


@pytest.mark.slow
@given(STRUCTURES, SERVICES, AGES, AGES)
@settings(max_examples=150)
def test_what_goes_out_as_hsds_comes_back_as_it_was(
    structure: Any, service: Any, minimum: int | None, maximum: int | None
):
    partners, services = rows(structure, service, minimum_age=minimum, maximum_age=maximum)
    documents = read_hsds([orjson.dumps(to_hsds(partners, services, DAY))])
    checked = check(documents)
    assert checked.refused == []
    assert checked.structures == {"essai--1": (1, canonical(Structure, structure))}
    assert checked.services == {"essai--1--a": (1, canonical(Service, service))}
    ages = {"minimum_age": minimum, "maximum_age": maximum}
    assert documents.ages["essai--1--a"] == {k: v for k, v in ages.items() if v is not None}


def test_seed_goes_out_with_ids_that_hsds_wants_and_stay_the_same():
    (first, *_) = load_seed("petite-foret").partners
    partners, services = rows(first.structure, first.services[0].service)
    found = to_hsds(partners, services, DAY)
    assert to_hsds(partners, services, DAY) == found
    (service,) = found["services"]
    assert UUID(service["id"]).version == 5
    assert service["organization"] == found["organizations"][0]
    assert service["organization_id"] == service["organization"]["id"]
    assert service["status"] == "active"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"capacity": "capacity", "seats": 4}, [4]),
        ({"capacity": "capacity", "seats": 4, "until": DAY}, [4]),
        ({"capacity": "no-capacity", "seats": None}, [0]),
        ({"capacity": "waitlist", "seats": 2}, [0]),
        ({"capacity": "capacity", "seats": None}, []),  # HSDS wants a number
        ({"capacity": "capacity", "seats": 4, "until": date(2026, 11, 22)}, []),
        ({}, []),
    ],
)
def test_capacity_goes_out_while_the_partners_word_holds(said: Any, expected: list[int]):
    (first, *_) = load_seed("petite-foret").partners
    at = {"reported_at": datetime(2026, 11, 20, tzinfo=UTC)}
    partners, services = rows(first.structure, first.services[0].service, **said, **at)
    (service,) = to_hsds(partners, services, DAY)["services"]
    assert [c["available"] for c in service.get("capacities", [])] == expected


ORGANIZATION = {
    "id": "7f4c0e2e-0000-4000-8000-000000000001",
    "name": "Mission Locale d'ailleurs",
    "description": "Accueil des jeunes",
    "tax_id": "",
    "phones": [{"id": "x", "number": "+33327000001"}],
}
FOREIGN = {
    "id": "7f4c0e2e-0000-4000-8000-000000000002",
    "name": "Accompagnement",
    "description": "Un conseiller reçoit",
    "status": "active",
    "minimum_age": 16.0,
    "maximum_age": 25,
    "last_modified": "2026-10-01T08:00:00Z",
    "schedules": [
        {
            "id": "s",
            "freq": "WEEKLY",
            "byday": "MO,TU",
            "opens_at": "09:00",
            "closes_at": "12:30",
        },
        {"id": "t", "freq": "WEEKLY", "byday": "FR", "opens_at": "14:00", "closes_at": "17:00"},
    ],
    "service_areas": [{"id": "a", "extent": "59", "extent_type": "text"}],
    "attributes": [
        {"id": "b", "taxonomy_term": {"taxonomy": "leur-liste", "code": "numerique"}},
        {
            "id": "c",
            "taxonomy_term": {
                "taxonomy": "leur-liste",
                "code": "trouver-un-emploi--repondre-a-des-offres-demploi",
            },
        },
    ],
}
LOCATION = {
    "id": "l",
    "location_type": "physical",
    "latitude": 50.37,
    "longitude": 3.48,
    "addresses": [{"id": "d", "address_1": "1 rue X", "city": "Anzin", "postal_code": "59410"}],
}


LISTED = FOREIGN | {
    "organization": ORGANIZATION,
    "service_at_locations": [{"id": "z", "location": LOCATION}],
}
FULL = ORGANIZATION | {
    "services": [FOREIGN | {"service_at_locations": [{"id": "z", "location": LOCATION}]}]
}
"""``organization_full`` of the API: services nested in their organisation."""


def page(number: int, *services: Any, **told: Any) -> dict[str, Any]:
    return {"page_number": number, "total_pages": 2, "contents": list(services)} | told


def taken(document: Any, source: str | None = "ailleurs") -> Any:
    return read_hsds([orjson.dumps(document)], source)


@pytest.mark.parametrize(
    "document",
    [
        [FOREIGN | {"organization": ORGANIZATION,
                    "service_at_locations": [{"id": "z", "location": LOCATION}]}],
        {"contents": [FOREIGN | {"organization": ORGANIZATION,
                      "service_at_locations": [{"id": "z", "location_id": "l"}]}],
         "locations": [LOCATION], "total_items": 1},
        {"services": [FOREIGN | {"organization_id": ORGANIZATION["id"]}],
         "organizations": [ORGANIZATION], "locations": [LOCATION],
         "service_at_locations": [{"service_id": FOREIGN["id"], "location_id": "l"}]},
        FULL,
        [FULL],
        {"contents": [FULL]},
        {"organizations": [FULL]},
        {"organizations": [FULL], "services": [LISTED]},
        LISTED,
        [{"contents": [LISTED], "page_number": 1, "total_pages": 1, "last_page": True}],
    ],
)  # fmt: skip
def test_every_shape_of_hsds_means_the_same(document: Any):
    documents = taken(document)
    checked = check(documents)
    assert checked.refused == []
    ((_, structure),) = checked.structures.values()
    assert structure["id"] == f"ailleurs--{ORGANIZATION['id']}"
    assert structure["telephone"] == "+33327000001"
    assert structure["date_maj"] == "2026-10-01"
    ((_, service),) = checked.services.values()
    assert service["structure_id"] == structure["id"]
    assert service["thematiques"] == ["trouver-un-emploi--repondre-a-des-offres-demploi"]
    assert service["horaires_accueil"] == "Mo,Tu 09:00-12:30; Fr 14:00-17:00"
    assert (service["commune"], service["zone_eligibilite"]) == ("Anzin", ["59"])
    assert documents.ages[service["id"]] == {"minimum_age": 16, "maximum_age": 25}


@pytest.mark.parametrize(
    "document",
    [
        page(1, LISTED, last_page=False, first_page=True),
        page(2, LISTED, last_page=True, first_page=False),
        page(1, LISTED),
        {"contents": [LISTED], "last_page": False},
        {"contents": [LISTED], "total_items": 2},
        [page(1, LISTED), page(1, LISTED)],
        [page(1, LISTED), page(2, LISTED, last_page=False), ],
        [page(1, LISTED, total_items=9), page(2, LISTED, total_items=9)],
    ],
)  # fmt: skip
def test_page_without_the_others_is_not_taken_for_the_whole_source(document: Any):
    with pytest.raises(ImportRefusedError, match="all of them together"):
        taken(document)


def test_pages_are_one_source_together_in_one_file_or_several():
    other = LISTED | {"id": "55555555-5555-4555-8555-555555555555"}
    pages = [
        page(1, LISTED, first_page=True, last_page=False, total_items=2),
        page(2, other, last_page=True, first_page=False, total_items=2),
    ]
    together = taken(pages)
    apart = read_hsds([orjson.dumps(p) for p in pages], "ailleurs")
    assert together == apart
    assert [s["id"] for s in together.services or ()] == [
        f"ailleurs--{FOREIGN['id']}", f"ailleurs--{other['id']}",
    ]  # fmt: skip
    assert len(together.structures) == 1


def test_terms_may_stand_in_a_table_of_their_own():
    theme = "numerique--acquerir-un-equipement"
    service = FOREIGN | {"attributes": [], "organization": ORGANIZATION}
    document = {
        "services": [service],
        "attributes": [{"id": "b", "link_id": FOREIGN["id"], "taxonomy_term_id": "t"}],
        "taxonomy_terms": [{"id": "t", "code": theme, "taxonomy": "leur-liste"}],
    }
    assert taken(document).services[0]["thematiques"] == [theme]


@pytest.mark.parametrize("status", ["inactive", "defunct", "temporarily closed"])
def test_service_that_is_not_active_is_not_listed(status: str):
    closed = FOREIGN | {"status": status, "organization": ORGANIZATION}
    documents = taken([closed])
    assert documents.services == []
    assert len(documents.structures) == 1


def test_organisations_alone_say_nothing_of_services():
    assert taken({"organizations": [ORGANIZATION]}).services is None


def test_area_that_is_no_code_is_refused_and_not_taken_for_everywhere():
    area = [{"id": "a", "name": "Le Valenciennois"}]
    checked = check(taken([FOREIGN | {"service_areas": area, "organization": ORGANIZATION}]))
    assert [(r.what, r.field) for r in checked.refused] == [("service", "zone_eligibilite")]


def test_day_that_hsds_does_not_say_is_the_first_one():
    undated = FOREIGN | {"last_modified": None, "organization": ORGANIZATION}
    assert taken([undated]).services[0]["date_maj"] == UNKNOWN_DAY


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted({*FOREIGN, *ORGANIZATION, "x"})), inner, max_size=4
        )
    ),
    max_leaves=20,
)
BENT = st.dictionaries(
    st.sampled_from(
        sorted({*FOREIGN, "organization", "organization_id", "service_at_locations", "phones"})
    ),
    JSON,
    max_size=6,
)
TERMS = st.fixed_dictionaries(
    {"taxonomy_term": st.fixed_dictionaries(
        {"taxonomy": st.sampled_from(
            ["data-inclusion-v1", "data-inclusion-v1/publics", "data-inclusion-v1/x", None]
        ), "code": st.sampled_from(["id", "source", "publics", "nom"]) | JSON}
    ), "value": JSON}
)  # fmt: skip


@pytest.mark.slow
@given(BENT, st.lists(TERMS, max_size=3))
@settings(max_examples=200)
def test_bent_documents_are_refused_row_by_row_and_break_nothing(bent: Any, terms: list[Any]):
    service = FOREIGN | {"attributes": terms, "organization": ORGANIZATION} | bent
    check(taken({"services": [service], "organizations": [ORGANIZATION]}))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"3", b'{"services": 4}', b"\xff"])
def test_what_is_no_hsds_is_refused_as_a_whole(content: bytes):
    with pytest.raises(ImportRefusedError):
        read_hsds([content], "ailleurs")
