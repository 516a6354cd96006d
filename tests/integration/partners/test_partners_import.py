"""The directory from data·inclusion: checked, told once, withdrawn and not deleted."""

import csv
import io
from copy import deepcopy
from typing import Any

import orjson
import pytest
from data_inclusion.schema.v1 import Service, Structure

from services.partners import projections
from services.partners.handlers import imports
from services.partners.handlers.imports import KEPT
from services.partners.handlers.rows import LISTS, read_csv
from tests.support.partners import Hub, call

SOURCE = "soliguide"
STRUCTURE = {
    "source": SOURCE,
    "id": "soliguide--1",
    "nom": "Mission Locale du Test",
    "date_maj": "2026-10-01",
    "reseaux_porteurs": ["mission-locale"],
}
SERVICE = {
    "source": SOURCE,
    "structure_id": "soliguide--1",
    "id": "soliguide--1--a",
    "nom": "Accompagnement des jeunes",
    "description": "Un accompagnement vers l'emploi.",
    "date_maj": "2026-10-01",
    "thematiques": ["trouver-un-emploi--repondre-a-des-offres-demploi"],
    "publics": ["jeunes"],
}
EVENTS = "SELECT count(*) AS count FROM events"


def service(letter: str, **given: Any) -> dict[str, Any]:
    return SERVICE | {"id": f"soliguide--1--{letter}"} | given


def document(*services: dict[str, Any], **structure: Any) -> dict[str, Any]:
    listed = list(services) or [service("a"), service("b"), service("c")]
    return {"structures": [STRUCTURE | structure], "services": listed}


async def taken(hub: Hub, content: Any, **options: Any) -> dict[str, Any]:
    answer = await call(
        hub, "POST", "/v1/directory/import", content=orjson.dumps(content), params=options,
        headers={"authorization": "Bearer agk_test-partner-admin"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


async def listed(hub: Hub) -> dict[str, Any]:
    services = (await call(hub, "GET", "/v1/services")).json()["services"]
    return {s["service_id"]: s for s in services if s["service"]["source"] == SOURCE}


async def test_source_is_taken_in_whole_and_only_once(hub: Hub):
    report = await taken(hub, document())
    assert (report["entries"], report["new"], report["refused"]) == (4, 4, [])
    (before,) = await hub.rows(EVENTS)
    again = await taken(hub, document())
    assert (again["entries"], again["new"], again["changed"], again["unchanged"]) == (
        4,
        0,
        0,
        4,
    )
    assert await hub.rows(EVENTS) == [before]
    assert set(await listed(hub)) == {f"soliguide--1--{letter}" for letter in "abc"}


async def test_large_source_goes_in_by_parts_as_it_would_in_one(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    await taken(hub, document(*map(service, "abcde")))
    monkeypatch.setattr(imports, "AT_ONCE", 2)
    changed = document(*map(service, "cdefgh"), service("i", nom="Autre nom"), nom="Autre")
    changed["services"].append(service("j", structure_id="soliguide--2"))
    tried = await taken(hub, changed, dry_run=True)
    assert set(await listed(hub)) == {f"soliguide--1--{letter}" for letter in "abcde"}
    report = await taken(hub, changed)
    assert report == tried
    assert (report["new"], report["changed"], report["unchanged"]) == (4, 1, 3)
    assert report["withdrawn"] == ["soliguide--1--a", "soliguide--1--b"]
    assert [(r["row"], r["field"]) for r in report["refused"]] == [(8, "structure_id")]
    services = await listed(hub)
    assert {i[-1] for i, s in services.items() if not s["withdrawn"]} == set("cdefghi")
    again = await taken(hub, changed)
    assert (again["new"], again["changed"], again["withdrawn"]) == (0, 0, [])


async def test_import_cut_short_goes_on_where_it_was_and_withdraws_last(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    await taken(hub, document(*map(service, "ab")))
    monkeypatch.setattr(imports, "AT_ONCE", 2)
    whole = document(*map(service, "bcdef"))
    publish, parts = imports.publish, iter(range(10))

    async def cut(*given: Any) -> Any:
        if next(parts) == 2:
            raise RuntimeError("killed")
        return await publish(*given)

    monkeypatch.setattr(imports, "publish", cut)
    with pytest.raises(RuntimeError, match="killed"):
        await taken(hub, whole)
    services = await listed(hub)
    assert {i[-1] for i, s in services.items() if not s["withdrawn"]} == set("abc")
    monkeypatch.setattr(imports, "publish", publish)
    report = await taken(hub, whole)
    assert (report["new"], report["unchanged"]) == (3, 3)
    services = await listed(hub)
    assert {i[-1] for i, s in services.items() if not s["withdrawn"]} == set("bcdef")


async def test_change_in_the_source_changes_that_entry_alone(hub: Hub):
    await taken(hub, document())
    changed = document(service("a", nom="Autre nom"), service("b"), service("c"))
    assert (await taken(hub, changed))["changed"] == 1
    assert (await listed(hub))["soliguide--1--a"]["name"] == "Autre nom"


async def test_what_left_the_source_is_withdrawn_and_not_deleted(hub: Hub):
    await taken(hub, document())
    report = await taken(hub, document(service("a"), service("b")))
    assert report["withdrawn"] == ["soliguide--1--c"]
    assert (await listed(hub))["soliguide--1--c"]["withdrawn"]
    (withdrawn,) = await hub.events("service.withdrawn")
    assert withdrawn["service_id"] == "soliguide--1--c"
    assert (await taken(hub, document(service("a"), service("b"))))["withdrawn"] == []


async def test_service_that_is_listed_again_is_back(hub: Hub):
    await taken(hub, document())
    await taken(hub, document(service("a"), service("b")))
    assert (await taken(hub, document()))["changed"] == 1
    assert not (await listed(hub))["soliguide--1--c"]["withdrawn"]


async def test_file_that_was_cut_off_empties_no_directory(hub: Hub):
    await taken(hub, document())
    cut = document(service("a"))
    answer = await call(hub, "POST", "/v1/directory/import", content=orjson.dumps(cut))
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("/import-refused")
    assert not any(s["withdrawn"] for s in (await listed(hub)).values())
    assert len((await taken(hub, cut, withdraw_many=True))["withdrawn"]) == 2


async def test_row_that_does_not_fit_is_named_with_field_and_reason_and_stops_no_other(
    hub: Hub,
):
    broken = service("b", thematiques=["no-such-theme"], publics=[])
    report = await taken(hub, document(service("a"), broken, service("c")))
    assert (report["entries"], report["new"]) == (4, 3)
    fields = {(r["what"], r["row"], r["id"]) for r in report["refused"]}
    assert fields == {("service", 2, "soliguide--1--b")}
    assert any(r["field"].startswith("thematiques") for r in report["refused"])


async def test_row_that_is_refused_does_not_withdraw_what_is_known_of_it(hub: Hub):
    await taken(hub, document())
    broken = service("b", description="x")
    report = await taken(hub, document(service("a"), broken, service("c")))
    assert report["withdrawn"] == []
    assert len(report["refused"]) == 1


async def test_service_without_its_structure_is_refused(hub: Hub):
    lost = service("a", structure_id="soliguide--9")
    report = await taken(hub, document(lost))
    (refused,) = report["refused"]
    assert refused["field"] == "structure_id"


async def test_social_security_number_in_a_row_is_refused(hub: Hub):
    told = service("a", description="Demander au 2 69 05 49 588 157 80 pour entrer")
    report = await taken(hub, document(told))
    (refused,) = report["refused"]
    assert (refused["field"], refused["detail"]) == ("description", "must not hold a NIR")


async def test_kind_comes_from_the_network_or_has_to_be_given(hub: Hub):
    nameless = document(reseaux_porteurs=[])
    report = await taken(hub, nameless)
    assert report["refused"][0]["field"] == "reseaux_porteurs"
    assert report["new"] == 0
    assert (await taken(hub, nameless, kind="clap"))["new"] == 4
    assert {s["kind"] for s in (await listed(hub)).values()} == {"clap"}


async def test_import_leaves_alone_what_the_source_does_not_know(hub: Hub):
    """A seed's partner that a source lists too keeps its kind, policy and deadlines."""
    exported = (await call(hub, "GET", "/v1/directory/export")).json()
    before = (await call(hub, "GET", "/v1/services")).json()["services"]
    told = deepcopy(exported)
    for row in told["services"]:
        row["description"] += " Mis à jour."
    report = await taken(hub, told)
    assert report["changed"] == len(told["services"])
    after = (await call(hub, "GET", "/v1/services")).json()["services"]
    for old, new in zip(before, after, strict=True):
        assert {k: old.get(k) for k in KEPT} == {k: new.get(k) for k in KEPT}


async def test_what_is_exported_is_data_inclusion_and_changes_nothing_when_it_comes_back(
    hub: Hub,
):
    exported = (await call(hub, "GET", "/v1/directory/export")).json()
    assert exported["structures"]
    for row in exported["structures"]:
        Structure.model_validate(row)
    for row in exported["services"]:
        Service.model_validate(row)
    report = await taken(hub, exported)
    assert (report["new"], report["changed"], report["refused"]) == (0, 0, [])


async def test_dry_run_reports_and_stores_nothing(hub: Hub):
    report = await taken(hub, document(), dry_run=True)
    assert report["new"] == 4
    assert await listed(hub) == {}


async def test_several_sources_at_once_are_refused(hub: Hub):
    mixed = document(service("a", source="dora"))
    answer = await call(hub, "POST", "/v1/directory/import", content=orjson.dumps(mixed))
    assert answer.status_code == 422


@pytest.mark.parametrize("content", [b"", b"[]", b'{"structures": 1}', b"{}", b"\xff"])
async def test_content_that_is_no_directory_is_refused(hub: Hub, content: bytes):
    answer = await call(hub, "POST", "/v1/directory/import", content=content)
    assert answer.status_code == 422
    assert answer.json()["title"] == "Nothing was imported"


def table(rows: list[dict[str, Any]], packed: bool) -> str:
    text = io.StringIO()
    lines = csv.DictWriter(text, sorted({name for row in rows for name in row}))
    lines.writeheader()
    for row in rows:
        lines.writerow(
            {
                k: (orjson.dumps(v).decode() if packed else "|".join(v)) if k in LISTS else v
                for k, v in row.items()
            }
        )
    return text.getvalue()


@pytest.mark.parametrize("packed", [True, False])
async def test_tables_say_the_same_as_json(hub: Hub, packed: bool):
    told = document()
    read = read_csv(table(told["structures"], packed), table(told["services"], packed))
    assert read.structures == told["structures"]
    assert read.services == told["services"]


async def test_new_name_is_kept_with_its_day_under_the_same_id(hub: Hub):
    await taken(hub, document())
    await taken(hub, document(nom="Mission Locale rebaptisée", date_maj="2026-11-01"))
    path = "/v1/partners/soliguide--1/names"
    assert (await call(hub, "GET", path)).json()["names"] == [
        {"since": "2026-10-01", "name": "Mission Locale du Test"},
        {"since": "2026-11-01", "name": "Mission Locale rebaptisée"},
    ]


@pytest.mark.parametrize(
    ("day", "name"),
    [
        ("2000-01-01", "ANPE – agence de Valenciennes"),
        ("2008-12-18", "ANPE – agence de Valenciennes"),
        ("2008-12-19", "Pôle emploi – agence de Valenciennes"),
        ("2023-12-31", "Pôle emploi – agence de Valenciennes"),
        ("2024-01-01", "France Travail – agence de Valenciennes"),
    ],
)
async def test_organisation_is_called_what_it_was_called_that_day(
    hub: Hub, day: str, name: str
):
    path = "/v1/partners/petite-foret--france-travail/name"
    assert (await call(hub, "GET", path, params={"on": day})).json()["name"] == name


async def test_directory_rebuilt_from_events_is_the_same(hub: Hub):
    await taken(hub, document())
    await taken(hub, document(service("a"), service("b")))
    await taken(hub, document(service("a"), service("b"), nom="Mission Locale, autre nom"))
    tables = ("partners", "services", "partner_names")
    before = [await hub.rows(f"SELECT {t}::text FROM {t} ORDER BY 1") for t in tables]
    async with hub.database.transaction() as tx:
        await projections.READ_TABLES.rebuild(tx, hub.platform.vault)
    after = [await hub.rows(f"SELECT {t}::text FROM {t} ORDER BY 1") for t in tables]
    assert after == before
