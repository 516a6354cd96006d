"""Deliveries: from a referral's event to a partner's endpoint, whatever happens on the way."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from aiohttp import web
from standardwebhooks import Webhook

from contracts.webhooks import ReferralRequestedWebhook
from infra.base.clock import system_clock
from services.partners.app import build
from services.partners.handlers.delivery_queue import LEASE
from services.partners.model.delivery import MAX_PER_ENDPOINT
from tests.support.partners import (
    FIELDS,
    PARTNER,
    Hub,
    Sink,
    platform_at,
    register,
    sink_on_loopback,
)
from tests.support.postgres import Databases

STATE = "SELECT * FROM deliveries WHERE state = $1"


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


async def test_delivery_is_left_to_an_adviser_when_the_schedule_ends(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    sink.replies = [web.Response(status=500) for _ in range(9)]
    await hub.refer()
    row = await sent(hub, "manual")
    (manual,) = await hub.events("delivery.manual")
    assert (len(sink.received), row["attempts"], row["last_error"]) == (4, 4, "http-500")
    assert (manual["from_channel"], manual["error"]) == ("webhook", "http-500")
    assert await hub.events("delivery.dead-lettered") == []


async def test_endpoint_that_is_gone_is_disabled_and_what_comes_later_has_no_address(
    hub: Hub, sink: Sink
):
    endpoint = await register(hub, sink.url)
    sink.replies = [web.Response(status=410)]
    await hub.refer()
    await sent(hub, "manual")
    (disabled,) = await hub.events("endpoint.disabled")
    assert disabled["endpoint_id"] == endpoint["endpoint_id"]
    assert disabled["reason"] == "gone"
    await hub.refer()
    await hub.hear()
    errors = [row["last_error"] for row in await hub.rows(f"{STATE} ORDER BY seq", "manual")]
    assert errors == ["http-410", "no-endpoint"]
    assert len(sink.received) == 1


async def test_pending_deliveries_of_a_gone_endpoint_go_to_an_adviser_with_an_event_each(
    hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    first = await hub.refer()
    await hub.hear()
    later = await hub.refer()
    await hub.hear()
    async with hub.database.transaction() as tx:
        await tx.execute(
            "UPDATE deliveries SET next_attempt_at = now() + interval '1 day' "
            f"WHERE referral_id = '{later.referral_id}'"
        )
    sink.replies = [web.Response(status=410)]
    await hub.turn()
    errors = {
        UUID(manual["referral_id"]): manual["error"]
        for manual in await hub.events("delivery.manual")
    }
    assert errors == {first.referral_id: "http-410", later.referral_id: "endpoint-disabled"}


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
    strict = Hub(platform_at(databases, delivery_allowed_networks=""))
    row = await sent(strict, "manual")
    await strict.close()
    await strict.platform.close()
    assert row["last_error"] == "blocked-target"
    assert sink.received == []


async def test_message_sent_but_not_recorded_is_sent_again_with_the_same_id(
    databases: Databases, sink: Sink
):
    now = system_clock()
    hub = Hub(platform_at(databases, clock=lambda: now))
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
    await second.worker._drain()
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
    hub = Hub(platform_at(databases, clock=lambda: now))
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
    await second.worker._drain()
    await hub.worker._drain()
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
    await hub.worker._drain()
    await other.worker._drain()
    await hub.worker._sender.close()
    await other.worker._sender.close()
    await other.close()
    assert len(sink.received) == 30
    assert len({r.headers["webhook-id"] for r in sink.received}) == 30
    assert len(await hub.events("delivery.succeeded")) == 30


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
        await tx.execute(
            "UPDATE deliveries SET sealed = sealed || '\\x00'::bytea "
            f"WHERE referral_id = '{broken.referral_id}'"
        )
    await hub.turn()
    rows = await hub.rows("SELECT referral_id, state, last_error FROM deliveries")
    assert {r["referral_id"]: (r["state"], r["last_error"]) for r in rows} == {
        broken.referral_id: ("dead", "not-composed"),
        fine.referral_id: ("succeeded", None),
    }
