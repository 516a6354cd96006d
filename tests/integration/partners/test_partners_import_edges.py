"""Imports at their edges: HSDS, forms, several sources, the seed, the router, two at once."""

import asyncio
from typing import Any

import orjson
import pytest

from infra.eventstore.store import EventStore
from infra.web.auth import create_key
from services.partners.handlers.directory import seed
from services.partners.routes.directory import MAX_IMPORT_BYTES
from services.referrals import projections as router
from services.referrals.tables import statements as router_statements
from tests.integration.partners.test_partners_import import (
    EVENTS,
    SERVICE,
    SOURCE,
    STRUCTURE,
    document,
    listed,
    service,
    table,
    taken,
)
from tests.support.partners import KEY, Hub, call

IMPORT = "/v1/directory/import"
KNOWN_POLICY = {"policy": "auto", "delay_days": 3, "minimum_age": 16}


async def routed(hub: Hub) -> set[str]:
    """The source's services that the referral service would propose from."""
    async with hub.referrals.transaction() as tx:
        await router.keep_services(tx, await EventStore("partners").read(tx, 0, 1000))
        rows = await tx.fetch(router_statements.SERVICES)
    return {row["service_id"] for row in rows if row["service_id"].startswith(SOURCE)}


async def test_router_proposes_nothing_that_was_withdrawn_until_it_is_back(hub: Hub):
    await taken(hub, document())
    assert len(await routed(hub)) == 3
    await taken(hub, document(service("a"), service("b")))
    assert await routed(hub) == {"soliguide--1--a", "soliguide--1--b"}
    await taken(hub, document())
    assert len(await routed(hub)) == 3


async def test_service_that_comes_back_is_what_it_was(hub: Hub):
    """What the hub knew besides data·inclusion outlives a withdrawal."""
    told = (await call(hub, "GET", "/v1/directory/export")).json()
    fewer = told | {"services": told["services"][1:]}
    query = "SELECT published::text AS text FROM services ORDER BY service_id"
    before = await hub.rows(query)
    assert len((await taken(hub, fewer))["withdrawn"]) == 1
    assert (await taken(hub, told))["changed"] == 1
    assert await hub.rows(query) == before


async def test_hsds_of_the_whole_directory_changes_nothing_when_it_comes_back(hub: Hub):
    (events,) = await hub.rows(EVENTS)
    told = (await call(hub, "GET", "/v1/directory/export", params={"format": "hsds"})).json()
    report = await taken(hub, told, format="hsds")
    assert (report["new"], report["changed"], report["refused"]) == (0, 0, [])
    assert report["unchanged"] == len(told["organizations"]) + len(told["services"])
    assert await hub.rows(EVENTS) == [events]


async def test_hsds_of_a_stranger_needs_its_name_and_tells_ages(hub: Hub):
    organization = {"id": "1", "name": "Plie d'ailleurs", "description": "Un plan"}
    told = [
        {"id": "2", "name": "Parcours", "description": "Un référent", "status": "active",
         "minimum_age": 26, "organization": organization}
    ]  # fmt: skip
    content = orjson.dumps(told)
    answer = await call(hub, "POST", IMPORT, content=content, params={"format": "hsds"})
    assert answer.json()["type"].endswith("/import-refused")
    options = {"format": "hsds", "source": "ailleurs", "kind": "plie"}
    assert (await taken(hub, told, **options))["new"] == 2
    query = "SELECT published::text AS text FROM services WHERE service_id = 'ailleurs--2'"
    (row,) = await hub.rows(query)
    published = orjson.loads(row["text"])
    assert (published["minimum_age"], published["partner_id"]) == (26, "ailleurs--1")
    bent = [told[0] | {"minimum_age": -1}]
    (refused,) = (await taken(hub, bent, **options))["refused"]
    assert refused["field"] == "minimum_age"


async def test_export_of_one_source_is_that_source(hub: Hub):
    await taken(hub, document())
    told = (await call(hub, "GET", "/v1/directory/export", params={"source": SOURCE})).json()
    assert [s["id"] for s in told["structures"]] == [STRUCTURE["id"]]
    assert len(told["services"]) == 3
    assert (await taken(hub, told))["unchanged"] == 4


async def test_form_with_two_tables_is_taken(hub: Hub):
    parts = {
        "structures": ("structures.csv", table([STRUCTURE], packed=False), "text/csv"),
        "services": ("services.csv", table([service("é")], packed=True), "text/csv"),
    }
    report = (await call(hub, "POST", IMPORT, files=parts)).json()
    assert (report["new"], report["refused"]) == (2, [])
    assert set(await listed(hub)) == {"soliguide--1--é"}


@pytest.mark.parametrize(
    ("media", "status", "kind"),
    [
        ("text/plain", 415, "unsupported-media-type"),
        ("multipart/form-data", 400, "malformed"),
        ("multipart/form-data; boundary=x", 400, "malformed"),
        ("application/json", 422, "import-refused"),
    ],
)
async def test_body_that_cannot_be_read_is_refused(
    hub: Hub, media: str, status: int, kind: str
):
    headers = {"authorization": f"Bearer {KEY}", "content-type": media}
    answer = await call(hub, "POST", IMPORT, content=b"--x\r\n\r\n--x--", headers=headers)
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (status, kind)


async def test_body_larger_than_a_directory_is_not_read_to_its_end(hub: Hub):
    answer = await call(hub, "POST", IMPORT, content=b" " * (MAX_IMPORT_BYTES + 1))
    assert answer.status_code == 413


async def test_only_an_administrator_imports(hub: Hub):
    async with hub.database.transaction() as tx:
        key = await create_key(tx, "desk", "adviser")
    headers = {"authorization": f"Bearer {key}"}
    answer = await call(hub, "POST", IMPORT, content=b"{}", headers=headers)
    assert answer.status_code == 403
    export = await call(hub, "GET", "/v1/directory/export", headers=headers)
    assert export.status_code == 200


async def test_no_source_takes_over_what_another_keeps(hub: Hub):
    await taken(hub, document())
    stolen = {
        "structures": [STRUCTURE | {"source": "autre"}],
        "services": [service("a", source="autre"), service("z", source="autre")],
    }
    report = await taken(hub, stolen)
    assert [(r["what"], r["field"]) for r in report["refused"]] == [
        ("structure", "id"), ("service", "id"), ("service", "structure_id"),
    ]  # fmt: skip
    assert (report["new"], report["changed"], report["withdrawn"]) == (0, 0, [])


async def test_structures_alone_leave_the_services_alone(hub: Hub):
    await taken(hub, document())
    report = await taken(hub, {"structures": [STRUCTURE | {"commune": "Anzin"}]})
    assert (report["changed"], report["withdrawn"]) == (1, [])


async def test_services_alone_are_those_of_structures_that_are_known(hub: Hub):
    await taken(hub, document())
    report = await taken(hub, {"services": [service(letter) for letter in "abcd"]})
    assert (report["new"], report["unchanged"]) == (1, 3)


async def test_service_of_a_structure_that_is_refused_now_stays_as_it_was(hub: Hub):
    await taken(hub, document())
    report = await taken(hub, document(nom="x"))
    assert {r["what"] for r in report["refused"]} == {"structure", "service"}
    assert report["withdrawn"] == []
    assert not any(s["withdrawn"] for s in (await listed(hub)).values())


async def test_entry_listed_twice_is_told_once(hub: Hub):
    report = await taken(hub, document(service("a"), service("a", nom="Encore")))
    assert (report["new"], len(report["refused"])) == (2, 1)


async def test_seed_of_the_next_start_undoes_no_import(hub: Hub):
    told = (await call(hub, "GET", "/v1/directory/export")).json()
    told["structures"][0]["nom"] = "Agence renommée"
    told["structures"][0]["date_maj"] = "2026-11-20"
    told["services"][0]["description"] = "Une autre description"
    gone = told["services"].pop()["id"]
    await taken(hub, told)
    (events,) = await hub.rows(EVENTS)
    assert (await seed(hub.platform, "petite-foret")).changed == 0
    assert await hub.rows(EVENTS) == [events]
    now = (await call(hub, "GET", "/v1/directory/export")).json()
    assert now["structures"][0]["nom"] == "Agence renommée"
    assert gone not in {s["id"] for s in now["services"]}


async def names(hub: Hub) -> list[tuple[str | None, str]]:
    answer = await call(hub, "GET", f"/v1/partners/{STRUCTURE['id']}/names")
    return [(row["since"], row["name"]) for row in answer.json()["names"]]


async def name_on(hub: Hub, day: str) -> str:
    path = f"/v1/partners/{STRUCTURE['id']}/name"
    name: str = (await call(hub, "GET", path, params={"on": day})).json()["name"]
    return name


async def test_name_that_comes_back_is_there_on_its_days(hub: Hub):
    first = STRUCTURE["nom"]
    await taken(hub, document())
    assert await names(hub) == [(None, first)]
    await taken(hub, document(nom="Autre nom", date_maj="2026-10-20"))
    await taken(hub, document(nom=first, date_maj="2026-11-10"))
    assert await names(hub) == [
        ("2026-10-01", first), ("2026-10-20", "Autre nom"), ("2026-11-10", first),
    ]  # fmt: skip
    days = ("1990-01-01", "2026-10-19", "2026-10-20", "2026-11-09", "2026-11-10")
    found = [await name_on(hub, day) for day in days]
    assert found == [first, first, "Autre nom", "Autre nom", first]


async def test_name_changed_on_a_day_that_stands_still_is_the_name_since_that_day(hub: Hub):
    await taken(hub, document())
    await taken(hub, document(nom="Autre nom"))
    assert await names(hub) == [("2026-09-30", STRUCTURE["nom"]), ("2026-10-01", "Autre nom")]
    await taken(hub, document(nom="Nom corrigé"))
    assert (await names(hub))[-1] == ("2026-10-01", "Nom corrigé")


@pytest.mark.parametrize("path", ["names", "name?on=2026-01-01"])
async def test_organisation_that_nobody_knows_has_no_name(hub: Hub, path: str):
    assert (await call(hub, "GET", f"/v1/partners/nobody/{path}")).status_code == 404


async def test_two_imports_at_once_tell_everything_once(hub: Hub):
    reports = await asyncio.gather(*(taken(hub, document()) for _ in range(4)))
    assert sorted(r["new"] for r in reports) == [0, 0, 0, 4]
    assert sorted(r["unchanged"] for r in reports) == [0, 4, 4, 4]


async def test_capacity_may_be_reported_while_a_source_is_taken_in(hub: Hub):
    await taken(hub, document())
    path = f"/v1/services/{SERVICE['id']}/capacity"
    changes = [
        document(service("a", nom=f"Nom {n}"), service("b"), service("c")) for n in "123"
    ]
    reports = [call(hub, "POST", path, json={"status": "waitlist"}) for _ in range(6)]
    answers: list[Any] = await asyncio.gather(*reports, *(taken(hub, c) for c in changes))
    assert {answer.status_code for answer in answers[:6]} <= {201, 409}
    assert [report["changed"] for report in answers[6:]] == [1, 1, 1]


@pytest.mark.parametrize(
    "changed", [631152000, "631152000", "0001-01-01", "9999-12-31", "2026-10-01T00:00:00"]
)
async def test_day_of_a_row_that_cannot_be_is_a_refused_row(hub: Hub, changed: Any):
    rows = document(service("a", date_maj=changed), service("b"))
    report = await taken(hub, rows)
    refused = [(r["id"], r["field"]) for r in report["refused"]]
    assert refused == [(f"{STRUCTURE['id']}--a", "date_maj")]
    assert report["new"] == 2
