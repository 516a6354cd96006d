"""Offers of employment for advisers, with the credentials that are registered."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from infra.web.auth import create_key
from tests.support.bureau import TRAVAIL, Bureau
from tests.support.france_travail import offer, status
from tests.support.partners import KEY, call

ADVISER = {"authorization": "Bearer agk_test-adviser"}
PATH = "/v1/offers?commune=59459"
IMPOSSIBLE = [
    ("", "commune"),
    ("commune=59494x", "commune"),
    ("commune=Petite-For%C3%AAt", "commune"),
    ("commune=59459&kilometres=201", "kilometres"),
    ("commune=59459&kilometres=-1", "kilometres"),
    ("commune=59459&rome=cuisinier", "rome.0"),
    ("commune=59459&" + "&".join(f"rome=A{n:04d}" for n in range(11)), "rome"),
]
FAILURES: list[tuple[str, Any, int, str, str | None]] = [
    ("search", status(429, **{"Retry-After": "30"}), 429, "too-many-searches", "30"),
    ("search", status(503, **{"Retry-After": "7"}), 503, "france-travail-away", "7"),
    ("search", status(500), 503, "france-travail-away", "5"),
    ("search", status(403), 502, "france-travail-refuses", None),
    ("search", status(400), 502, "france-travail-refuses", None),
    ("access_token", status(401), 502, "france-travail-refuses", None),
    ("access_token", status(503), 503, "france-travail-away", "5"),
]


@pytest.fixture
async def advised(bureau: Bureau) -> Bureau:
    """An adviser has a key."""
    async with bureau.database.transaction() as tx:
        await create_key(tx, "anne", "adviser", key="agk_test-adviser")
    return bureau


async def search(bureau: Bureau, path: str = PATH, **given: Any) -> httpx2.Response:
    return await call(bureau, "GET", path, headers=ADVISER, **given)


async def test_offers_around_a_commune_are_shown_to_advisers(advised: Bureau):
    await advised.connect()
    advised.travail.offers = [offer(1), offer(2, romeCode="K1303"), offer(3, romeCode="G1602")]
    advised.travail.calls.clear()
    path = "/v1/offers?commune=59459&kilometres=20&rome=K1303&rome=M1602"
    answer = await search(advised, path)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["total"], found["complete"]) == (2, True)
    assert [o["id"] for o in found["offers"]] == ["0000001", "0000002"]
    assert found["offers"][0] == {
        "id": "0000001",
        "title": "Employé administratif / Employée administrative n° 1",
        "rome": "M1602",
        "trade": "Opérations administratives",
        "contract": "CDD - 6 Mois",
        "employer": "Mairie",
        "place": "59 - Petite-Forêt",
        "commune": "59459",
        "created_at": "2026-11-20T14:01:33Z",
        "positions": 1,
        "url": "https://offres.example/1",
    }
    token, asked = advised.travail.calls
    assert token.query == {"realm": "/partenaire"}
    assert asked.query == {
        "commune": "59459", "distance": "20", "codeROME": "K1303,M1602", "range": "0-149",
    }  # fmt: skip


async def test_no_more_than_three_pages_are_read(advised: Bureau):
    await advised.connect()
    advised.travail.offers = [offer(number) for number in range(600)]
    found = (await search(advised)).json()
    assert (len(found["offers"]), found["total"], found["complete"]) == (450, 600, False)


async def test_same_search_is_asked_once_in_five_minutes(advised: Bureau):
    await advised.connect()
    advised.travail.offers = [offer(1)]
    first = await search(advised, f"{PATH}&rome=M1602&rome=K1303")
    again = await search(advised, f"{PATH}&rome=K1303&rome=M1602&rome=M1602")
    assert first.json() == again.json()
    assert advised.travail.count("search") == 1
    await search(advised, f"{PATH}&kilometres=11")
    assert advised.travail.count("search") == 2
    advised.now += timedelta(minutes=5)
    await search(advised, f"{PATH}&rome=M1602&rome=K1303")
    assert advised.travail.count("search") == 3


async def test_search_that_makes_no_sense_is_refused_by_its_field(advised: Bureau):
    await advised.connect()
    for query, field in IMPOSSIBLE:
        answer = await search(advised, f"/v1/offers?{query}")
        assert answer.status_code == 422, query
        assert answer.json()["errors"][0]["field"] == field
    assert advised.travail.count("search") == 0


async def test_without_credentials_there_are_no_offers(advised: Bureau):
    answer = await search(advised)
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("/no-credentials")


async def test_offers_are_for_advisers(advised: Bureau):
    administrator = {"authorization": f"Bearer {KEY}"}
    assert (await call(advised, "GET", PATH, headers={})).status_code == 401
    assert (await call(advised, "GET", PATH, headers=administrator)).status_code == 403


async def test_application_that_may_not_make_appointments_may_search(advised: Bureau):
    advised.travail.fail("access_token", status(400, '{"error": "invalid_scope"}'))
    await advised.connect()
    advised.travail.offers = [offer(1)]
    assert (await search(advised)).json()["total"] == 1


async def test_what_france_travail_does_is_a_problem_of_its_own(advised: Bureau):
    await advised.connect()
    for where, reply, expected, slug, wait in FAILURES:
        advised.travail.revoke()
        advised.travail.fail(where, reply)
        answer = await search(advised)
        assert (answer.status_code, answer.headers.get("retry-after")) == (expected, wait)
        assert answer.json()["type"].endswith(f"/{slug}")
    advised.travail.offers = [offer(1)]
    assert (await search(advised)).json()["total"] == 1  # a failure is not remembered


async def test_searches_at_once_are_bounded(advised: Bureau):
    await advised.connect()
    advised.travail.token_delay = 0.3
    paths = [f"{PATH}&kilometres={number}" for number in range(6)]
    answers = await asyncio.gather(*(search(advised, path) for path in paths))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 3


async def test_credentials_of_an_address_that_is_disabled_are_not_used(advised: Bureau):
    await advised.connect()
    async with advised.database.transaction() as tx:
        disable = "UPDATE endpoints SET state = 'disabled' WHERE partner_id = $1"
        assert await tx.execute(disable, TRAVAIL) == "UPDATE 1"
    assert (await search(advised)).status_code == 404
