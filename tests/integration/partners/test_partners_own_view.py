"""A partner sees what concerns it, and pulls what it missed in order; nothing of others."""

from datetime import date
from typing import Any
from uuid import UUID

import httpx2
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from contracts.referrals import ReferralCancelled
from tests.support.partners import FIELDS, PARTNER, Hub, Sink, call, register

OTHER = "petite-foret--clap"


class Partner:
    """A partner's system with its key."""

    def __init__(self, hub: Hub, key: str) -> None:
        self.hub = hub
        self.headers = {"authorization": f"Bearer {key}"}

    async def get(self, path: str, **given: Any) -> Any:
        answer = await call(
            self.hub, "GET", f"/v1/partner/{path}", headers=self.headers, params=given
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str) -> Any:
        return await call(self.hub, "POST", f"/v1/partner/{path}", headers=self.headers)


async def key_of(hub: Hub, partner_id: str) -> str:
    path = f"/v1/partners/{partner_id}/keys"
    answer = await call(hub, "POST", path, json={"name": "crm"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


async def other_partner(hub: Hub) -> str:
    rows = await hub.rows("SELECT partner_id FROM partners WHERE partner_id <> $1", PARTNER)
    return str(rows[0]["partner_id"])


@pytest.fixture
async def partner(hub: Hub) -> Partner:
    return Partner(hub, await key_of(hub, PARTNER))


async def test_partner_away_pulls_what_it_missed_in_order(hub: Hub, partner: Partner):
    referrals = [await hub.refer() for _ in range(5)]
    await hub.hear()
    seen: list[str] = []
    cursor = 0
    while True:
        page = await partner.get("messages", after=cursor, limit=2)
        seen += [m["data"]["referral_id"] for m in page["messages"]]
        cursor = page["cursor"]
        if not page["more"]:
            break
    assert seen == [str(r.referral_id) for r in referrals]
    assert (await partner.get("messages", after=cursor))["messages"] == []


async def test_pulled_message_is_the_one_that_would_have_been_sent(
    hub: Hub, sink: Sink, partner: Partner
):
    await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    await hub.turn()
    (pulled,) = (await partner.get("messages"))["messages"]
    (sent,) = sink.received
    assert {k: v for k, v in pulled.items() if k not in ("seq", "webhook_id")} == sent.json
    assert pulled["webhook_id"] == sent.headers["webhook-id"]


async def test_pulled_messages_fit_the_schema_that_the_document_gives(
    hub: Hub, partner: Partner
):
    await hub.refer()
    await hub.hear()
    page = await partner.get("messages")
    document = (await call(hub, "GET", "/openapi.json")).json()
    schema = {"$ref": "#/components/schemas/MessagePage", "components": document["components"]}
    Draft202012Validator(schema).validate(page)
    assert len(page["messages"]) == 1


async def test_reading_messages_changes_nothing_of_their_delivery(
    hub: Hub, sink: Sink, partner: Partner
):
    await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    assert len((await partner.get("messages"))["messages"]) == 1
    assert len((await partner.get("messages"))["messages"]) == 1
    assert await hub.events("delivery.succeeded") == []
    await hub.turn()
    assert len(sink.received) == 1


async def test_what_is_acknowledged_is_not_sent_again_and_counts_as_delivered(
    hub: Hub, sink: Sink, partner: Partner
):
    await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    (message,) = (await partner.get("messages"))["messages"]
    for expected in (1, 0):  # a repeat changes nothing
        answer = await acknowledged(hub, partner, message["webhook_id"])
        assert answer.json() == {"acknowledged": expected}
    await hub.turn()
    assert sink.received == []
    assert len(await hub.events("delivery.succeeded")) == 1


async def test_only_a_partners_own_messages_that_were_given_out_are_acknowledged(
    hub: Hub, partner: Partner
):
    await hub.refer()
    await hub.hear()
    (delivery,) = (await partner.get("deliveries"))["deliveries"]
    name = f"dlv_{UUID(delivery['delivery_id']).hex}"
    assert (await acknowledged(hub, partner, name)).json() == {"acknowledged": 0}
    await partner.get("messages")
    stranger = Partner(hub, await key_of(hub, await other_partner(hub)))
    assert (await acknowledged(hub, stranger, name)).json() == {"acknowledged": 0}
    assert (await acknowledged(hub, partner, "dlv_x")).status_code == 422


async def acknowledged(hub: Hub, partner: Partner, name: str) -> httpx2.Response:
    """What a partner is answered that says it has taken a message over."""
    body, path = {"webhook_ids": [name]}, "/v1/partner/messages/acknowledge"
    return await call(hub, "POST", path, headers=partner.headers, json=body)


async def test_partner_without_an_address_pulls_and_the_disclosure_is_written_down(
    hub: Hub, partner: Partner
):
    await hub.refer()
    await hub.hear()
    assert await hub.events("disclosure.made") == []
    (pulled,) = (await partner.get("messages"))["messages"]
    assert pulled["data"]["person"] == FIELDS
    (disclosed,) = await hub.events("disclosure.made")
    assert disclosed["fields"] == sorted(FIELDS)
    await partner.get("messages")
    assert len(await hub.events("disclosure.made")) == 1


async def test_what_must_not_leave_any_more_is_not_pulled(hub: Hub, partner: Partner):
    ended = await hub.refer()
    expired = await hub.refer(agreed_until=date(2020, 1, 1))
    withdrawn = await hub.refer()
    await hub.move(ended, ReferralCancelled, reason="sent-in-error")
    await hub.hear()
    await hub.withdraw(withdrawn.person_id, withdrawn.agreement_id)
    messages = (await partner.get("messages"))["messages"]
    requests = [m["data"]["referral_id"] for m in messages if m["type"] == "referral.requested"]
    assert requests == []
    assert str(expired.referral_id) not in requests


async def test_partner_sees_its_deliveries_with_their_attempts(
    hub: Hub, sink: Sink, partner: Partner
):
    await register(hub, sink.url)
    sink.replies = [web.Response(status=500)]
    await hub.refer()
    await hub.hear()
    await hub.turn()
    (delivery,) = (await partner.get("deliveries"))["deliveries"]
    assert (delivery["state"], delivery["last_error"]) == ("pending", "http-500")
    path = f"deliveries/{delivery['delivery_id']}/attempts"
    (attempt,) = (await partner.get(path))["attempts"]
    assert (attempt["attempt"], attempt["status"], attempt["channel"]) == (1, 500, "webhook")


async def test_partner_sees_and_renews_its_own_endpoints_only(
    hub: Hub, sink: Sink, partner: Partner
):
    endpoint = await register(hub, sink.url)
    (seen,) = (await partner.get("endpoints"))["endpoints"]
    assert seen["endpoint_id"] == endpoint["endpoint_id"]
    assert "secret" not in seen
    rotated = await partner.post(f"endpoints/{endpoint['endpoint_id']}/rotate")
    assert rotated.status_code == 201
    assert rotated.json()["secret"] != endpoint["secret"]
    stranger = Partner(hub, await key_of(hub, await other_partner(hub)))
    assert (await stranger.get("endpoints"))["endpoints"] == []
    for verb in ("rotate", "ping"):
        answer = await stranger.post(f"endpoints/{endpoint['endpoint_id']}/{verb}")
        assert answer.status_code == 404


async def test_partner_sees_nothing_of_another_ones_messages(
    hub: Hub, sink: Sink, partner: Partner
):
    await register(hub, sink.url)
    await hub.refer()
    await hub.hear()
    await hub.turn()
    stranger = Partner(hub, await key_of(hub, await other_partner(hub)))
    (delivery,) = (await partner.get("deliveries"))["deliveries"]
    assert (await stranger.get("messages"))["messages"] == []
    assert (await stranger.get("deliveries"))["deliveries"] == []
    path = f"deliveries/{delivery['delivery_id']}/attempts"
    assert (await stranger.get(path))["attempts"] == []


async def test_key_of_a_partner_opens_nothing_of_the_administrators(hub: Hub, partner: Partner):
    answer = await call(hub, "GET", "/v1/deliveries", headers=partner.headers)
    assert answer.status_code == 403


async def test_numbers_of_messages_follow_commits(hub: Hub):
    """A cursor must not step over a message that is committed after a later one."""
    await hub.refer()
    await hub.hear()
    copy = (
        "INSERT INTO deliveries (delivery_id, partner_id, service_id, referral_id, person_id, "
        "message, event_id, event_type, occurred_at, data, state, created_at, updated_at) "
        "SELECT gen_random_uuid(), partner_id, service_id, referral_id, person_id, message, "
        "event_id, event_type, occurred_at, data, 'manual', now(), now() "
        "FROM deliveries LIMIT 1"
    )
    async with hub.database.transaction() as first:
        await (first).execute(copy)
        async with hub.database.transaction() as second:
            await second.execute("SET LOCAL lock_timeout = '100ms'")
            with pytest.raises(Exception, match="lock timeout"):
                await second.execute(copy)
            await second.rollback()
