"""What closes the loop on the partners' side: capacity, reminders, commissions, late yeses."""

from datetime import date, timedelta
from typing import Any

import pytest

from contracts.referrals import DeadlinePassed, ReferralCancelled, ReferralRequested
from contracts.values import DeadlineStep, PartnerKind, Reason
from infra.base.clock import system_clock
from services.partners.handlers.directory import seed
from tests.support.partners import (
    CANARY,
    SERVICE,
    Desk,
    Hub,
    Sink,
    answer_body,
    call,
    problem,
    register,
    signed,
)

PLIE = "petite-foret--plie"
COMMISSION = f"{PLIE}--parcours"
CAPACITY = f"/v1/services/{SERVICE}/capacity"


# --- capacity -----------------------------------------------------------------------------


async def shown(hub: Hub, service_id: str = SERVICE) -> dict[str, Any]:
    answer = (await call(hub, "GET", "/v1/services")).json()
    (found,) = [s for s in answer["services"] if s["service_id"] == service_id]
    return dict(found)


async def test_capacity_is_an_event_and_shows_in_the_directory(hub: Hub):
    body = {"status": "waitlist", "seats": 0, "until": "2026-12-31"}
    answer = await call(hub, "POST", CAPACITY, json=body)
    assert answer.status_code == 201
    (event,) = await hub.events("capacity.reported")
    assert (event["service_id"], event["status"]) == (SERVICE, "waitlist")
    found = await shown(hub)
    assert (found["capacity"], found["seats"]) == ("waitlist", 0)
    assert found["capacity_at"] is not None


async def test_reported_capacity_does_not_make_the_directory_look_changed(hub: Hub):
    await call(hub, "POST", CAPACITY, json={"status": "no-capacity"})
    assert (await seed(hub.platform, "petite-foret")).changed == 0
    assert (await shown(hub))["capacity"] == "no-capacity"


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/v1/services/nobody/capacity", {"status": "capacity"}, 404, None),
        (CAPACITY, {"status": "plein"}, 422, "status"),
        (CAPACITY, {"status": "capacity", "seats": -1}, 422, "seats"),
        (CAPACITY, {"status": "capacity", "places": 3}, 422, "places"),
    ],
)
async def test_report_that_makes_no_sense_is_refused(
    hub: Hub, path: str, body: Any, status: int, field: str | None
):
    answer = await call(hub, "POST", path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if field:
        assert answer.json()["errors"][0]["field"] == field
    assert await hub.events("capacity.reported") == []


async def test_directory_shows_what_data_inclusion_lacks(hub: Hub):
    found = await shown(hub, COMMISSION)
    assert found["commission"] is True
    assert found["deadlines"] == {"remind": 5, "escalate": 10, "expire": 20}
    assert found["channels"][0] == "webhook"


# --- reminders ----------------------------------------------------------------------------


def overdue(referral: ReferralRequested, step: DeadlineStep = DeadlineStep.REMIND) -> Any:
    return DeadlinePassed(
        referral_id=referral.referral_id, case_id=referral.case_id,
        partner_id=referral.partner_id, service_id=referral.service_id, step=step,
        due_on=date(2026, 11, 26), requested_on=date(2026, 11, 23),
        expire_on=date(2026, 12, 7),
    )  # fmt: skip


async def test_partner_that_has_a_request_is_reminded_and_learns_nothing_of_the_person(
    hub: Hub, sink: Sink
):
    endpoint = await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    await hub.say(referral.person_id, overdue(referral))
    await hub.hear()
    await hub.turn()
    request, reminder = await sink.wait_for(2)
    assert reminder.json["type"] == "referral.reminded"
    assert reminder.json["data"]["referral_id"] == str(referral.referral_id)
    assert reminder.json["data"]["expires_on"] == "2026-12-07"
    assert CANARY in request.body.decode()
    assert CANARY not in reminder.body.decode()
    assert endpoint["secret"] not in reminder.body.decode()


@pytest.mark.parametrize("step", [DeadlineStep.ESCALATE, DeadlineStep.EXPIRE])
async def test_other_steps_of_the_calendar_are_not_for_the_partner(
    hub: Hub, sink: Sink, step: DeadlineStep
):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    await hub.say(referral.person_id, overdue(referral, step))
    await hub.hear()
    assert await hub.rows("SELECT 1 FROM deliveries WHERE message LIKE '%reminded'") == []


async def test_nobody_is_reminded_of_what_was_never_sent_or_is_over(hub: Hub, sink: Sink):
    unsent = await hub.refer()  # no address yet
    await hub.hear()
    await register(hub, sink.url)
    ended = await hub.refer()
    await hub.hear()
    await hub.turn()
    await hub.move(ended, ReferralCancelled, reason=Reason.OTHER)
    await hub.say(unsent.person_id, overdue(unsent))
    await hub.say(ended.person_id, overdue(ended))
    await hub.hear()
    assert await hub.rows("SELECT 1 FROM deliveries WHERE message LIKE '%reminded'") == []


async def test_reminder_heard_twice_is_sent_once(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    await hub.say(referral.person_id, overdue(referral))
    await hub.hear()
    await hub.subscription.rewind()
    await hub.hear()
    rows = await hub.rows("SELECT 1 FROM deliveries WHERE message LIKE '%reminded'")
    assert len(rows) == 1


async def test_request_without_an_address_says_that_somebody_must_phone(hub: Hub):
    referral = await hub.refer()
    await hub.hear()
    await hub.subscription.rewind()
    await hub.hear()
    (event,) = await hub.events("delivery.manual")
    assert event["referral_id"] == str(referral.referral_id)


# --- commissions --------------------------------------------------------------------------


@pytest.fixture
async def plie(hub: Hub) -> Desk:
    endpoint = await register(
        hub, "http://127.0.0.1:9/hook", partner_id=PLIE, service_ids=[COMMISSION]
    )
    referral = await hub.refer(PLIE, COMMISSION, partner_kind=PartnerKind.PLIE)
    await hub.hear()
    return Desk(hub, endpoint["secret"], referral)


async def test_nobody_is_accepted_before_the_commission_has_met(plie: Desk):
    refused = await plie.answer("accepted", "m1")
    assert refused.status_code == 409
    assert refused.json() == problem(
        "commission-not-met",
        "The commission has not met yet",
        409,
        detail="Answer commission-scheduled with commission_on; accept from that day on",
    )
    tomorrow = str(system_clock().date() + timedelta(days=2))
    scheduled = {"business_status": "commission-scheduled", "commission_on": tomorrow}
    assert (await plie.answer("requested", "m2", **scheduled)).status_code == 202
    assert (await plie.answer("accepted", "m3")).status_code == 409
    assert len(await plie.stored()) == 1


async def test_commission_that_has_met_may_accept(plie: Desk):
    day = str(system_clock().date() - timedelta(days=1))
    scheduled = {"business_status": "commission-scheduled", "commission_on": day}
    assert (await plie.answer("requested", "m1", **scheduled)).status_code == 202
    assert (await plie.answer("accepted", "m2")).status_code == 202
    first, _ = await plie.stored()
    assert first["commission_on"] == day


async def test_commission_needs_its_day(plie: Desk):
    refused = await plie.answer("requested", "m1", business_status="commission-scheduled")
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"field": "data.commission_on", "detail": "commission-scheduled needs commission_on"}
    ]


# --- transfers, late answers --------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        (
            {"reason": "referred-onward", "suggested_service_id": "nobody"},
            "the directory has no such other service",
        ),
        (
            {"reason": "referred-onward", "suggested_service_id": SERVICE},
            "the directory has no such other service",
        ),
        (
            {"reason": "no-capacity", "suggested_service_id": COMMISSION},
            "goes with the reason referred-onward only",
        ),
    ],
)
async def test_suggestion_that_makes_no_sense_is_refused(
    desk: Desk, given: dict[str, Any], detail: str
):
    refused = await desk.answer("rejected", "m1", **given)
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"field": "data.suggested_service_id", "detail": detail}
    ]
    assert await desk.stored() == []


async def test_suggested_service_is_passed_on(desk: Desk):
    onward = {"reason": "referred-onward", "suggested_service_id": COMMISSION}
    assert (await desk.answer("rejected", "m1", **onward)).status_code == 202
    (event,) = await desk.stored()
    assert event["suggested_service_id"] == COMMISSION


async def test_late_yes_is_refused_and_an_adviser_hears_of_it_once(desk: Desk):
    await desk.hub.move(desk.referral, ReferralCancelled, reason=Reason.NO_RESPONSE)
    await desk.hub.hear()
    for number in range(2):
        assert (await desk.answer("accepted", f"m{number}")).status_code == 409
    (event,) = await desk.hub.events("answer.late")
    assert (event["referral_id"], event["status"]) == (str(desk.id), "accepted")


async def test_late_no_is_of_no_interest(desk: Desk):
    await desk.hub.move(desk.referral, ReferralCancelled, reason=Reason.NO_RESPONSE)
    await desk.hub.hear()
    assert (await desk.answer("rejected", "m1", reason="no-capacity")).status_code == 409
    assert await desk.hub.events("answer.late") == []


async def test_forged_late_yes_says_nothing_to_anybody(desk: Desk):
    await desk.hub.move(desk.referral, ReferralCancelled, reason=Reason.NO_RESPONSE)
    await desk.hub.hear()
    body = answer_body(desk.id, "accepted")
    headers = signed("whsec_" + "A" * 43 + "=", body, "m1")
    assert (await desk.post(body, headers)).status_code == 401
    assert await desk.hub.events("answer.late") == []
