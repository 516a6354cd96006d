"""What becomes of an appointment is told to France Travail, in order, and to nobody else."""

from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from contracts.referrals import (
    AppointmentAttended,
    AppointmentExcused,
    AppointmentMissed,
    AppointmentSet,
    DeadlinePassed,
    ReferralRequested,
)
from contracts.values import Author, DeadlineStep
from services.partners.handlers.delivery_queue import LEASE
from tests.support.bureau import AT, LATER, ROOM, SERVICE, TRAVAIL, Bureau
from tests.support.france_travail import STRANGER, status
from tests.support.partners import Sink, call, register


@pytest.mark.parametrize(
    ("event", "at", "told"),
    [
        (AppointmentSet, LATER, ("MODIFIE", "2026-12-04T10:30:00+01:00")),
        (AppointmentAttended, AT, ("EFFECTUE", "2026-12-03T10:30:00+01:00")),
        (AppointmentMissed, AT, ("ABSENT", "2026-12-03T10:30:00+01:00")),
        (AppointmentExcused, AT, ("ANNULE", "2026-12-03T10:30:00+01:00")),
    ],
)
async def test_what_an_adviser_says_is_told(bureau: Bureau, event: Any, at: Any, told: Any):
    await bureau.connect()
    referral = await bureau.made()
    await bureau.says(referral, event, at)
    await bureau.round()
    assert bureau.did() == ["POST", "PUT"]
    assert bureau.kept() == told


async def test_corrected_word_is_told_too_and_each_once(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.made()
    await bureau.says(referral, AppointmentMissed, AT)
    await bureau.says(referral, AppointmentAttended, AT)
    await bureau.subscription.rewind()
    await bureau.hear()
    await bureau.round()
    await bureau.round()
    assert bureau.did() == ["POST", "PUT", "PUT"]
    assert bureau.kept()[0] == "EFFECTUE"


@pytest.mark.parametrize(
    "author",
    [{"author": Author.PARTNER}, {"author": Author.ADVISER, "on_behalf_of": Author.PARTNER}],
)
async def test_what_france_travail_said_is_not_told_back(bureau: Bureau, author: Any):
    await bureau.connect()
    referral = await bureau.made()
    for event in (AppointmentSet, AppointmentAttended, AppointmentMissed):
        await bureau.says(referral, event, **author)
    await bureau.round()
    assert bureau.did() == ["POST"]
    assert await bureau.changes() == []


async def test_partner_of_another_channel_is_told_by_that(bureau: Bureau, sink: Sink):
    await register(bureau, sink.url, partner_id=TRAVAIL, service_ids=[SERVICE])
    referral = await bureau.asks()
    await bureau.turn()
    await bureau.says(referral)
    await bureau.round()
    types = [r.json["type"] for r in sink.received]
    assert types == ["referral.requested", "appointment.changed"]


# --- order --------------------------------------------------------------------------------


async def test_change_never_overtakes_what_it_changes(bureau: Bureau):
    await bureau.connect()
    bureau.travail.fail("rendez-vous", status(503), times=2)
    referral = await bureau.asks()
    await bureau.turn()
    await bureau.says(referral)
    for _ in range(5):
        await bureau.round()
    assert bureau.did() == ["POST", "POST", "POST", "PUT"]
    assert bureau.kept() == ("MODIFIE", "2026-12-04T10:30:00+01:00")


async def test_changes_follow_each_other_though_one_is_tried_again(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.made()
    bureau.travail.fail("rendez-vous", status(500))
    await bureau.says(referral)
    await bureau.says(referral, AppointmentMissed)
    for _ in range(4):
        await bureau.round()
    said = [c.body for c in bureau.travail.calls if c.method == "PUT"]
    assert ["MODIFIE" in body for body in said] == [True, True, False]
    assert bureau.kept()[0] == "ABSENT"


async def test_change_waits_for_a_request_that_is_on_its_way(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.asks()
    (job,) = await bureau.worker._queue.record_and_claim([], ROOM)
    await bureau.says(referral)
    await bureau.turn()
    assert bureau.did() == []
    await bureau.worker._sender.send(job.message)  # it arrives, and nobody comes to record it
    bureau.now += LEASE + timedelta(seconds=1)
    for _ in range(3):
        await bureau.round()
    assert bureau.did() == ["POST", "POST", "PUT"]
    assert bureau.kept()[0] == "MODIFIE"


async def test_cancellation_does_not_overtake_a_change_on_its_way(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.made()
    await bureau.says(referral)
    (job,) = await bureau.worker._queue.record_and_claim([], ROOM)
    await bureau.cancels(referral)
    await bureau.turn()
    assert bureau.did() == ["POST"]
    await bureau.worker._sender.send(job.message)
    bureau.now += LEASE + timedelta(seconds=1)
    await bureau.round()
    assert bureau.did() == ["POST", "PUT", "DELETE"]
    assert bureau.travail.appointments == {}


async def test_change_that_waits_is_dropped_by_the_cancellation(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.made()
    await bureau.says(referral)
    await bureau.cancels(referral)
    await bureau.round()
    assert bureau.did() == ["POST", "DELETE"]
    assert await bureau.changes() == [{"state": "cancelled", "last_error": None}]


# --- cancellations ------------------------------------------------------------------------


async def test_cancelled_referral_takes_its_appointment_away(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.made()
    await bureau.cancels(referral)
    await bureau.round()
    assert bureau.did() == ["POST", "DELETE"]
    assert bureau.travail.appointments == {}


@pytest.mark.parametrize("code", [404, 410])
async def test_appointment_that_is_gone_or_closed_is_cancelled_enough(
    bureau: Bureau, code: int
):
    await bureau.connect()
    first, second = await bureau.made(), await bureau.asks()
    await bureau.round()
    bureau.travail.closed = set(bureau.travail.appointments)
    await bureau.cancels(first)
    await bureau.round()
    bureau.travail.fail("rendez-vous", status(code))
    await bureau.cancels(second)
    await bureau.round()
    assert await bureau.events("delivery.dead-lettered") == []
    assert len(await bureau.events("delivery.succeeded")) == 4


async def test_what_never_reached_them_is_not_taken_away(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.asks()
    await bureau.cancels(referral)
    await bureau.turn()
    assert bureau.did() == []


async def test_request_that_went_by_another_channel_is_cancelled_there(
    bureau: Bureau, sink: Sink
):
    await bureau.connect()
    await bureau.beside(sink)
    referral = await bureau.asks(fields={"france_travail_number": STRANGER})
    await bureau.turn()
    await bureau.round()
    bureau.travail.calls.clear()
    await bureau.says(referral)  # the partner does not keep it by its API
    await bureau.cancels(referral)
    await bureau.round()
    assert [r.json["type"] for r in sink.received] == [
        "referral.requested", "referral.cancelled",
    ]  # fmt: skip
    assert bureau.travail.calls == []


async def test_cancellation_that_they_refuse_goes_by_the_next_channel(
    bureau: Bureau, sink: Sink
):
    await bureau.connect()
    await bureau.beside(sink)
    referral = await bureau.made()
    bureau.travail.fail("rendez-vous", status(400, "Annulation impossible"))
    await bureau.cancels(referral)
    await bureau.round()
    await bureau.round()
    assert await bureau.moved_on() == [("rest", "webhook", "http-400")]
    assert [r.json["type"] for r in sink.received] == ["referral.cancelled"]


async def test_new_credentials_take_away_what_the_old_ones_made(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.made()
    await bureau.connect()  # the old address is superseded
    await bureau.says(referral)
    await bureau.round()
    await bureau.cancels(referral)
    await bureau.round()
    assert bureau.did() == ["POST", "PUT", "DELETE"]


# --- what an API has no words for ---------------------------------------------------------


def overdue(referral: ReferralRequested) -> DeadlinePassed:
    day = referral.requested_on
    return DeadlinePassed(
        referral_id=referral.referral_id, case_id=referral.case_id, partner_id=TRAVAIL,
        service_id=SERVICE, step=DeadlineStep.REMIND, due_on=day, requested_on=day,
        expire_on=day,
    )  # fmt: skip


async def test_reminder_goes_by_a_channel_that_has_words_for_it(bureau: Bureau, sink: Sink):
    await bureau.connect()
    await bureau.beside(sink)
    referral = await bureau.made()
    bureau.travail.calls.clear()
    await bureau.say(referral.person_id, overdue(referral))
    await bureau.hear()
    await bureau.round()
    assert [r.json["type"] for r in sink.received] == ["referral.reminded"]
    assert bureau.travail.calls == []
    assert await bureau.moved_on() == []


async def test_reminder_that_nothing_has_words_for_waits_for_an_adviser(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.made()
    await bureau.say(referral.person_id, overdue(referral))
    await bureau.hear()
    rows = await bureau.rows("SELECT state FROM deliveries WHERE message LIKE '%reminded'")
    assert rows == [{"state": "manual"}]
    assert await bureau.events("delivery.dead-lettered") == []


async def test_reminder_that_fails_elsewhere_does_not_end_at_the_api(
    bureau: Bureau, sink: Sink
):
    await bureau.connect(rank=2)
    await register(bureau, sink.url, partner_id=TRAVAIL, service_ids=[])
    referral = await bureau.asks()
    await bureau.turn()
    sink.replies = [web.Response(status=410)]
    await bureau.say(referral.person_id, overdue(referral))
    await bureau.hear()
    await bureau.round()
    await bureau.round()
    assert bureau.did() == []
    (manual,) = await bureau.events("delivery.manual")
    assert (manual["message"], manual["error"]) == ("referral.reminded", "http-410")


async def test_messages_to_be_pulled_hold_no_changes_of_what_is_kept_there(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.made()
    await bureau.says(referral)
    answer = await call(bureau, "POST", f"/v1/partners/{TRAVAIL}/keys", json={"name": "one"})
    key = {"authorization": f"Bearer {answer.json()['key']}"}
    pulled = await call(bureau, "GET", "/v1/partner/messages", headers=key)
    assert [m["type"] for m in pulled.json()["messages"]] == ["referral.requested"]
    await bureau.round()
    assert bureau.kept()[0] == "MODIFIE"


# --- what fails for good ------------------------------------------------------------------


async def test_change_that_they_refuse_takes_the_next_channel(bureau: Bureau, sink: Sink):
    await bureau.connect()
    await bureau.beside(sink)
    referral = await bureau.made()
    bureau.travail.appointments.clear()
    await bureau.says(referral)
    await bureau.round()
    await bureau.round()
    assert await bureau.moved_on() == [("rest", "webhook", "http-404")]
    assert [r.json["type"] for r in sink.received] == ["appointment.changed"]


async def test_change_of_what_was_not_made_there_follows_its_request(
    bureau: Bureau, sink: Sink
):
    await bureau.connect()
    await bureau.beside(sink)
    referral = await bureau.asks(fields={"france_travail_number": STRANGER})
    await bureau.says(referral)  # while the request waits
    for _ in range(3):
        await bureau.round()
    types = [r.json["type"] for r in sink.received]
    assert types == ["referral.requested", "appointment.changed"]
    assert bureau.did() == []
    assert ("rest", "webhook", "appointment-not-made") in await bureau.moved_on()
