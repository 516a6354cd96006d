"""France Travail is registered with credentials, which are proved and never shown."""

from datetime import timedelta
from typing import Any

from infra.delivery.ssrf_guard import Guard
from tests.support.bureau import DESK, TRAVAIL, Bureau, bureau_of
from tests.support.france_travail import CLIENT, SECRET, FranceTravailSimulator, status
from tests.support.partners import PARTNER, Hub, call, platform_at
from tests.support.postgres import Databases

STATE = "SELECT state, reason, verified_at, failures, open_until FROM endpoints"
REFUSED = status(401, '{"error": "invalid_client"}')
IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"partner_id": PARTNER}, "channel"),
    ({"partner_id": "nobody"}, "partner_id"),
    ({"application": None}, "application"),
    ({"channel": "webhook"}, "application"),
    ({"channel": "email", "url": "mailto:a@b.example"}, "application"),
    ({"url": "http://10.0.0.1"}, "url"),
    ({"url": "https://user:word@api.example"}, "url"),
    ({"url": "ftp://api.example"}, "url"),
    ({"url": "http://127.0.0.1:9/?a=b"}, "url"),
    ({"application": {"auth_url": "http://169.254.169.254"}}, "application.auth_url"),
    ({"application": {"auth_url": "file:///etc/passwd"}}, "application.auth_url"),
    ({"application": {"auth_url": "http://127.0.0.1:9/?a"}}, "application.auth_url"),
    ({"application": {"client_id": "é"}}, "application.client_id"),
    ({"application": {"client_secret": ""}}, "application.client_secret"),
    ({"application": {"client_secret": "a b"}}, "application.client_secret"),
    ({"application": {"client_secret": "x" * 501}}, "application.client_secret"),
    ({"application": {"realm": "/agent"}}, "application.realm"),
    ({"application": {"agent": {"family_name": "日本"}}}, "application.agent"),
    ({"application": {"agent": {"given_name": ""}}}, "application.agent.given_name"),
    ({"service_ids": ["unknown"]}, "service_ids.0"),
]
NO_SCOPE = status(400, '{"error": "invalid_scope"}')


async def test_registered_endpoint_keeps_order_and_shows_no_secret(bureau: Bureau):
    answer = await bureau.registered()
    assert answer.status_code == 201
    shown = answer.json()
    assert (shown["channel"], shown["ordering"], shown["concurrency"]) == ("rest", "pathway", 4)
    listed = await call(bureau, "GET", "/v1/endpoints")
    (endpoint,) = listed.json()["endpoints"]
    assert (endpoint["channel"], endpoint["url"]) == ("rest", bureau.travail.url)
    for text in (answer.text, listed.text):
        assert SECRET not in text
        assert CLIENT not in text
        assert "application" not in text


async def test_credentials_are_sealed_in_the_tables(bureau: Bureau):
    await bureau.connect()
    rows = await bureau.rows(
        "SELECT t::text FROM endpoints t UNION ALL SELECT t::text FROM endpoint_secrets t "
        "UNION ALL SELECT t::text FROM events t"
    )
    stored = "\n".join(row["t"] for row in rows)
    assert rows
    assert SECRET not in stored
    assert SECRET.encode().hex() not in stored
    assert CLIENT not in stored


async def test_what_cannot_be_is_a_problem_that_names_the_field_and_quotes_nothing(
    bureau: Bureau,
):
    for given, field in IMPOSSIBLE:
        body = bureau.endpoint() | given
        if changed := given.get("application"):
            body["application"] = bureau.endpoint()["application"] | changed
        answer = await call(bureau, "POST", "/v1/endpoints", json=body)
        assert answer.status_code == 422, (field, answer.text)
        assert [error["field"] for error in answer.json()["errors"]] == [field]
        assert SECRET not in answer.text
    assert await bureau.rows(STATE) == []
    assert bureau.travail.calls == []


async def test_secret_that_is_left_out_is_named(bureau: Bureau):
    body = bureau.endpoint()
    del body["application"]["client_secret"]
    answer = await call(bureau, "POST", "/v1/endpoints", json=body)
    assert [e["field"] for e in answer.json()["errors"]] == ["application.client_secret"]


async def test_desk_without_an_address_makes_no_appointments(
    databases: Databases, simulator: FranceTravailSimulator
):
    async with bureau_of(databases, simulator, **dict.fromkeys(DESK)) as homeless:
        answer = await homeless.registered()
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["field"], "desk_address" in error["detail"]) == ("channel", True)


async def test_token_proves_the_credentials(bureau: Bureau):
    await bureau.connect()
    (asked,) = bureau.travail.calls
    assert (asked.path, asked.query) == (
        "/connexion/oauth2/access_token", {"realm": "/agent"},
    )  # fmt: skip
    (verified,) = await bureau.events("endpoint.verified")
    assert verified["partner_id"] == TRAVAIL


async def test_what_is_due_waits_for_the_proof_and_uses_up_no_attempts(bureau: Bureau):
    await bureau.registered()
    await bureau.asks()
    await bureau.turn()
    assert bureau.travail.calls == []
    await bureau.verify()
    await bureau.turn()
    (delivery,) = await bureau.rows("SELECT state, attempts FROM deliveries")
    assert delivery == {"state": "succeeded", "attempts": 1}


async def test_wrong_secret_is_no_proof_and_is_tried_again_later(bureau: Bureau):
    await bureau.registered(application={"client_secret": "wrong"})
    await bureau.verify()
    (state,) = await bureau.rows(STATE)
    assert (state["verified_at"], state["failures"]) == (None, 1)
    asked = len(bureau.travail.calls)
    await bureau.verify()
    assert len(bureau.travail.calls) == asked  # not so soon
    bureau.now = state["open_until"] + timedelta(seconds=1)
    await bureau.verify()
    assert len(bureau.travail.calls) > asked
    (state,) = await bureau.rows(STATE)
    assert (state["verified_at"], state["failures"]) == (None, 2)


async def test_proof_that_failed_for_a_while_succeeds_once_they_know_us(bureau: Bureau):
    bureau.travail.fail("access_token", REFUSED, times=2)  # for agents, and for offers
    await bureau.registered()
    await bureau.verify()
    (state,) = await bureau.rows(STATE)
    assert state["verified_at"] is None
    bureau.now = state["open_until"] + timedelta(seconds=1)
    await bureau.verify()
    (state,) = await bureau.rows(STATE)
    assert (state["verified_at"], state["failures"]) == (bureau.now, 0)


async def test_credentials_that_are_refused_for_days_are_given_up(bureau: Bureau):
    await bureau.registered(application={"client_secret": "wrong"})
    await bureau.asks()
    await bureau.verify()
    bureau.now += timedelta(days=6)
    await bureau.verify()
    (state,) = await bureau.rows(STATE)
    assert (state["state"], state["reason"]) == ("disabled", "unverified")
    (manual,) = await bureau.events("delivery.manual")
    assert manual["error"] == "endpoint-disabled"


async def test_application_that_may_only_search_offers_is_known_and_requests_go_elsewhere(
    bureau: Bureau, sink: Any
):
    bureau.travail.fail("access_token", NO_SCOPE)
    await bureau.connect()
    sink.consent = {"webhook-allowed-origin": "*"}
    await call(
        bureau, "POST", "/v1/endpoints",
        json={"partner_id": TRAVAIL, "url": sink.url, "rank": 1},
    )  # fmt: skip
    await bureau.verify()
    bureau.travail.fail("access_token", NO_SCOPE)
    await bureau.asks()
    await bureau.turn()
    await bureau.round()
    assert await bureau.moved_on() == [("rest", "webhook", "scope-refused")]
    assert len(sink.received) == 1


async def test_ping_says_whether_they_know_us_and_why_not(bureau: Bureau):
    endpoint = await bureau.connect()
    path = f"/v1/endpoints/{endpoint['endpoint_id']}/ping"
    assert (await call(bureau, "POST", path)).json() == {
        "outcome": "ok", "status": None, "error": None,
    }  # fmt: skip
    assert bureau.travail.count("access_token") == 2  # a new one, not the one that is kept
    bureau.travail.fail("access_token", REFUSED)
    answer = await call(bureau, "POST", path)
    assert answer.json() == {
        "outcome": "permanent", "status": 401, "error": "credentials-refused",
    }  # fmt: skip
    await bureau.clients.close()


async def test_new_credentials_take_over_what_waits(bureau: Bureau):
    await bureau.registered(application={"client_secret": "wrong"})
    await bureau.verify()
    await bureau.asks()
    await bureau.registered()
    await bureau.verify()
    await bureau.turn()
    assert len(bureau.travail.appointments) == 1
    states = await bureau.rows("SELECT state, reason FROM endpoints ORDER BY created_at")
    assert states == [
        {"state": "disabled", "reason": "superseded"}, {"state": "active", "reason": None},
    ]  # fmt: skip


async def test_address_that_leads_inside_is_not_dialled_later_either(
    bureau: Bureau, databases: Databases
):
    """DNS may say something else once the address was looked at."""
    await bureau.registered()
    closed = Hub(platform_at(databases, delivery_allowed_networks="", **DESK))
    assert closed.channels["rest"].context.clients._guard == Guard()
    await closed.verify()
    (state,) = await bureau.rows(STATE)
    assert (state["verified_at"], bureau.travail.calls) == (None, [])
    await closed.worker._sender.close()
    await closed.close()
    await closed.platform.close()
