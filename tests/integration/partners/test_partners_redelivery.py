"""Messages sent again: one or many, the same id, a reason each; never the past by itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from contracts.referrals import ReferralCancelled
from contracts.values import Reason
from tests.support.partners import CANARY, FIELDS, PARTNER, SERVICE, Hub, Sink, call, register

NOBODY = "00000000-0000-4000-8000-000000000000"
LONG_AGO = "2020-01-01T00:00:00Z"


async def failed(hub: Hub, sink: Sink, count: int = 1) -> list[Any]:
    """So many requests that the partner's endpoint refused for good."""
    sink.replies += [web.Response(status=410) for _ in range(count)]
    await register(hub, sink.url)
    referrals = [await hub.refer() for _ in range(count)]
    await hub.hear()
    await hub.turn()
    await hub.run_until(
        "SELECT 1 FROM deliveries HAVING count(*) FILTER (WHERE state = 'manual') = $1", count
    )
    await register(hub, sink.url)  # 410 disables an endpoint: the partner comes back
    return referrals


async def deliveries(hub: Hub) -> list[dict[str, Any]]:
    return await hub.rows("SELECT delivery_id, state, attempts FROM deliveries ORDER BY seq")


async def again(hub: Hub, **body: Any) -> Any:
    given = {"scope": "failed", "since": LONG_AGO, "reason": "panne"} | body
    return await call(hub, "POST", "/v1/deliveries/redeliver", json=given)


async def test_one_is_sent_again_under_its_id_with_the_reason_sealed(hub: Hub, sink: Sink):
    await failed(hub, sink)
    (dead,) = await deliveries(hub)
    path = f"/v1/deliveries/{dead['delivery_id']}/redeliver"
    answer = await call(hub, "POST", path, json={"reason": f"{CANARY} attend"})
    assert answer.status_code == 202
    await hub.turn()
    first, second = await sink.wait_for(2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) >= int(first.headers["webhook-timestamp"])
    assert first.body == second.body
    (event,) = await hub.events("delivery.redelivered")
    assert event["delivery_id"] == str(dead["delivery_id"])
    assert CANARY not in str(event)


async def test_delivered_message_may_be_asked_for_once_more(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    await hub.turn()
    await sink.wait_for(1)
    await hub.run_until("SELECT 1 FROM deliveries WHERE state = 'succeeded'")
    (done,) = await deliveries(hub)
    path = f"/v1/deliveries/{done['delivery_id']}/redeliver"
    assert (await call(hub, "POST", path, json={"reason": "perdu"})).status_code == 202
    await hub.turn()
    assert len(await sink.wait_for(2)) == 2


async def test_preview_counts_and_sends_nothing(hub: Hub, sink: Sink):
    await failed(hub, sink, 3)
    answer = await again(hub, preview=True)
    assert answer.json() == {"matching": 3, "redelivered": 0}
    assert {d["state"] for d in await deliveries(hub)} == {"manual"}
    assert await hub.events("delivery.redelivered") == []


async def test_what_failed_since_a_moment_is_sent_again(hub: Hub, sink: Sink):
    await failed(hub, sink, 3)
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert (await again(hub, since=later)).json()["redelivered"] == 0
    assert (await again(hub, partner_id="somebody-else")).json()["redelivered"] == 0
    assert (await again(hub, partner_id=PARTNER)).json()["redelivered"] == 3
    await hub.turn()
    assert len(await sink.wait_for(6)) == 6
    assert len(await hub.events("delivery.redelivered")) == 3


async def test_what_was_never_sent_for_want_of_an_address_counts_as_missing(
    hub: Hub, sink: Sink
):
    await hub.refer()
    await hub.hear()
    await register(hub, sink.url)
    assert (await again(hub)).json()["redelivered"] == 0
    assert (await again(hub, scope="missing")).json()["redelivered"] == 1
    await hub.turn()
    assert len(await sink.wait_for(1)) == 1


async def test_what_was_never_sent_is_disclosed_once_it_is_sent(hub: Hub, sink: Sink):
    await hub.refer()
    await hub.hear()
    await register(hub, sink.url)
    assert await hub.events("disclosure.made") == []
    await again(hub, scope="missing")
    (disclosed,) = await hub.events("disclosure.made")
    assert disclosed["fields"] == sorted(FIELDS)
    (row,) = await deliveries(hub)
    path = f"/v1/deliveries/{row['delivery_id']}/redeliver"
    await hub.turn()
    await call(hub, "POST", path, json={"reason": "perdu"})
    assert len(await hub.events("disclosure.made")) == 1


@pytest.mark.parametrize(
    ("given", "matching"),
    [
        ({"error": "http-410"}, 1),
        ({"error": "http-500"}, 0),
        ({"message": "referral.requested"}, 1),
        ({"message": "referral.cancelled"}, 0),
        ({"message": "referral.requested", "error": "http-410"}, 1),
    ],
)
async def test_error_class_and_type_of_message_narrow_the_choice(
    hub: Hub, sink: Sink, given: dict[str, str], matching: int
):
    await failed(hub, sink)
    assert (await again(hub, preview=True, **given)).json()["matching"] == matching
    assert (await again(hub, **given)).json()["redelivered"] == matching
    assert len(await hub.events("delivery.redelivered")) == matching


async def test_withdrawal_that_did_not_arrive_is_sent_again_after_the_referral_has_ended(
    hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    sink.replies = [web.Response(status=410)]
    await hub.withdraw(referral.person_id, referral.agreement_id)
    await hub.move(referral, ReferralCancelled, reason=Reason.AGREEMENT_WITHDRAWN)
    await hub.hear()
    await hub.turn()
    await register(hub, sink.url)
    answer = await again(hub, message="agreement.withdrawn")
    assert answer.json()["redelivered"] == 1
    (event,) = await hub.events("delivery.redelivered")
    assert event["message"] == "agreement.withdrawn"


async def test_address_that_is_registered_later_gets_nothing_of_the_past_by_itself(
    hub: Hub, sink: Sink
):
    await hub.refer()
    await hub.hear()
    await register(hub, sink.url)
    await hub.turn()
    assert sink.received == []


async def test_request_that_was_cancelled_is_not_sent_again(hub: Hub, sink: Sink):
    (referral,) = await failed(hub, sink)
    await hub.move(referral, ReferralCancelled, reason=Reason.OTHER)
    await hub.hear()
    (first, *_) = await deliveries(hub)
    path = f"/v1/deliveries/{first['delivery_id']}/redeliver"
    assert (await call(hub, "POST", path, json={"reason": "x"})).status_code == 404
    assert (await again(hub)).json()["matching"] == 0


async def test_request_sent_again_has_all_its_tries_again(hub: Hub, sink: Sink):
    sink.replies += [web.Response(status=500) for _ in range(4)]  # three retries
    await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    await hub.run_until("SELECT 1 FROM deliveries WHERE state = 'manual'")
    sink.replies += [web.Response(status=500) for _ in range(2)]
    assert (await again(hub)).json()["redelivered"] == 1
    await hub.run_until("SELECT 1 FROM deliveries WHERE state = 'succeeded'")
    assert len(sink.received) == 7


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"/v1/deliveries/{NOBODY}/redeliver", {"reason": "x"}, 404),
        (f"/v1/deliveries/{NOBODY}/redeliver", {}, 422),
        ("/v1/deliveries/redeliver", {"scope": "failed", "since": LONG_AGO}, 422),
        ("/v1/deliveries/redeliver", {"scope": "all", "since": LONG_AGO, "reason": "x"}, 422),
        ("/v1/deliveries/redeliver", {"scope": "failed", "reason": "x"}, 422),
        (
            "/v1/deliveries/redeliver",
            {"scope": "failed", "since": LONG_AGO, "reason": "x", "message": "hello"},
            422,
        ),
    ],
)
async def test_request_that_makes_no_sense_is_a_problem(
    hub: Hub, path: str, body: Any, status: int
):
    answer = await call(hub, "POST", path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_nobody_but_administrators_sends_again(hub: Hub):
    path = f"/v1/deliveries/{NOBODY}/redeliver"
    answer = await call(hub, "POST", path, json={"reason": "x"}, headers={})
    assert answer.status_code == 401
    assert SERVICE not in answer.text


async def test_delivery_that_waits_already_is_not_there_twice_and_says_so(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    (waiting,) = await deliveries(hub)
    assert waiting["state"] == "pending"
    path = f"/v1/deliveries/{waiting['delivery_id']}/redeliver"
    answer = await call(hub, "POST", path, json={"reason": "x"})
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("/delivery-pending")
    await hub.turn()
    assert len(sink.received) == 1
