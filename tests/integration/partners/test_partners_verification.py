"""An endpoint proves that it wants our messages before it gets the first real one."""

from datetime import timedelta
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

from infra.base.clock import system_clock
from tests.support.partners import (
    PARTNER,
    SERVICE,
    Hub,
    Sink,
    call,
    platform_at,
    problem,
)
from tests.support.postgres import Databases

STATE = "SELECT state, reason, verified_at, failures, open_until, per_minute FROM endpoints"


async def unproved(hub: Hub, url: str, **given: Any) -> dict[str, Any]:
    """Register an endpoint that has still to prove itself."""
    body = {"partner_id": PARTNER, "service_ids": [SERVICE], "url": url} | given
    answer = await call(hub, "POST", "/v1/endpoints", json=body)
    assert answer.status_code == 201, answer.text
    registered: dict[str, Any] = answer.json()
    return registered


async def test_endpoint_that_consents_is_verified_and_then_gets_what_waited(
    hub: Hub, sink: Sink
):
    sink.consent = {"webhook-allowed-origin": "hub.example"}
    endpoint = await unproved(hub, sink.url)
    await hub.refer()
    await hub.hear()
    await hub.turn()
    assert sink.received == []  # not before it is verified
    await hub.verify()
    await hub.turn()
    assert sink.asked == ["hub.example"]
    assert [r.json["type"] for r in sink.received] == ["referral.requested"]
    (verified,) = await hub.events("endpoint.verified")
    assert verified["endpoint_id"] == endpoint["endpoint_id"]


async def test_rate_that_an_endpoint_allows_is_kept_to(hub: Hub, sink: Sink):
    sink.consent = {"webhook-allowed-origin": "*", "webhook-allowed-rate": "90"}
    await unproved(hub, sink.url, per_minute=200)
    await hub.verify()
    (state,) = await hub.rows(STATE)
    assert state["per_minute"] == 90


async def test_endpoint_without_the_handshake_is_verified_by_a_signed_ping(
    hub: Hub, sink: Sink
):
    endpoint = await unproved(hub, sink.url)
    await hub.verify()
    (ping,) = sink.received
    message = Webhook(endpoint["secret"]).verify(ping.body, ping.headers)
    assert message["type"] == "endpoint.ping"
    assert message["data"]["endpoint_id"] == endpoint["endpoint_id"]
    (state,) = await hub.rows(STATE)
    assert state["verified_at"] is not None


async def test_consent_for_somebody_else_is_no_consent(hub: Hub, sink: Sink):
    sink.consent = {"webhook-allowed-origin": "other.example"}
    sink.replies = [web.Response(status=403)]
    await unproved(hub, sink.url)
    await hub.verify()
    (state,) = await hub.rows(STATE)
    assert (state["verified_at"], state["failures"]) == (None, 1)


async def test_page_of_a_firewall_is_no_proof(hub: Hub, sink: Sink):
    page = web.Response(text="<html>blocked</html>", content_type="text/html")
    sink.replies = [page]
    await unproved(hub, sink.url)
    await hub.verify()
    (state,) = await hub.rows(STATE)
    assert state["verified_at"] is None


async def test_endpoint_that_fails_is_asked_again_later_and_given_up_after_days(
    databases: Databases, sink: Sink
):
    now = system_clock()
    hub = Hub(platform_at(databases, clock=lambda: now))
    await hub.prepare()
    await unproved(hub, "http://127.0.0.1:9/hook")
    await hub.refer()
    await hub.hear()
    await hub.verify()
    (state,) = await hub.rows(STATE)
    assert state["open_until"] > now
    await hub.verify()
    assert (await hub.rows(STATE)) == [state]  # not asked again so soon
    now += timedelta(days=6)
    await hub.verify()
    (state,) = await hub.rows(STATE)
    assert (state["state"], state["reason"]) == ("disabled", "unverified")
    (manual,) = await hub.events("delivery.manual")
    assert manual["error"] == "endpoint-disabled"
    await hub.close()
    await hub.platform.close()


async def test_ping_says_what_became_of_it(hub: Hub, sink: Sink):
    endpoint = await unproved(hub, sink.url)
    path = f"/v1/endpoints/{endpoint['endpoint_id']}/ping"
    assert (await call(hub, "POST", path)).json() == {
        "outcome": "ok", "status": 204, "error": None,
    }  # fmt: skip
    sink.replies = [web.Response(status=503)]
    assert (await call(hub, "POST", path)).json() == {
        "outcome": "retry", "status": 503, "error": "http-503",
    }  # fmt: skip


async def test_ping_of_an_unknown_endpoint_is_not_found(hub: Hub):
    path = "/v1/endpoints/00000000-0000-0000-0000-000000000000/ping"
    answer = await call(hub, "POST", path)
    assert answer.status_code == 404
    assert answer.json()["type"] == problem("not-found", "", 404)["type"]


async def test_receiver_may_abort_one_message_by_a_header(hub: Hub, sink: Sink):
    sink.consent = {"webhook-allowed-origin": "*"}
    await unproved(hub, sink.url)
    await hub.verify()
    await hub.refer()
    await hub.hear()
    sink.replies = [web.Response(status=500, headers={"webhook-delivery": "abort-message"})]
    await hub.turn()
    (dead,) = await hub.events("delivery.dead-lettered")
    assert dead["error"] == "aborted-by-receiver"
    (state,) = await hub.rows(STATE)
    assert state["state"] == "active"


async def test_receiver_may_disable_its_endpoint_by_a_header(hub: Hub, sink: Sink):
    sink.consent = {"webhook-allowed-origin": "*"}
    await unproved(hub, sink.url)
    await hub.verify()
    await hub.refer()
    await hub.hear()
    sink.replies = [web.Response(status=200, headers={"webhook-delivery": "disable"})]
    await hub.turn()
    (state,) = await hub.rows(STATE)
    assert state["state"] == "disabled"
