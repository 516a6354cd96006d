"""Advisers propose appointments, move them and say what came of them, by the API."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts.values import ReferralStatus
from services.referrals.model.deadlines import working_day
from tests.support.referral_app import MONDAY, ReferralApp, services

S = ReferralStatus
AT = "2026-12-14T10:30:00+01:00"  # three weeks after the clock's Monday
SHOWN = "2026-12-14T09:30:00Z"
IMPOSSIBLE = [
    ("2026-12-14T10:30:00", "with its offset"),
    ("14/12/2026", "RFC 3339"),
    ("2026-11-23T09:59:00+01:00", "must lie in the future"),
    ("2027-12-14T10:30:00+01:00", "must lie within a year"),
    ("9999-12-31T23:59:59Z", "must lie between"),
    (1797240600, "RFC 3339"),
    ("9999-12-31T23:59:59-12:00", "exists"),
]
GROWN_UP = date(1980, 5, 17)  # for France Travail, once an adviser confirms


async def draft(referral_app: ReferralApp) -> tuple[UUID, str]:
    """Somebody, and the path of their draft."""
    person_id = await referral_app.comes(born=GROWN_UP)
    (referral,) = (await referral_app.case(person_id))["referrals"]
    assert (referral["service_id"], referral["status"]) == ("s-france-travail", "draft")
    return person_id, f"/v1/referrals/{referral['referral_id']}"


async def appointed(referral_app: ReferralApp) -> tuple[UUID, str]:
    person_id, path = await draft(referral_app)
    status, shown = await referral_app.post(f"{path}/confirm", {"appointment_at": AT})
    assert (status, shown["appointment_at"]) == (200, AT)
    return person_id, path


async def kept(referral_app: ReferralApp, person_id: UUID) -> Any:
    return (await referral_app.case(person_id))["referrals"][-1]["appointment_at"]


async def said(referral_app: ReferralApp) -> list[str]:
    async with referral_app.service.database.reading() as connection:
        rows = await connection.fetch(
            "SELECT type FROM events WHERE type LIKE '%.appointment.%' ORDER BY position"
        )
    return [row["type"].split(".")[-2] for row in rows]


async def test_draft_is_sent_with_an_appointment_that_is_shown(referral_app: ReferralApp):
    person_id, _ = await appointed(referral_app)
    assert await kept(referral_app, person_id) == SHOWN


async def test_request_does_not_lapse_before_its_appointment(referral_app: ReferralApp):
    person_id, _ = await appointed(referral_app)
    await referral_app.on(working_day(MONDAY, 12))
    assert services(await referral_app.case(person_id)) == [("s-france-travail", "requested")]
    assert await referral_app.reasons() == []
    await referral_app.on(working_day(date(2026, 12, 14), 7))
    assert [reason for reason, _ in await referral_app.reasons()] == ["escalated"]
    await referral_app.on(working_day(date(2026, 12, 14), 10))
    assert services(await referral_app.case(person_id))[0] == ("s-france-travail", "cancelled")


async def test_draft_is_sent_without_an_appointment_too(referral_app: ReferralApp):
    person_id, path = await draft(referral_app)
    status, shown = await referral_app.post(f"{path}/confirm")
    assert (status, shown["status"], shown["appointment_at"]) == (200, "requested", None)
    assert await kept(referral_app, person_id) is None


@pytest.mark.parametrize("step", ["confirm", "appointment"])
async def test_moment_that_cannot_be_is_a_problem_that_names_the_field(
    referral_app: ReferralApp, step: str
):
    person_id, path = await (draft if step == "confirm" else appointed)(referral_app)
    before = await referral_app.case(person_id)
    for moment, detail in IMPOSSIBLE:
        status, problem = await referral_app.post(f"{path}/{step}", {"appointment_at": moment})
        assert (status, problem["errors"][0]["field"]) == (422, "appointment_at")
        assert detail in problem["errors"][0]["detail"]
    assert await referral_app.case(person_id) == before


async def test_other_service_is_chosen_with_an_appointment(referral_app: ReferralApp):
    person_id, _ = await draft(referral_app)
    proposal = (await referral_app.case(person_id))["proposal_id"]
    choice = {"service_ids": ["s-temp-agency"], "comment": "x", "appointment_at": AT}
    status, _ = await referral_app.post(f"/v1/proposals/{proposal}/choose", choice)
    assert status == 200
    assert await kept(referral_app, person_id) == SHOWN


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"service_ids": ["s-temp-agency", "s-france-travail"]}, "goes with one service"),
        ({"appointment_at": "2026-11-01T10:00:00Z"}, "must lie in the future"),
    ],
)
async def test_appointment_is_with_one_service_and_ahead(
    referral_app: ReferralApp, given: dict[str, Any], detail: str
):
    person_id, _ = await draft(referral_app)
    proposal = (await referral_app.case(person_id))["proposal_id"]
    choice = {"service_ids": ["s-temp-agency"], "comment": "x", "appointment_at": AT} | given
    status, problem = await referral_app.post(f"/v1/proposals/{proposal}/choose", choice)
    assert (status, problem["errors"][0]["field"]) == (422, "appointment_at")
    assert detail in problem["errors"][0]["detail"]


async def test_appointment_is_moved_and_the_same_again_is_no_event(referral_app: ReferralApp):
    person_id, path = await appointed(referral_app)
    moved = {"appointment_at": "2026-12-16T08:00:00Z"}
    for _ in range(2):
        status, shown = await referral_app.post(f"{path}/appointment", moved)
        assert (status, shown["appointment_at"]) == (200, "2026-12-16T08:00:00Z")
    assert await kept(referral_app, person_id) == "2026-12-16T08:00:00Z"
    assert await said(referral_app) == ["set"]


@pytest.mark.parametrize("outcome", ["attended", "missed", "excused"])
async def test_what_came_of_it_is_recorded_once(referral_app: ReferralApp, outcome: str):
    person_id, path = await appointed(referral_app)
    referral_app.now += timedelta(days=30)
    for _ in range(2):
        status, shown = await referral_app.post(
            f"{path}/appointment/outcome", {"outcome": outcome}
        )
        assert (status, shown["appointment_at"]) == (200, None)
    assert await kept(referral_app, person_id) is None
    assert await said(referral_app) == [outcome]


async def test_slip_is_corrected(referral_app: ReferralApp):
    _, path = await appointed(referral_app)
    referral_app.now += timedelta(days=30)
    for outcome in ("missed", "attended"):
        await referral_app.post(f"{path}/appointment/outcome", {"outcome": outcome})
    assert await said(referral_app) == ["missed", "attended"]


async def test_what_makes_no_sense_is_refused_and_says_why(referral_app: ReferralApp):
    _, path = await draft(referral_app)
    status, problem = await referral_app.post(f"{path}/appointment", {"appointment_at": AT})
    assert (status, problem["type"].rsplit("/")[-1]) == (409, "appointment-refused")
    await referral_app.post(f"{path}/confirm")
    outcome = f"{path}/appointment/outcome"
    status, problem = await referral_app.post(outcome, {"outcome": "missed"})
    assert (status, problem["detail"]) == (409, "the referral has no appointment")
    await referral_app.post(f"{path}/appointment", {"appointment_at": AT})
    status, problem = await referral_app.post(outcome, {"outcome": "missed"})
    assert (status, problem["errors"][0]["field"]) == (422, "outcome")
    status, problem = await referral_app.post(outcome, {"outcome": "forgotten"})
    assert (status, problem["errors"][0]["field"]) == (422, "outcome")
    assert await said(referral_app) == ["set"]


async def test_answer_typed_in_for_the_partner_moves_its_appointment_too(
    referral_app: ReferralApp,
):
    person_id, path = await appointed(referral_app)
    answer = {"status": "accepted", "appointment_at": "2026-12-17T08:00:00Z"}
    await referral_app.post(f"{path}/answer", answer)
    assert await kept(referral_app, person_id) == "2026-12-17T08:00:00Z"


async def test_appointment_of_an_unknown_referral_is_not_found(referral_app: ReferralApp):
    path = f"/v1/referrals/{UUID(int=1)}/appointment"
    assert (await referral_app.post(path, {"appointment_at": AT}))[0] == 404
    assert (await referral_app.post(f"{path}/outcome", {"outcome": "missed"}))[0] == 404
