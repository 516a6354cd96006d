"""What is disclosed to a partner, until when, and how it is taken back."""

import hashlib
from datetime import date, timedelta
from typing import Any

from aiohttp import web

from contracts.referrals import ReferralCancelled
from contracts.values import Author, Reason
from infra.base.clock import system_clock
from tests.support.partners import (
    CANARY,
    FIELDS,
    PARTNER,
    SERVICE,
    Hub,
    Sink,
    destroy_key,
    platform_at,
    register,
)
from tests.support.postgres import Databases

STATE = "SELECT * FROM deliveries WHERE state = $1"


async def sent(hub: Hub, state: str = "succeeded") -> dict[str, Any]:
    """Run the service until a delivery has this state; answers its row."""
    (row,) = await hub.run_until(STATE, state)
    return row


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
    hub = Hub(platform_at(databases, clock=lambda: now))
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
    fresh = Hub(platform_at(databases))
    assert not await fresh.worker.step()
    await fresh.close()
    await fresh.platform.close()
    (row,) = await hub.rows("SELECT state, last_error FROM deliveries")
    assert row == {"state": "dead", "last_error": "person-erased"}
    assert sink.received == []


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
        "SELECT next_attempt_at > now() + interval '15 seconds' AS later FROM deliveries "
        "WHERE message = 'referral.cancelled'"
    )
    assert row["later"]
    await hub.worker._drain()
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
    await hub.worker._drain()
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
