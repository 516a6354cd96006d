"""A withdrawn agreement keeps back what did not leave, and tells whoever received something."""

from datetime import UTC, datetime
from uuid import uuid4

from tests.support.partners import Hub, Sink, register

NOTICES = "SELECT state FROM deliveries WHERE message = 'agreement.withdrawn'"
REQUESTS = "SELECT state, last_error FROM deliveries WHERE message = 'referral.requested'"


async def test_partner_that_received_is_told_to_keep_nothing(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    await hub.withdraw(referral.person_id, referral.agreement_id)
    await hub.turn()
    _, notice = sink.received
    assert notice.json["type"] == "agreement.withdrawn"
    data = notice.json["data"]
    assert data["referral_id"] == str(referral.referral_id)
    assert set(data) == {"referral_id", "partner_id", "service_id", "withdrawn_on"}


async def test_request_that_did_not_leave_is_kept_back_and_nobody_is_told(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.withdraw(referral.person_id, referral.agreement_id)
    await hub.turn()
    assert sink.received == []
    (request,) = await hub.rows(REQUESTS)
    assert request == {"state": "cancelled", "last_error": "agreement-withdrawn"}
    assert await hub.rows(NOTICES) == []


async def test_request_that_is_heard_of_after_the_withdrawal_does_not_leave(
    hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    person, agreement = uuid4(), uuid4()
    referral = await hub.refer(person_id=person, agreement_id=agreement)
    await hub.withdraw(person, agreement)
    await hub.hear()
    await hub.turn()
    assert sink.received == []
    (request,) = await hub.rows(REQUESTS)
    assert request == {"state": "dead", "last_error": "agreement-withdrawn"}
    assert referral.agreement_id == agreement


async def test_withdrawal_of_another_agreement_keeps_nothing_back(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.withdraw(referral.person_id, uuid4())
    await hub.turn()
    assert [r.json["type"] for r in sink.received] == ["referral.requested"]


async def test_withdrawal_of_everything_counts_for_what_was_asked_until_then(
    hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.withdraw(referral.person_id)
    later = await hub.refer(person_id=referral.person_id)
    await hub.hear()
    await hub.turn()
    (received,) = sink.received
    assert received.json["data"]["referral_id"] == str(later.referral_id)


async def test_withdrawal_heard_twice_tells_once(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    await hub.withdraw(referral.person_id, referral.agreement_id)
    async with hub.database.transaction() as tx:
        await tx.execute("DELETE FROM offsets WHERE subscription = 'withdrawals'")
    await hub.hear("withdrawals")
    assert len(await hub.rows(NOTICES)) == 1


async def test_withdrawal_of_all_counts_from_when_the_hub_heard_it_not_by_its_sender_s_clock(
    hub: Hub, sink: Sink
):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    await hub.withdraw(referral.person_id, occurred_at=datetime(2001, 1, 1, tzinfo=UTC))
    await hub.turn()
    assert [r.json["type"] for r in sink.received] == [
        "referral.requested", "agreement.withdrawn",
    ]  # fmt: skip
