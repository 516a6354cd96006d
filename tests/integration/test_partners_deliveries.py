"""Deliveries: from a referral's event to a partner's endpoint, whatever happens on the way."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import orjson
import pytest
from aiohttp import web
from sqlalchemy.engine import make_url
from standardwebhooks import Webhook

from contracts.referrals import ReferralCancelled, ReferralRequested
from contracts.values import Author, Reason
from contracts.webhooks import ReferralRequestedWebhook
from infra.clock import system_clock
from infra.eventstore.events import Meta
from infra.webhooks.guard import Guard, parse_networks
from infra.webhooks.signature import parse_secret
from infra.webhooks.worker import MAX_PER_ENDPOINT
from services.partners.app import build
from services.partners.handlers.endpoints import Endpoints
from services.partners.handlers.outbox import LEASE
from tests.support.partners import (
    CANARY,
    FIELDS,
    KEY,
    PARTNER,
    SERVICE,
    Hub,
    Sink,
    platform_of,
    sink_on_loopback,
)
from tests.support.postgres import Databases

STATE = "SELECT * FROM deliveries WHERE state = $1"


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with sink_on_loopback() as sink:
        yield sink


@pytest.fixture
async def hub(databases: Databases) -> AsyncIterator[Hub]:
    hub = Hub(platform_of(databases))
    await hub.prepare()
    yield hub
    await hub.close()
    await hub.platform.close()


async def register(hub: Hub, url: str, **given: Any) -> dict[str, Any]:
    body = {"partner_id": PARTNER, "service_ids": [SERVICE], "url": url} | given
    answer = await call(hub, "POST", "/v1/endpoints", json=body)
    assert answer.status_code == 201, answer.text
    registered: dict[str, Any] = answer.json()
    return registered


async def call(hub: Hub, method: str, path: str, **given: Any) -> httpx2.Response:
    transport = httpx2.ASGITransport(hub.service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as client:
        return await client.request(
            method, path, headers={"authorization": f"Bearer {KEY}"}, **given
        )


async def sent(hub: Hub, state: str = "succeeded") -> dict[str, Any]:
    """Run the service until a delivery has this state; answers its row."""
    (row,) = await hub.run_until(STATE, state)
    return row


async def test_request_reaches_the_partner_signed_with_the_agreed_fields_only(
    hub: Hub, sink: Sink
):
    endpoint = await register(hub, sink.url)
    referral = await hub.refer(urgent=True)
    await sent(hub)
    (received,) = sink.received
    Webhook(endpoint["secret"]).verify(received.body, received.headers)
    message = ReferralRequestedWebhook.model_validate_json(received.body)
    assert message.data.referral_id == referral.referral_id
    assert message.data.person == FIELDS
    assert message.data.urgent
    assert message.data.answer_url == "https://hub.example/v1/answers"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["traceparent"].startswith("00-")


async def test_disclosure_is_recorded_with_its_fields_and_the_digest_of_ciphertext(
    hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    (disclosure,) = await hub.events("disclosure.made")
    (event,) = await hub.rows("SELECT sealed FROM referrals.events WHERE sealed IS NOT NULL")
    assert disclosure["fields"] == sorted(FIELDS)
    assert disclosure["agreement_id"] == str(referral.agreement_id)
    assert disclosure["digest"] == hashlib.sha256(event["sealed"]).hexdigest()


async def test_delivery_that_failed_is_sent_again_under_the_same_id_with_the_same_body(
    hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    sink.replies = [web.Response(status=500), web.Response(status=503)]
    await hub.refer()
    row = await sent(hub)
    assert len({r.headers["webhook-id"] for r in sink.received}) == 1
    assert len({r.body for r in sink.received}) == 1
    assert len(sink.received) == row["attempts"] == 3
    (failed,) = await hub.events("delivery.failed")
    (succeeded,) = await hub.events("delivery.succeeded")
    assert failed["error"] == "http-500"
    assert succeeded["attempts"] == 3


async def test_delivery_is_given_up_when_the_schedule_ends(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    sink.replies = [web.Response(status=500) for _ in range(9)]
    await hub.refer()
    row = await sent(hub, "dead")
    (dead,) = await hub.events("delivery.dead-lettered")
    assert (len(sink.received), row["attempts"], row["last_error"]) == (4, 4, "http-500")
    assert (dead["attempts"], dead["error"]) == (4, "http-500")


async def test_endpoint_that_is_gone_is_disabled_and_what_waits_for_it_is_dead(
    hub: Hub, sink: Sink
):
    endpoint = await register(hub, sink.url)
    sink.replies = [web.Response(status=410)]
    await hub.refer()
    await sent(hub, "dead")
    (disabled,) = await hub.events("endpoint.disabled")
    assert disabled["endpoint_id"] == endpoint["endpoint_id"]
    assert disabled["reason"] == "gone"
    await hub.refer()
    await hub.hear()
    (manual,) = await hub.rows(STATE, "manual")
    assert manual["last_error"] == "no-endpoint"
    assert len(sink.received) == 1


async def test_pending_deliveries_of_a_gone_endpoint_are_buried_with_an_event_each(
    hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    first = await hub.refer()
    await hub.hear()
    later = await hub.refer()
    await hub.hear()
    async with hub.database.transaction() as tx:
        await tx.exec_driver_sql(
            "UPDATE deliveries SET next_attempt_at = now() + interval '1 day' "
            f"WHERE referral_id = '{later.referral_id}'"
        )
    sink.replies = [web.Response(status=410)]
    await hub.turn()
    errors = {
        UUID(dead["referral_id"]): dead["error"]
        for dead in await hub.events("delivery.dead-lettered")
    }
    assert errors == {first.referral_id: "http-410", later.referral_id: "endpoint-disabled"}


async def drained(hub: Hub) -> None:
    """Let what is being sent end, and record it."""
    await hub.worker._drain()


async def test_redirect_is_not_followed(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    async with sink_on_loopback() as other:
        sink.replies = [web.Response(status=302, headers={"location": other.url})]
        await hub.refer()
        await sent(hub)
        assert other.received == []
    (failed,) = await hub.events("delivery.failed")
    assert failed["error"] == "http-302"


async def test_network_that_is_no_longer_allowed_is_not_dialled(
    databases: Databases, hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    await hub.refer()
    strict = Hub(platform_of(databases, delivery_allowed_networks=""))
    row = await sent(strict, "dead")
    await strict.close()
    await strict.platform.close()
    assert row["last_error"] == "blocked-target"
    assert sink.received == []


async def test_message_sent_but_not_recorded_is_sent_again_with_the_same_id(
    databases: Databases, sink: Sink
):
    now = system_clock()
    hub = Hub(platform_of(databases, clock=lambda: now))
    await hub.prepare()
    await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    assert await hub.worker.step()
    await sink.wait_for(1)  # the process dies here: nothing was recorded
    await hub.worker._abandon()
    now += LEASE - timedelta(seconds=1)
    second = Hub(hub.platform)
    assert not await second.worker.step()
    now += timedelta(seconds=2)
    assert await second.worker.step()
    await sink.wait_for(2)
    await drained(second)
    assert len({r.headers["webhook-id"] for r in sink.received}) == 1
    (succeeded,) = await hub.events("delivery.succeeded")
    assert succeeded["attempts"] == 2
    for each in (hub, second):
        await each.worker._sender.close()
        await each.close()
    await hub.platform.close()


async def test_late_result_of_an_expired_lease_is_not_recorded(
    databases: Databases, sink: Sink
):
    now = system_clock()
    hub = Hub(platform_of(databases, clock=lambda: now))
    await hub.prepare()
    await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    sink.replies = [web.Response(status=500), web.Response(status=204)]
    assert await hub.worker.step()
    await sink.wait_for(1)
    now += LEASE + timedelta(seconds=1)
    second = Hub(hub.platform)
    assert await second.worker.step()
    await sink.wait_for(2)
    await drained(second)
    await drained(hub)
    (row,) = await hub.rows("SELECT state, last_status FROM deliveries")
    assert row == {"state": "succeeded", "last_status": 204}
    assert await hub.events("delivery.failed") == []
    for each in (hub, second):
        await each.worker._sender.close()
        await each.close()
    await hub.platform.close()


async def test_two_workers_share_the_deliveries_and_send_each_once(
    databases: Databases, hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    for _ in range(30):
        await hub.refer()
    await hub.hear()
    other = Hub(hub.platform)
    await asyncio.gather(hub.worker.step(), other.worker.step())
    await sink.wait_for(30)
    await drained(hub)
    await drained(other)
    await hub.worker._sender.close()
    await other.worker._sender.close()
    await other.close()
    assert len(sink.received) == 30
    assert len({r.headers["webhook-id"] for r in sink.received}) == 30
    assert len(await hub.events("delivery.succeeded")) == 30


async def test_events_heard_again_make_no_second_delivery_or_disclosure(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    await hub.subscription.rewind()
    await hub.hear()
    assert len(await hub.rows("SELECT 1 FROM deliveries")) == 1
    assert len(await hub.events("disclosure.made")) == 1


async def test_past_agreement_discloses_nothing(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    await hub.refer(agreed_until=date(2020, 1, 1))
    await hub.hear()
    (row,) = await hub.rows("SELECT state, last_error FROM deliveries")
    assert row == {"state": "cancelled", "last_error": "agreement-expired"}
    assert await hub.events("disclosure.made") == []


async def test_agreement_that_ends_before_a_retry_stops_it(databases: Databases, sink: Sink):
    now = system_clock()
    hub = Hub(platform_of(databases, clock=lambda: now))
    await hub.prepare()
    await register(hub, sink.url)
    await hub.refer(agreed_until=now.date())
    await hub.hear()
    now += timedelta(days=1)
    assert not await hub.worker.step()
    (row,) = await hub.rows("SELECT state, last_error FROM deliveries")
    assert row == {"state": "dead", "last_error": "agreement-expired"}
    assert sink.received == []
    await hub.close()
    await hub.platform.close()


async def test_erased_person_is_not_disclosed_and_stored_bodies_are_dead(
    databases: Databases, hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await destroy_key(databases, referral.person_id)
    fresh = Hub(platform_of(databases))
    assert not await fresh.worker.step()
    await fresh.close()
    await fresh.platform.close()
    (row,) = await hub.rows("SELECT state, last_error FROM deliveries")
    assert row == {"state": "dead", "last_error": "person-erased"}
    assert sink.received == []


async def destroy_key(databases: Databases, person_id: UUID) -> None:
    url = make_url(databases.vault_url).set(drivername="postgresql")
    raw = await asyncpg.connect(url.render_as_string(hide_password=False))
    await raw.execute("DELETE FROM vault.person_keys WHERE person_id = $1", person_id)
    await raw.close()


async def test_cancellation_before_the_first_send_sends_nothing(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.move(referral, ReferralCancelled, reason=Reason.CLIENT_DECLINED)
    await hub.hear()
    assert not await hub.worker.step()
    (row,) = await hub.rows("SELECT state, message FROM deliveries")
    assert row == {"state": "cancelled", "message": "referral.requested"}


async def test_cancellation_after_a_send_is_told_without_anything_of_the_person(
    hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    await hub.move(referral, ReferralCancelled, reason=Reason.CLIENT_DECLINED)
    await hub.hear()
    await hub.turn()
    told = sink.received[1].json
    assert told["type"] == "referral.cancelled"
    assert told["data"] == {
        "referral_id": str(referral.referral_id),
        "partner_id": PARTNER,
        "service_id": SERVICE,
        "reason": "client-declined",
    }


async def test_cancellation_does_not_overtake_a_request_that_is_being_sent(
    hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.worker.step()
    await hub.move(referral, ReferralCancelled, reason=Reason.CLIENT_DECLINED)
    await hub.hear()
    assert not await hub.worker.step()
    (row,) = await hub.rows(
        "SELECT next_attempt_at > now() + interval '30 seconds' AS later FROM deliveries "
        "WHERE message = 'referral.cancelled'"
    )
    assert row["later"]
    await drained(hub)
    await hub.worker._sender.close()
    states = {r["state"] for r in await hub.rows("SELECT state FROM deliveries")}
    assert states == {"succeeded", "pending"}


async def test_request_that_fails_after_its_cancellation_is_not_tried_again(
    hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    sink.replies = [web.Response(status=500)]
    await hub.worker.step()
    await hub.move(referral, ReferralCancelled, reason=Reason.CLIENT_DECLINED)
    await hub.hear()
    await drained(hub)
    await hub.worker._sender.close()
    (row,) = await hub.rows("SELECT state FROM deliveries WHERE message = 'referral.requested'")
    assert row["state"] == "cancelled"
    assert await hub.events("delivery.failed") == []


async def test_partner_who_cancelled_is_not_told_so(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    await hub.move(
        referral, ReferralCancelled, author=Author.PARTNER, reason=Reason.NO_CAPACITY
    )
    await hub.hear()
    assert len(await hub.rows("SELECT 1 FROM deliveries")) == 1


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


async def test_one_endpoint_that_hangs_does_not_hold_up_another(hub: Hub, sink: Sink):
    release = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response(status=204)

    other_service = f"{PARTNER}--mobilite"
    async with sink_on_loopback() as slow:
        slow.replies = [hang] * 200
        await register(hub, slow.url)
        await register(hub, sink.url, service_ids=[other_service])
        for _ in range(60):
            await hub.refer()
        await hub.refer(service_id=other_service)
        await hub.hear()
        async with hub.service.running():
            await hub.until(
                "SELECT 1 FROM deliveries WHERE state = 'succeeded' AND service_id = $1",
                other_service,
            )
            assert len(slow.received) <= MAX_PER_ENDPOINT
            release.set()
            await slow.wait_for(60)
        hub.service = build(hub.platform)


async def test_body_that_cannot_be_composed_is_dead_and_holds_nothing_up(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    broken, fine = await hub.refer(), await hub.refer()
    await hub.hear()
    async with hub.database.transaction() as tx:
        await tx.exec_driver_sql(
            "UPDATE deliveries SET sealed = sealed || '\\x00'::bytea "
            f"WHERE referral_id = '{broken.referral_id}'"
        )
    await hub.turn()
    rows = await hub.rows("SELECT referral_id, state, last_error FROM deliveries")
    assert {r["referral_id"]: (r["state"], r["last_error"]) for r in rows} == {
        broken.referral_id: ("dead", "not-composed"),
        fine.referral_id: ("succeeded", None),
    }


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


async def test_canary_is_in_no_table_of_the_partner_service_in_clear(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    sink.replies = [web.Response(status=500)]
    await hub.refer()
    await sent(hub)
    assert CANARY in sink.received[0].body.decode()
    tables = await hub.rows(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
        "WHERE schemaname = 'partners' AND tablename <> 'alembic_version'"
    )
    assert {"partners.deliveries", "partners.events"} <= {t["name"] for t in tables}
    for table in tables:
        for row in await hub.rows(f"SELECT t::text AS text FROM {table['name']} t"):
            assert CANARY not in row["text"]
            assert CANARY.encode().hex() not in row["text"]


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
            "title": "The content does not fit its schema",
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
    platform = platform_of(databases)
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
        guard=Guard(parse_networks("127.0.0.0/8")),
        clock=system_clock,
    )
    await endpoints.register(PARTNER, [], "http://127.0.0.1:9999/x", Meta("partner_admin:a"))
    (row,) = await hub.rows(
        "SELECT meta->>'actor' AS actor FROM events WHERE type LIKE '%endpoint.registered%'"
    )
    assert row["actor"] == "partner_admin:a"
