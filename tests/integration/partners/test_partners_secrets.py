"""Secrets of endpoints: renewed with an overlap or without, ended, and never too many."""

import asyncio
import base64
from typing import Any
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook
from svix.webhooks import Webhook as Svix

from tests.support.partners import PARTNER, Desk, Hub, Received, Sink, call, register


async def rotate(hub: Hub, endpoint: dict[str, Any], query: str = "") -> dict[str, Any]:
    answer = await call(hub, "POST", f"/v1/endpoints/{endpoint['endpoint_id']}/rotate{query}")
    assert answer.status_code == 201, answer.text
    renewed: dict[str, Any] = answer.json()
    return renewed


async def disable(hub: Hub, endpoint: dict[str, Any]) -> None:
    path = f"/v1/endpoints/{endpoint['endpoint_id']}/disable"
    assert (await call(hub, "POST", path)).status_code == 204


def verify_ed25519(public_key: str, message: Received) -> None:
    """As a partner would, by hand; raises ``InvalidSignature``."""
    names = ("webhook-id", "webhook-timestamp")
    signed = ".".join(message.headers[name] for name in names).encode() + b"." + message.body
    given = next(s for s in message.headers["webhook-signature"].split() if s[:4] == "v1a,")
    raw = base64.b64decode(public_key.removeprefix("whpk_"))
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(given[4:]), signed)


async def delivered(hub: Hub, sink: Sink) -> Desk:
    endpoint = await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    await sink.wait_for(1)
    return Desk(hub, endpoint["secret"], referral)


async def test_old_secret_counts_no_more_where_it_is_renewed_without_overlap(
    hub: Hub, sink: Sink
):
    desk = await delivered(hub, sink)
    (listed,) = (await call(hub, "GET", "/v1/endpoints")).json()["endpoints"]
    renewed = await rotate(hub, listed, "?overlap=0")
    assert (await desk.answer("accepted", "m1")).status_code == 401
    desk.secret = renewed["secret"]
    assert (await desk.answer("accepted", "m2")).status_code == 202
    await hub.refer()
    await hub.hear()
    await hub.turn()
    message = (await sink.wait_for(2))[-1]
    Webhook(renewed["secret"]).verify(message.body, message.headers)
    assert len(message.headers["webhook-signature"].split()) == 1


async def test_overlap_already_promised_is_cut_short_by_a_renewal_without_one(
    hub: Hub, sink: Sink
):
    desk = await delivered(hub, sink)
    (listed,) = (await call(hub, "GET", "/v1/endpoints")).json()["endpoints"]
    await rotate(hub, listed)
    await rotate(hub, listed, "?overlap=0")
    assert (await desk.answer("accepted", "m1")).status_code == 401


async def test_ed25519_key_is_renewed_with_the_secret(hub: Hub, sink: Sink):
    first = await register(hub, sink.url, asymmetric=True)
    second = await rotate(hub, first)
    third = await rotate(hub, first, "?overlap=0")
    assert len({e["public_key"] for e in (first, second, third)}) == 3
    await hub.refer()
    await hub.hear()
    await hub.turn()
    (message,) = await sink.wait_for(1)
    Svix(third["secret"]).verify(message.body, message.headers)
    signatures = message.headers["webhook-signature"].split()
    assert sorted(s.partition(",")[0] for s in signatures) == ["v1", "v1a"]
    verify_ed25519(third["public_key"], message)
    with pytest.raises(InvalidSignature):
        verify_ed25519(second["public_key"], message)


async def test_renewals_beyond_a_handful_that_still_count_are_refused(hub: Hub):
    endpoint = await register(hub, "http://127.0.0.1:9999/x")
    for _ in range(4):
        await rotate(hub, endpoint)
    path = f"/v1/endpoints/{endpoint['endpoint_id']}/rotate"
    refused = await call(hub, "POST", path)
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("/too-many-secrets")
    await rotate(hub, endpoint, "?overlap=0")
    await rotate(hub, endpoint)
    (count,) = await hub.rows("SELECT count(*) AS n FROM endpoint_secrets")
    assert count["n"] == 2


async def test_secret_of_another_address_is_taken_however_many_there_are(hub: Hub, sink: Sink):
    desk = await delivered(hub, sink)
    for number in range(25):
        await register(hub, f"http://127.0.0.1:9999/{number}")
    assert (await desk.answer("accepted", "m1")).status_code == 202


async def test_disabled_address_gets_nothing_and_its_secret_verifies_nothing(
    hub: Hub, sink: Sink
):
    desk = await delivered(hub, sink)
    (endpoint,) = (await call(hub, "GET", "/v1/endpoints")).json()["endpoints"]
    await disable(hub, endpoint)
    assert (await desk.answer("accepted", "m1")).status_code == 401
    await hub.refer()
    await hub.hear()
    await hub.turn()
    assert len(sink.received) == 1
    states = await hub.rows("SELECT state FROM deliveries ORDER BY seq")
    assert [row["state"] for row in states] == ["succeeded", "manual"]
    (event,) = await hub.events("endpoint.disabled")
    assert event["reason"] == "by-operator"
    again = await call(hub, "POST", f"/v1/endpoints/{endpoint['endpoint_id']}/disable")
    assert again.status_code == 404


async def test_what_waited_for_a_disabled_address_takes_the_next_channel(hub: Hub):
    endpoint = await register(hub, "http://127.0.0.1:9999/x")
    await hub.refer()
    await hub.hear()
    await disable(hub, endpoint)
    (row,) = await hub.rows("SELECT state FROM deliveries")
    assert row["state"] == "manual"


async def test_partner_disables_its_own_address_and_no_other(hub: Hub):
    endpoint = await register(hub, "http://127.0.0.1:9999/x")
    keys = [
        (await call(hub, "POST", f"/v1/partners/{partner}/keys", json={"name": "own"})).json()
        for partner in ("petite-foret--plie", PARTNER)
    ]
    path = f"/v1/partner/endpoints/{endpoint['endpoint_id']}/disable"
    stranger, owner = ({"authorization": f"Bearer {key['key']}"} for key in keys)
    assert (await call(hub, "POST", path, headers=stranger)).status_code == 404
    assert (await call(hub, "POST", path, headers=owner)).status_code == 204
    (row,) = await hub.rows("SELECT reason FROM endpoints")
    assert row["reason"] == "by-partner"


async def test_secret_of_an_address_that_the_hub_disabled_ends_after_a_day(
    hub: Hub, sink: Sink
):
    desk = await delivered(hub, sink)
    replaced = await register(hub, sink.url)
    rows = await hub.rows("SELECT endpoint_id, expires_at FROM endpoint_secrets")
    ends = {row["endpoint_id"]: row["expires_at"] for row in rows}
    assert ends.pop(UUID(replaced["endpoint_id"])) is None
    assert all(ends.values())
    assert (await desk.answer("accepted", "m1")).status_code == 202


@pytest.mark.parametrize("overlap", ["-1", "604801", "soon", "9" * 30])
async def test_overlap_that_cannot_be_is_refused_with_its_name(hub: Hub, overlap: str):
    endpoint = await register(hub, "http://127.0.0.1:9999/x")
    path = f"/v1/endpoints/{endpoint['endpoint_id']}/rotate?overlap={overlap}"
    answer = await call(hub, "POST", path)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "overlap"


async def test_two_renewals_at_once_both_hold(hub: Hub):
    endpoint = await register(hub, "http://127.0.0.1:9999/x")
    renewed = await asyncio.gather(rotate(hub, endpoint), rotate(hub, endpoint))
    assert len({r["secret"] for r in renewed}) == 2
    assert len(await hub.events("endpoint.secret-rotated")) == 2
