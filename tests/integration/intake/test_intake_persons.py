"""One person through two systems: suspected, judged, merged, and taken apart again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx2
import orjson
import pytest

from contracts.public import PublicContact
from infra.platform import Platform
from infra.web.app import Service
from services.audit.app import build as build_audit
from services.intake.app import build
from services.intake.handlers import persons as persons_module
from services.intake.tables.persons import forget_persons
from tests.support.platform import client, drain

CANARY = "Zébulonneau"
DESK, LIBRARY = "https://front.example", "https://library.example"


class Town:
    """The intake and the audit, and two systems that emit."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.intake: Service = build(platform)
        self.audit: Service = build_audit(platform)

    async def comes(
        self, source: str, born: str | None = "2006-05-17", **identity: Any
    ) -> UUID:
        """A visitor; the identity as this system spells it."""
        facts = {"birth_date": {"value": born}} if born else {}
        known = {"ref": uuid4().hex, "identity": identity, "facts": facts}
        return await self.emit(source, known if identity else None)

    async def emit(self, source: str, person: Any) -> UUID:
        data: dict[str, Any] = {"mode": "walk-in"} | ({"person": person} if person else {})
        event = {
            "specversion": "1.0", "id": uuid4().hex, "source": source,
            "type": PublicContact.TYPE, "data": data,
        }  # fmt: skip
        async with await client(self.intake, "municipal", ["*"]) as http:
            answer = await http.post(
                "/v1/events",
                content=orjson.dumps(event),
                headers={"content-type": "application/cloudevents+json"},
            )
        assert answer.status_code == 202, answer.text
        await drain(self.intake)
        return UUID(answer.json()["person_id"])

    async def post(self, path: str, body: Any = None) -> httpx2.Response:
        async with await client(self.intake, "adviser") as http:
            return await http.post(path, json=body)

    async def suspicions(self) -> list[dict[str, Any]]:
        async with await client(self.intake, "adviser") as http:
            found: list[dict[str, Any]] = (await http.get("/v1/duplicates")).json()[
                "duplicates"
            ]
        return found

    async def events(self, kind: str) -> list[dict[str, Any]]:
        async with self.intake.database.reading() as connection:
            rows = await connection.fetch(
                "SELECT data::text AS data FROM events WHERE type LIKE $1 ORDER BY position",
                f"%person.{kind}.v1",
            )
        return [orjson.loads(row["data"]) for row in rows]

    async def pathway(self, person_id: UUID, **query: Any) -> dict[str, Any]:
        await drain(self.audit)
        async with await client(self.audit, "auditor") as http:
            answer = await http.get(f"/v1/persons/{person_id}/pathway", params=query)
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def town(platform: Platform) -> AsyncIterator[Town]:
    made = Town(platform)
    group = made.intake.workers[0]
    running = asyncio.create_task(group.run())
    yield made
    group.stop()
    await running
    await made.intake.stop()
    await made.audit.stop()


INES = {"family_name": "Dubrulle", "given_name": "Inès"}


async def test_same_person_through_two_systems_is_suspected_not_merged(town: Town):
    first = await town.comes(DESK, **INES)
    second = await town.comes(LIBRARY, family_name="DUBRULLE", given_name="ines")
    (found,) = await town.suspicions()
    assert (found["person_id"], found["other_id"]) == (str(second), str(first))
    assert found["matched_on"] == ["name-and-birth-date"]
    assert len(await town.events("duplicate-suspected")) == 1
    assert await town.events("merged") == []


@pytest.mark.parametrize(
    "other",
    [
        {"born": "2006-05-18", **INES},
        {"born": None, **INES},
        {"family_name": "Dubrulle", "given_name": "Inaya"},
        {},
    ],
)
async def test_unrelated_persons_are_not_suspected(town: Town, other: Any):
    await town.comes(DESK, **INES)
    await town.comes(LIBRARY, **other)
    assert await town.suspicions() == []


async def test_shared_phone_is_suspected_unless_many_share_it(
    town: Town, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(persons_module, "SHARED_BY_MANY", 2)
    await town.comes(DESK, family_name="A", given_name="B", phone="06 12 34 56 78")
    await town.comes(LIBRARY, family_name="C", given_name="D", phone="+33612345678")
    (found,) = await town.suspicions()
    assert found["matched_on"] == ["phone"]
    await town.comes(LIBRARY, family_name="E", given_name="F", phone="+33 (0)6/12/34/56/78")
    assert len(await town.suspicions()) == 1  # three share it: a hostel's


async def test_number_that_both_systems_state_merges_by_itself(town: Town):
    number = {"france_travail_number": "12345678901"}
    first = await town.comes(DESK, **INES, **number)
    second = await town.comes(LIBRARY, family_name="Dubrule", given_name="Ines", **number)
    (event,) = await town.events("merged")
    assert (event["person_id"], event["into"]) == (str(second), str(first))
    assert event["merged_by"] == "policy:agreed-identifier"
    assert await town.suspicions() == []


async def test_number_alone_does_not_merge_when_birth_dates_differ(town: Town):
    number = {"france_travail_number": "12345678901"}
    await town.comes(DESK, **INES, **number)
    await town.comes(LIBRARY, born="1980-01-01", family_name="X", given_name="Y", **number)
    assert await town.events("merged") == []


async def test_three_records_of_one_number_become_one_person(town: Town):
    number = {"france_travail_number": "12345678901"}
    ids = [await town.comes(DESK, **INES, **number) for _ in range(3)]
    assert len(await town.events("merged")) == 2
    assert (await town.pathway(ids[2]))["persons"] == sorted(map(str, ids))


async def test_dismissed_suspicion_stays_dismissed(town: Town):
    first = await town.comes(DESK, **INES)
    second = await town.comes(LIBRARY, **INES)
    pair = {"person_id": str(first), "other_id": str(second)}
    assert (await town.post("/v1/duplicates/dismiss", pair)).status_code == 204
    assert await town.suspicions() == []
    again = {"person_id": str(second), "identity": {**INES, "email": "i@example.org"}}
    await town.emit(LIBRARY, again)
    assert await town.suspicions() == []
    assert len(await town.events("duplicate-dismissed")) == 1


async def test_merged_persons_are_not_said_to_be_two_before_the_merge_is_taken_back(town: Town):
    first = await town.comes(DESK, **INES)
    second = await town.comes(LIBRARY, **INES)
    merge = {"into": str(first)}
    assert (await town.post(f"/v1/persons/{second}/merge", merge)).status_code == 200
    pair = {"person_id": str(first), "other_id": str(second)}
    assert (await town.post("/v1/duplicates/dismiss", pair)).status_code == 409
    assert (await town.post(f"/v1/persons/{second}/unmerge")).status_code == 200
    assert (await town.post("/v1/duplicates/dismiss", pair)).status_code == 204


async def test_merged_pathway_is_one_under_both_ids_and_two_before_and_after(town: Town):
    first = await town.comes(DESK, **INES)
    anonymous = await town.comes(LIBRARY)  # nobody asked for a name
    before = (await town.pathway(first))["at"]
    body = {"into": str(first), "reason": f"reconnue : {CANARY}"}
    merged = await town.post(f"/v1/persons/{anonymous}/merge", body)
    assert (merged.status_code, merged.json()["into"]) == (200, str(first))
    both = await town.pathway(anonymous)
    assert both["persons"] == sorted(map(str, (first, anonymous)))
    assert (await town.pathway(first))["timeline"] == both["timeline"]
    assert {item["person_id"] for item in both["timeline"]} == set(both["persons"])
    assert (await town.pathway(first, at=before))["persons"] == [str(first)]
    assert (await town.post(f"/v1/persons/{anonymous}/unmerge")).status_code == 200
    assert (await town.pathway(first))["persons"] == [str(first)]
    assert CANARY not in str(await town.pathway(anonymous))


async def test_merges_that_make_no_sense_are_refused(town: Town):
    first, second = await town.comes(DESK, **INES), await town.comes(LIBRARY, **INES)
    third = await town.comes(LIBRARY)
    merge = f"/v1/persons/{second}/merge"
    assert (await town.post(merge, {"into": str(first)})).status_code == 200
    for path, body, status in (
        (merge, {"into": str(third)}, 409),  # already part of another
        (f"/v1/persons/{first}/merge", {"into": str(second)}, 409),  # a circle
        (f"/v1/persons/{third}/merge", {"into": str(third)}, 409),
        (f"/v1/persons/{third}/unmerge", None, 409),
        (f"/v1/persons/{uuid4()}/merge", {"into": str(first)}, 404),
        (merge, {"into": "nobody"}, 422),
        ("/v1/duplicates/dismiss", {"person_id": str(first), "other_id": str(third)}, 404),
    ):
        refused = await town.post(path, body)
        assert refused.status_code == status, path
        assert refused.headers["content-type"] == "application/problem+json"
    assert len(await town.events("merged")) == 1


async def test_of_two_merges_in_opposite_directions_one_wins(town: Town):
    first, second = await town.comes(DESK, **INES), await town.comes(LIBRARY)
    async with await client(town.intake, "adviser") as http:
        answers = await asyncio.gather(
            http.post(f"/v1/persons/{first}/merge", json={"into": str(second)}),
            http.post(f"/v1/persons/{second}/merge", json={"into": str(first)}),
        )
    assert sorted(a.status_code for a in answers) == [200, 409]


async def test_index_holds_nothing_in_clear_and_is_forgotten(town: Town):
    person_id = await town.comes(
        DESK, family_name=CANARY, given_name="Inès", phone="0612345678", email="z@example.org"
    )
    async with town.intake.database.reading() as connection:
        rows = [
            r["t"] for r in await connection.fetch("SELECT t::text AS t FROM person_index t")
        ]
    assert len(rows) == 3
    text = "".join(rows).lower()
    for clear in (CANARY, "zebulonneau", "612345678", "example"):
        assert clear.lower() not in text
        assert clear.encode().hex() not in text
    async with town.intake.database.transaction() as tx:
        await forget_persons(tx, [person_id])
        assert await tx.fetchval("SELECT count(*) FROM person_index") == 0


@pytest.mark.parametrize("role", ["municipal", "auditor"])
async def test_only_advisers_judge_persons(town: Town, role: str):
    async with await client(town.intake, role) as http:
        assert (await http.get("/v1/duplicates")).status_code == 403
