"""Rules on a real PostgreSQL: published, used, tried on past cases, explained."""

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import orjson
import pytest

from contracts.partners import ServicePublished
from contracts.values import PartnerKind
from infra.platform import Platform
from infra.postgres.database import Database
from infra.web.app import Service
from services.referrals.app import RULES, build
from services.referrals.handlers import rules as handler
from tests.support.platform import JOB, append, client, drain, resident
from tests.support.turns import Turn

CANARY = "Zébulonneau"


@pytest.fixture
async def service(platform: Platform) -> AsyncIterator[Service]:
    built = build(platform)
    kinds = (PartnerKind.MISSION_LOCALE, PartnerKind.FRANCE_TRAVAIL)
    directory = [
        ServicePublished(
            service_id=f"s-{kind}", partner_id=f"p-{kind}", kind=kind, name=kind,
            thematiques=[JOB], service={},
        )
        for kind in kinds
    ]  # fmt: skip
    await append(platform, "partners", "partner-x", directory)
    yield built
    await built.stop()


async def comes(platform: Platform, service: Service, **given: Any) -> dict[str, Any]:
    person_id = uuid4()
    events = resident(person_id, **given)
    await append(platform, "intake", f"person-{person_id}", events, person_id)
    await drain(service)
    return await case_of(service, person_id)


async def case_of(service: Service, person_id: UUID) -> dict[str, Any]:
    async with await client(service, "adviser") as http:
        answer = await http.get("/v1/cases", params={"person_id": str(person_id)})
    found: dict[str, Any] = answer.json()["cases"][0]
    return found


@pytest.fixture
def otherwise(tmp_path: Path) -> Path:
    """France Travail first, whatever the age."""
    graph = orjson.loads(RULES.read_bytes())
    (ranking,) = [n for n in graph["nodes"] if n["name"] == "ranking"]
    for expression in ranking["content"]["expressions"]:
        if expression["key"] == "preference.france-travail":
            expression["value"] = "20"
    path = tmp_path / "travail-first.json"
    path.write_bytes(orjson.dumps(graph))
    return path


async def publish(platform: Platform, service: Service, path: Path) -> Any:
    async with service.database.transaction() as tx:
        writer = platform.writer("referrals")
        return await handler.publish(tx, writer, platform.clock, path, "operator")


async def published(service: Service) -> list[tuple[int, str]]:
    async with service.database.reading() as connection:
        rows = await connection.fetch(
            "SELECT version, data->>'rules' AS r FROM events "
            "WHERE type LIKE '%rules.published%' ORDER BY position"
        )
    return [(row["version"], row["r"]) for row in rows]


async def test_first_case_publishes_the_rules_that_come_with_the_project_once(
    platform: Platform, service: Service
):
    await comes(platform, service)
    await comes(platform, service)
    assert await published(service) == [(1, "petite-foret")]


async def test_published_rules_are_used_by_the_next_case(
    platform: Platform, service: Service, otherwise: Path
):
    first = await comes(platform, service)
    rules = await publish(platform, service, otherwise)
    second = await comes(platform, service)
    assert first["referrals"][0]["service_id"] == "s-mission-locale"
    assert second["referrals"][0]["service_id"] == "s-france-travail"
    assert (rules.version, await published(service)) == (
        2, [(1, "petite-foret"), (2, "travail-first")],
    )  # fmt: skip


async def test_same_rules_again_are_no_new_version(
    platform: Platform, service: Service, otherwise: Path
):
    await publish(platform, service, otherwise)
    await publish(platform, service, otherwise)
    assert len(await published(service)) == 1


async def test_rules_that_do_not_pass_the_check_are_not_published(
    platform: Platform, service: Service, otherwise: Path
):
    graph = orjson.loads(otherwise.read_bytes())
    graph["nodes"] = [n for n in graph["nodes"] if n["name"] != "plie"]
    otherwise.write_bytes(orjson.dumps(graph))
    with pytest.raises(handler.RefusedRulesError) as refused:
        await publish(platform, service, otherwise)
    assert [f.where for f in refused.value.findings] == ["plie"]
    assert await published(service) == []


async def simulated(
    platform: Platform, service: Service, path: Path, limit: int = 1000
) -> handler.Simulation:
    writer = platform.writer("referrals")
    steps = handler.simulate(service.database, writer, handler.read(path), None, limit)
    return [step async for step in steps][-1]


async def test_simulation_moves_exactly_those_whose_first_service_changes(
    platform: Platform, service: Service, otherwise: Path
):
    young = await comes(platform, service, name=CANARY)
    await comes(platform, service, born=date(1970, 1, 1))  # France Travail either way
    found = await simulated(platform, service, otherwise)
    assert (found.seen, found.total) == (2, 2)
    (moved,) = found.moved
    assert str(moved.case_id) == young["case_id"]
    assert (moved.before, moved.after) == ("s-mission-locale", "s-france-travail")
    assert moved.because == ("ranking",)
    assert (await simulated(platform, service, RULES)).moved == []
    assert CANARY not in repr(found)
    assert "2006" not in repr(found)


async def test_simulation_counts_all_that_move_and_keeps_so_many_one_by_one(
    platform: Platform, service: Service, otherwise: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(handler, "MOST_MOVED", 1)
    for _ in range(3):
        await comes(platform, service)
    found = await simulated(platform, service, otherwise)
    assert (len(found.moved), found.flows.total()) == (1, 3)


async def test_others_get_their_turn_while_past_cases_are_tried(
    platform: Platform, service: Service, otherwise: Path, monkeypatch: pytest.MonkeyPatch
):
    await comes(platform, service)
    turn = Turn(handler._simulate)
    monkeypatch.setattr(handler, "_simulate", turn)
    async with turn.given():
        found = await simulated(platform, service, otherwise)
    assert found.seen == 1


async def test_simulation_writes_nothing_and_skips_the_erased(
    platform: Platform, service: Service, otherwise: Path
):
    case = await comes(platform, service)
    async with service.database.reading() as connection:
        before = await connection.fetchval("SELECT max(position) FROM events")
    keys = Database(platform.vault_url, "vault")
    async with keys.transaction() as tx:
        query = "DELETE FROM person_keys WHERE person_id = $1"
        await tx.execute(query, UUID(case["person_id"]))
    await keys.close()
    platform.vault._cache.clear()
    found = await simulated(platform, service, otherwise)
    assert (found.seen, found.erased, found.moved) == (1, 1, [])
    async with service.database.reading() as connection:
        assert await connection.fetchval("SELECT max(position) FROM events") == before


async def test_proposal_is_explained_as_json_and_in_french(
    platform: Platform, service: Service
):
    case = await comes(platform, service)
    path = f"/v1/proposals/{case['proposal_id']}/explanation"
    async with await client(service, "adviser") as http:
        referral = case["referrals"][0]["referral_id"]
        await http.post(f"/v1/referrals/{referral}/confirm")
        found = (await http.get(path)).json()
        text = await http.get(path, headers={"accept": "text/plain"})
        missing = await http.get(f"/v1/proposals/{uuid4()}/explanation")
    assert found["contribution"]["humans"][0]["did"] == "confirmed"
    assert found["rules"]["version"] == 1
    assert found["operations"][0]["name"] == "mission-locale"
    assert text.headers["content-type"].startswith("text/plain")
    assert "Vous avez entre 16 et 25 ans révolus." in text.text
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"


async def test_rules_are_public_and_old_ones_stay_readable(
    platform: Platform, service: Service, otherwise: Path
):
    await comes(platform, service)
    await publish(platform, service, otherwise)
    transport = httpx2.ASGITransport(service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
        now = (await http.get("/v1/rules")).json()
        answer = await http.get(f"/v1/rules/{handler.read(RULES).digest}")
        assert "immutable" in answer.headers["cache-control"]
        old = answer.json()
        none = await http.get(f"/v1/rules/{64 * '0'}")
    assert (now["name"], now["version"]) == ("travail-first", 2)
    assert (old["name"], old["version"]) == ("petite-foret", 1)
    rows = {row["name"]: row for row in old["tables"]["mission-locale"]["rows"]}
    assert rows["ml-age"]["source"] == "code du travail, L5314-2"
    assert none.status_code == 404
