"""What an operator sees of deliveries: attempts, rests, rates, order, the next channel."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from contracts.referrals import ReferralCancelled
from contracts.values import Reason
from infra.base.clock import system_clock
from infra.delivery.worker import Load
from services.partners.model.delivery import BREAK_AFTER, DISABLE_AFTER, FIRST_PAUSE
from tests.support.partners import (
    PARTNER,
    Hub,
    Sink,
    platform_at,
    register,
    sink_on_loopback,
)
from tests.support.postgres import Databases

ATTEMPTS = "SELECT attempt, outcome, status, error FROM delivery_attempts ORDER BY attempt"
ENDPOINT = "SELECT state, reason, failures, open_until FROM endpoints"


class Timed(Hub):
    """A hub whose clock the test sets."""

    now: datetime

    @classmethod
    async def on(cls, databases: Databases, **given: Any) -> "Timed":
        hub = cls(platform_at(databases, clock=lambda: hub.now, **given))
        hub.now = system_clock()
        await hub.prepare()
        return hub

    async def round(self) -> None:
        """Time passes, and what is due is sent."""
        self.now += timedelta(seconds=1)
        await self.turn()


@pytest.fixture
async def timed(databases: Databases):
    hub = await Timed.on(databases)
    yield hub
    await hub.close()
    await hub.platform.close()


async def test_every_attempt_is_kept_with_what_became_of_it(timed: Timed, sink: Sink):
    await register(timed, sink.url)
    sink.replies = [web.Response(status=500), web.Response(status=429)]
    await timed.refer()
    await timed.hear()
    for _ in range(3):
        await timed.round()
    assert await timed.rows(ATTEMPTS) == [
        {"attempt": 1, "outcome": "retry", "status": 500, "error": "http-500"},
        {"attempt": 2, "outcome": "retry", "status": 429, "error": "http-429"},
        {"attempt": 3, "outcome": "ok", "status": 204, "error": None},
    ]


async def test_endpoint_that_keeps_failing_rests_and_uses_up_no_attempts(
    timed: Timed, sink: Sink
):
    await register(timed, sink.url)
    sink.replies = [web.Response(status=500) for _ in range(BREAK_AFTER)]
    for _ in range(BREAK_AFTER):
        await timed.refer()
    await timed.hear()
    await timed.turn()
    (endpoint,) = await timed.rows(ENDPOINT)
    assert endpoint["open_until"] == timed.now + FIRST_PAUSE
    await timed.round()
    assert len(sink.received) == BREAK_AFTER  # nothing while it rests
    timed.now = endpoint["open_until"]
    await timed.turn()
    assert len(sink.received) == BREAK_AFTER + 1  # one probe
    await timed.round()
    assert len(sink.received) == 2 * BREAK_AFTER  # it healed: all the others
    (endpoint,) = await timed.rows(ENDPOINT)
    assert (endpoint["failures"], endpoint["open_until"]) == (0, None)


async def test_endpoint_that_only_failed_for_days_is_disabled_and_an_adviser_takes_over(
    timed: Timed, sink: Sink
):
    await register(timed, sink.url)
    await timed.refer()
    await timed.hear()
    async with timed.database.transaction() as tx:
        since = timed.now - DISABLE_AFTER
        await tx.execute("UPDATE endpoints SET failures = 9, failing_since = $1", since)
    sink.replies = [web.Response(status=500)]
    await timed.turn()
    (endpoint,) = await timed.rows(ENDPOINT)
    assert (endpoint["state"], endpoint["reason"]) == ("disabled", "failing")
    (disabled,) = await timed.events("endpoint.disabled")
    assert disabled["reason"] == "failing"
    (manual,) = await timed.events("delivery.manual")
    assert (manual["error"], manual["from_channel"]) == ("endpoint-disabled", "webhook")


async def test_message_that_a_channel_fails_to_bring_takes_the_next_one_and_says_so(
    timed: Timed, sink: Sink
):
    async with sink_on_loopback() as gone:
        gone.replies = [web.Response(status=410)]
        await register(timed, gone.url)
        await register(timed, sink.url, rank=1)
        await timed.refer()
        await timed.hear()
        await timed.turn()
        await timed.round()
        (first,), (second,) = gone.received, sink.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    (changed,) = await timed.events("delivery.channel-changed")
    assert (changed["from_channel"], changed["to_channel"]) == ("webhook", "webhook")
    assert changed["error"] == "http-410"
    assert await timed.events("delivery.dead-lettered") == []
    (succeeded,) = await timed.events("delivery.succeeded")
    assert succeeded["attempts"] == 2


async def test_what_waits_for_an_endpoint_that_is_disabled_takes_the_next_channel(
    timed: Timed, sink: Sink
):
    async with sink_on_loopback() as gone:
        await register(timed, gone.url, concurrency=1)
        await register(timed, sink.url, rank=1)
        for _ in range(3):
            await timed.refer()
        await timed.hear()
        gone.replies = [web.Response(status=410)]
        await timed.turn()
        await timed.round()
        assert len(gone.received) == 1
    assert len(sink.received) == 3
    assert len(await timed.events("delivery.channel-changed")) == 3


async def test_message_about_an_agreement_that_ended_takes_no_other_channel(
    timed: Timed, sink: Sink
):
    await register(timed, "http://127.0.0.1:9/hook")
    await register(timed, sink.url, rank=1)
    await timed.refer(agreed_until=timed.now.date())
    await timed.hear()
    timed.now += timedelta(days=2)
    await timed.turn()
    assert sink.received == []
    (dead,) = await timed.events("delivery.dead-lettered")
    assert dead["error"] == "agreement-expired"


async def told_of_its_end(timed: Timed, sink: Sink, *replies: web.Response) -> None:
    """A partner that has a request is told that it is cancelled, as often as it takes."""
    await register(timed, sink.url)
    referral = await timed.refer()
    await timed.hear()
    await timed.turn()
    await timed.move(referral, ReferralCancelled, reason=Reason.CLIENT_DECLINED)
    await timed.hear()
    sink.replies = list(replies)
    for _ in replies:
        await timed.round()


async def test_cancellation_of_what_the_partner_has_closed_counts_as_delivered(
    timed: Timed, sink: Sink
):
    await told_of_its_end(timed, sink, web.Response(status=409, text="Dossier déjà clos"))
    succeeded = await timed.events("delivery.succeeded")
    assert [e["message"] for e in succeeded] == ["referral.requested", "referral.cancelled"]
    (endpoint,) = await timed.rows(ENDPOINT)
    assert (endpoint["state"], endpoint["failures"]) == ("active", 0)


@pytest.mark.parametrize("status", [404, 409])
async def test_cancellation_that_finds_nothing_is_tried_again_and_does_not_blame_the_address(
    timed: Timed, sink: Sink, status: int
):
    await told_of_its_end(timed, sink, *(web.Response(status=status) for _ in range(4)))
    (endpoint,) = await timed.rows(ENDPOINT)
    assert (endpoint["state"], endpoint["failures"]) == ("active", 0)
    (manual,) = await timed.events("delivery.manual")
    assert (manual["message"], manual["error"]) == ("referral.cancelled", f"http-{status}")


async def test_address_that_says_it_is_gone_is_disabled_by_a_cancellation_too(
    timed: Timed, sink: Sink
):
    await told_of_its_end(timed, sink, web.Response(status=410, text="Dossier déjà clos"))
    (endpoint,) = await timed.rows(ENDPOINT)
    assert (endpoint["state"], endpoint["reason"]) == ("disabled", "gone")


async def test_receipt_that_says_it_failed_is_tried_again(timed: Timed, sink: Sink):
    await register(timed, sink.url)
    sink.replies = [web.json_response({"status": "error", "detail": "base indisponible"})]
    await timed.refer()
    await timed.hear()
    await timed.turn()
    await timed.round()
    (failed,) = await timed.events("delivery.failed")
    assert failed["error"] == "error-in-200"
    assert len(await timed.events("delivery.succeeded")) == 1


async def test_pathway_stays_in_order_where_that_is_asked_and_others_do_not_wait(
    timed: Timed, sink: Sink
):
    await register(timed, sink.url, ordering="pathway")
    person = uuid4()
    first = await timed.refer(person_id=person)
    second = await timed.refer(person_id=person)
    other = await timed.refer()
    await timed.hear()
    sink.replies = [web.Response(status=500)]
    await timed.turn()
    sent = [r.json["data"]["referral_id"] for r in sink.received]
    assert sent == [str(first.referral_id), str(other.referral_id)]
    await timed.round()
    await timed.round()
    sent = [r.json["data"]["referral_id"] for r in sink.received][2:]
    assert sent == [str(first.referral_id), str(second.referral_id)]


async def test_endpoint_gets_no_more_a_minute_than_it_can_stand(timed: Timed, sink: Sink):
    await register(timed, sink.url, per_minute=6)
    for _ in range(4):
        await timed.refer()
    await timed.hear()
    await timed.turn()
    await timed.round()
    assert len(sink.received) == 1
    timed.now += timedelta(seconds=9)
    await timed.turn()
    assert len(sink.received) == 2


async def test_storm_of_retries_leaves_room_for_what_is_new(timed: Timed, sink: Sink):
    other = f"{PARTNER}--mobilite"
    await register(timed, "http://127.0.0.1:9/hook")
    await register(timed, sink.url, service_ids=[other])
    for _ in range(4):
        await timed.refer()
    await timed.hear()
    await timed.turn()
    await timed.refer(service_id=other)
    await timed.hear()
    timed.now += timedelta(seconds=1)
    jobs = await timed.worker._queue.record_and_claim([], Load(4, 1, {}))
    assert sorted(job.retry for job in jobs) == [False, True]
