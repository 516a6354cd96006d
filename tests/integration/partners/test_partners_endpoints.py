"""Endpoints and the list of deliveries, for administrators."""

from uuid import uuid4

import orjson
import pytest
from standardwebhooks import Webhook

from contracts.referrals import ReferralRequested
from infra.base.clock import system_clock
from infra.delivery.webhook.signature import parse_secret
from infra.eventstore.events import EventMetadata
from infra.web import throttle
from infra.web.auth import create_key
from services.partners.channels.base import Address
from services.partners.handlers.endpoints import Endpoints
from tests.support.partners import (
    PARTNER,
    SERVICE,
    Desk,
    Hub,
    Sink,
    call,
    platform_at,
    register,
)
from tests.support.postgres import Databases


async def test_replaced_endpoint_hands_its_deliveries_to_the_new_one(hub: Hub, sink: Sink):
    old = await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    new = await register(hub, sink.url)
    await hub.turn()
    (received,) = sink.received
    Webhook(new["secret"]).verify(received.body, received.headers)
    assert parse_secret(old["secret"]) != parse_secret(new["secret"])
    listed = (await call(hub, "GET", "/v1/endpoints")).json()["endpoints"]
    assert [(e["endpoint_id"], e["state"]) for e in listed] == [
        (old["endpoint_id"], "disabled"),
        (new["endpoint_id"], "active"),
    ]


async def test_deliveries_are_listed_by_page_and_filter_without_the_person(
    hub: Hub, sink: Sink
):
    referrals: list[ReferralRequested] = [await hub.refer() for _ in range(3)]
    await hub.hear()
    page = (await call(hub, "GET", "/v1/deliveries?limit=2&state=manual")).json()
    rest = (await call(hub, "GET", f"/v1/deliveries?limit=2&after={page['next']}")).json()
    listed = [d["referral_id"] for d in page["deliveries"] + rest["deliveries"]]
    assert listed == [str(r.referral_id) for r in referrals]
    assert rest["next"] is None
    text = orjson.dumps(page).decode()
    assert "person" not in text
    only = (await call(hub, "GET", f"/v1/deliveries?referral_id={listed[1]}")).json()
    assert [d["referral_id"] for d in only["deliveries"]] == [listed[1]]
    assert only["deliveries"][0]["state"] == "manual"


async def test_endpoint_is_registered_only_for_known_partners_services_and_safe_urls(hub: Hub):
    good = {"partner_id": PARTNER, "service_ids": [SERVICE], "url": "http://127.0.0.1:9999/x"}
    cases = [
        ({"partner_id": "nobody"}, "partner_id", "no such partner in the directory"),
        ({"service_ids": ["none"]}, "service_ids.0", "no such service of this partner"),
        (
            {"url": "https://10.0.0.1/x"},
            "url",
            "the address is not one that deliveries may reach",
        ),
        ({"url": "ftp://127.0.0.1/x"}, "url", "give an absolute https URL"),
        (
            {"url": "https://me:secret@127.0.0.1/"},
            "url",
            "a URL must not hold a user name or password",
        ),
    ]
    for change, field, detail in cases:
        answer = await call(hub, "POST", "/v1/endpoints", json=good | change)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {
            "type": "https://aiguillage.fr/problems/invalid",
            "title": "The request is not valid",
            "status": 422,
            "errors": [{"field": field, "detail": detail}],
        }
    assert await hub.rows("SELECT 1 FROM endpoints") == []
    assert await hub.events("endpoint.registered") == []


async def test_secret_is_stored_wrapped_and_shown_once(hub: Hub):
    endpoint = await register(hub, "http://127.0.0.1:9999/x")
    (row,) = await hub.rows("SELECT wrapped FROM endpoint_secrets")
    assert parse_secret(endpoint["secret"]) not in row["wrapped"]
    listed = await call(hub, "GET", "/v1/endpoints")
    assert endpoint["secret"] not in listed.text


async def test_service_starts_without_its_database(databases: Databases):
    platform = platform_at(databases)
    platform.database_url = "postgresql://nobody@127.0.0.1:1/none"
    hub = Hub(platform)
    async with hub.service.running():
        assert (await call(hub, "GET", "/livez")).status_code == 200
        assert (await call(hub, "GET", "/readyz")).status_code == 503
    await hub.referrals.close()
    await platform.close()


async def test_registering_names_who_did_it(hub: Hub):
    endpoints = Endpoints(
        hub.database,
        hub.platform.writer("partners"),
        clock=system_clock,
        channels=hub.channels,
    )
    await endpoints.register(
        Address(PARTNER, [], "http://127.0.0.1:9999/x"), EventMetadata("partner_admin:a")
    )
    (row,) = await hub.rows(
        "SELECT meta->>'actor' AS actor FROM events WHERE type LIKE '%endpoint.registered%'"
    )
    assert row["actor"] == "partner_admin:a"


async def test_keys_are_asked_for_on_every_administrators_route(desk: Desk):
    for path in ("/v1/endpoints", "/v1/deliveries", "/v1/partners", "/v1/services"):
        assert (await call(desk.hub, "GET", path, headers={})).status_code == 401
        wrong = {"authorization": "Bearer agk_nobody"}
        assert (await call(desk.hub, "GET", path, headers=wrong)).status_code == 401


async def test_renewed_secret_signs_beside_the_old_one_until_that_runs_out(
    hub: Hub, sink: Sink
):
    first = await register(hub, sink.url)
    path = f"/v1/endpoints/{first['endpoint_id']}/rotate"
    second = (await call(hub, "POST", path)).json()
    assert second["secret"] != first["secret"]
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    (message,) = await sink.wait_for(1)
    for secret in (first["secret"], second["secret"]):
        Webhook(secret).verify(message.body, message.headers)
    desk = Desk(hub, first["secret"], referral)
    assert (await desk.answer("accepted", "m1")).status_code == 202
    async with hub.database.transaction() as tx:
        await tx.execute(
            "UPDATE endpoint_secrets SET expires_at = now() WHERE expires_at IS NOT NULL"
        )
    assert (await desk.answer("in-progress", "m2")).status_code == 401
    renewed = Desk(hub, second["secret"], referral)
    assert (await renewed.answer("in-progress", "m3")).status_code == 202
    (event,) = await hub.events("endpoint.secret-rotated")
    assert "secret" not in event


async def test_secret_of_no_endpoint_is_not_renewed(hub: Hub):
    answer = await call(hub, "POST", f"/v1/endpoints/{uuid4()}/rotate")
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("/not-found")


async def test_many_bad_keys_are_told_to_wait_and_a_good_one_beside_them_passes(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(throttle, "EVERY_SECONDS", 3600)
    codes = []
    for n in range(25):
        headers = {"authorization": f"Bearer agk_wrong{n}"}
        answer = await call(hub, "GET", "/v1/endpoints", headers=headers)
        codes.append(answer.status_code)
    assert codes == [401] * 20 + [429] * 5
    assert int(answer.headers["retry-after"]) >= 1
    async with hub.database.transaction() as tx:
        key = await create_key(tx, "just-made", "partner_admin")
    fresh = {"authorization": f"Bearer {key}"}
    assert (await call(hub, "GET", "/v1/endpoints", headers=fresh)).status_code == 200
