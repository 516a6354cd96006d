"""Edges of the loop at the partners: answers that cross reminders, reports, commissions."""

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest
from aiohttp import web

from contracts.days import local_day
from contracts.referrals import (
    DeadlinePassed,
    ReferralAccepted,
    ReferralReceived,
    ReferralRequested,
)
from contracts.values import Author, DeadlineStep, PartnerKind, ReferralStatus
from infra.base.clock import system_clock
from services.partners import projections
from tests.support.partners import SERVICE, Desk, Hub, Sink, call, problem, register

PLIE = "petite-foret--plie"
COMMISSION = f"{PLIE}--parcours"
CAPACITY = f"/v1/services/{SERVICE}/capacity"
REMINDERS = "SELECT state FROM deliveries WHERE message = 'referral.reminded'"


def day(after: int) -> str:
    """A day in France, so many after today."""
    return str(local_day(system_clock()) + timedelta(days=after))


def overdue(referral: ReferralRequested) -> DeadlinePassed:
    return DeadlinePassed(
        referral_id=referral.referral_id, case_id=referral.case_id,
        partner_id=referral.partner_id, service_id=referral.service_id,
        step=DeadlineStep.REMIND, due_on=date(2026, 11, 26), requested_on=date(2026, 11, 23),
        expire_on=date(2026, 12, 7),
    )  # fmt: skip


async def delivered(hub: Hub, sink: Sink) -> Desk:
    """A referral whose request the partner's endpoint took."""
    endpoint = await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    return Desk(hub, endpoint["secret"], referral)


async def accepts(desk: Desk) -> None:
    accepted = {"status": ReferralStatus.ACCEPTED, "author": Author.PARTNER}
    await desk.hub.move(desk.referral, ReferralAccepted, **accepted)


# --- reminders ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "state"), [(500, "pending"), (410, "manual")], ids=["tried-again", "given-up"]
)
async def test_nobody_is_reminded_of_a_request_that_did_not_arrive(
    hub: Hub, sink: Sink, reply: int, state: str
):
    sink.replies = [web.Response(status=reply)]
    desk = await delivered(hub, sink)
    (row,) = await hub.rows("SELECT state FROM deliveries")
    assert row["state"] == state
    await hub.say(desk.referral.person_id, overdue(desk.referral))
    await hub.hear()
    assert await hub.rows(REMINDERS) == []


async def test_partner_that_has_just_refused_is_not_reminded(hub: Hub, sink: Sink):
    desk = await delivered(hub, sink)
    assert (await desk.answer("rejected", "m1", reason="no-capacity")).status_code == 202
    await hub.say(desk.referral.person_id, overdue(desk.referral))
    await hub.hear()
    assert await hub.rows(REMINDERS) == []


async def test_answer_stops_a_reminder_that_waits(hub: Hub, sink: Sink):
    desk = await delivered(hub, sink)
    await hub.say(desk.referral.person_id, overdue(desk.referral))
    await hub.hear()
    assert await hub.rows(REMINDERS) == [{"state": "pending"}]
    await accepts(desk)
    await hub.hear()
    assert await hub.rows(REMINDERS) == [{"state": "cancelled"}]
    await hub.turn()
    assert len(sink.received) == 1


async def test_reminder_that_an_answer_follows_at_once_is_never_made(hub: Hub, sink: Sink):
    desk = await delivered(hub, sink)
    await hub.say(desk.referral.person_id, overdue(desk.referral))
    await accepts(desk)
    await hub.hear()
    assert await hub.rows(REMINDERS) == []


async def test_partner_that_accepted_is_reminded_of_what_follows(hub: Hub, sink: Sink):
    desk = await delivered(hub, sink)
    await accepts(desk)
    await hub.say(desk.referral.person_id, overdue(desk.referral))
    await hub.hear()
    assert await hub.rows(REMINDERS) == [{"state": "pending"}]


async def test_answer_of_one_referral_leaves_the_reminder_of_another(hub: Hub, sink: Sink):
    desk = await delivered(hub, sink)
    other = await hub.refer()
    await hub.hear()
    await hub.turn()
    await hub.say(other.person_id, overdue(other))
    await hub.hear()
    await accepts(desk)
    await hub.hear()
    assert await hub.rows(REMINDERS) == [{"state": "pending"}]


# --- capacity -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field", "detail"),
    [
        ({"status": "capacity", "until": day(-1)}, "until", "must not be over already"),
        ({"status": "no-capacity", "seats": 2}, "seats", "no-capacity has no free places"),
        (
            {"status": "capacity", "seats": 0},
            "seats",
            "capacity has a free place at least: say waitlist or no-capacity",
        ),
        ({"seats": 1}, "status", "Field required"),
    ],
)
async def test_report_that_contradicts_itself_names_the_field(
    hub: Hub, body: dict[str, Any], field: str, detail: str
):
    answer = await call(hub, "POST", CAPACITY, json=body)
    assert answer.status_code == 422
    document = answer.json()
    assert document["type"] == "https://aiguillage.fr/problems/invalid"
    assert [(e["field"], e["detail"]) for e in document["errors"]] == [
        (field, detail),
    ]
    assert await hub.events("capacity.reported") == []


async def test_report_about_an_unknown_service_is_refused(hub: Hub):
    answer = await call(hub, "POST", "/v1/services/none/capacity", json={"status": "capacity"})
    assert answer.json() == problem(
        "not-found", "There is no such thing", 404, detail="No such service"
    )


async def test_report_that_holds_until_tonight_is_taken(hub: Hub):
    answer = await call(hub, "POST", CAPACITY, json={"status": "waitlist", "until": day(0)})
    assert answer.status_code == 201
    assert answer.json()["until"] == day(0)


async def test_reports_at_the_same_moment_are_all_kept(hub: Hub):
    bodies = [{"status": "capacity", "seats": n} for n in range(1, 9)]
    answers = await asyncio.gather(*(call(hub, "POST", CAPACITY, json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {201}
    assert sorted(e["seats"] for e in await hub.events("capacity.reported")) == list(
        range(1, 9)
    )


async def test_capacity_is_reported_with_the_key_of_an_administrator(hub: Hub):
    answer = await call(hub, "POST", CAPACITY, json={"status": "capacity"}, headers={})
    assert answer.status_code == 401
    assert await hub.events("capacity.reported") == []


async def test_rebuilt_directory_knows_the_reported_capacity(hub: Hub):
    await call(hub, "POST", CAPACITY, json={"status": "waitlist", "seats": 0})
    query = "SELECT s::text AS text FROM services s ORDER BY service_id"
    before = await hub.rows(query)
    async with hub.database.transaction() as tx:
        await projections.READ_TABLES.rebuild(tx, hub.platform.vault)
    assert await hub.rows(query) == before
    assert any("waitlist" in row["text"] for row in before)


# --- commissions, appointments ------------------------------------------------------------


@pytest.fixture
async def plie(hub: Hub) -> Desk:
    url = "http://127.0.0.1:9/hook"
    endpoint = await register(hub, url, partner_id=PLIE, service_ids=[COMMISSION])
    referral = await hub.refer(PLIE, COMMISSION, partner_kind=PartnerKind.PLIE)
    await hub.hear()
    return Desk(hub, endpoint["secret"], referral)


async def commission(desk: Desk, status: str, webhook_id: str, after: int) -> int:
    given = {"business_status": "commission-scheduled", "commission_on": day(after)}
    return (await desk.answer(status, webhook_id, **given)).status_code


async def test_commission_of_today_may_accept(plie: Desk):
    assert await commission(plie, "requested", "m1", 0) == 202
    assert (await plie.answer("accepted", "m2")).status_code == 202


async def test_postponed_commission_is_waited_for(plie: Desk):
    assert await commission(plie, "requested", "m1", -1) == 202
    assert await commission(plie, "requested", "m2", 20) == 202
    refused = await plie.answer("accepted", "m3")
    assert (refused.status_code, refused.json()["type"]) == (
        409,
        "https://aiguillage.fr/problems/commission-not-met",
    )


async def test_later_commission_does_not_undo_an_acceptance(plie: Desk):
    assert await commission(plie, "requested", "m1", -1) == 202
    assert (await plie.answer("accepted", "m2")).status_code == 202
    assert await commission(plie, "accepted", "m3", 40) == 202
    booked = {
        "business_status": "appointment-scheduled",
        "appointment_at": f"{day(3)}T09:00:00Z",
    }
    assert (await plie.answer("accepted", "m4", **booked)).status_code == 202
    assert (await plie.answer("in-progress", "m5")).status_code == 202


async def test_person_may_be_refused_before_the_commission_meets(plie: Desk):
    assert (await plie.answer("rejected", "m1", reason="not-eligible")).status_code == 202


async def test_commission_day_that_an_adviser_typed_in_counts(plie: Desk):
    noted = {"status": ReferralStatus.REQUESTED, "commission_on": date.fromisoformat(day(-1))}
    await plie.hub.move(plie.referral, ReferralReceived, **noted)
    await plie.hub.hear()
    assert (await plie.answer("accepted", "m1")).status_code == 202


async def test_service_without_a_commission_accepts_at_once(desk: Desk):
    assert (await desk.answer("accepted", "m1")).status_code == 202


@pytest.mark.parametrize("business", ["no-show", "excused", "appointment-cancelled"])
@pytest.mark.parametrize("status", ["accepted", "in-progress"])
async def test_what_became_of_an_appointment_refines_an_open_referral(
    desk: Desk, status: str, business: str
):
    booked = {"appointment_at": f"{day(3)}T09:00:00Z"}
    assert (await desk.answer("accepted", "m1", **booked)).status_code == 202
    if status == "in-progress":
        assert (await desk.answer("in-progress", "m2")).status_code == 202
    answer = await desk.answer(status, "m3", business_status=business)
    assert answer.status_code == 202
    last = (await desk.stored())[-1]
    assert (last["status"], last["business_status"]) == (status, business)


async def test_missed_appointment_of_a_refused_referral_is_refused(desk: Desk):
    assert (await desk.answer("rejected", "m1", reason="no-capacity")).status_code == 202
    refused = await desk.answer(
        "rejected", "m2", reason="no-capacity", business_status="no-show"
    )
    assert refused.json() == problem(
        "forbidden-transition",
        "The referral's state does not allow this",
        409,
        current_status="rejected",
        asked_status="rejected",
    )
