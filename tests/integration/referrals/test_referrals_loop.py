"""The closed loop on a real PostgreSQL: the calendar, the worklist, what advisers decide."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.partners import (
    AnswerLate,
    CapacityReported,
    ServiceWithdrawn,
)
from contracts.values import CapacityStatus, PartnerKind, Reason, ReferralStatus
from services.referrals.model.deadlines import working_day
from tests.support.platform import append, drain, published, resident
from tests.support.referral_app import MONDAY, ReferralApp, services

S = ReferralStatus


async def test_silent_partner_is_reminded_escalated_and_left_for_the_next(
    referral_app: ReferralApp,
):
    person_id = await referral_app.comes()
    await referral_app.on(working_day(MONDAY, 3))
    assert await referral_app.reasons() == []
    await referral_app.on(working_day(MONDAY, 7))
    assert await referral_app.reasons() == [("escalated", "2026-12-02")]
    await referral_app.on(working_day(MONDAY, 10))
    case = await referral_app.case(person_id)
    assert services(case) == [("s-mission-locale", "cancelled"), ("s-france-travail", "draft")]
    assert case["referrals"][0]["reason"] == "no-response"
    assert case["referrals"][1]["replaces"] == case["referrals"][0]["referral_id"]
    assert await referral_app.reasons() == [("to-confirm", "2026-12-08")]


async def test_step_of_the_calendar_is_taken_once_however_often_it_is_looked_at(
    referral_app: ReferralApp,
):
    await referral_app.comes()
    day = working_day(MONDAY, 3)
    await referral_app.on(day)
    await referral_app.on(day)
    async with referral_app.service.database.reading() as connection:
        count = await connection.fetchval(
            "SELECT count(*) FROM events WHERE type LIKE '%deadline%'"
        )
    assert count == 1


async def test_answer_in_time_stops_the_clock(referral_app: ReferralApp):
    person_id = await referral_app.comes()
    await referral_app.answers(await referral_app.case(person_id), S.ACCEPTED)
    await referral_app.on(working_day(MONDAY, 10))
    case = await referral_app.case(person_id)
    assert services(case) == [("s-mission-locale", "accepted")]
    assert await referral_app.reasons() == [
        ("escalated", "2026-12-07")
    ]  # accepted, no appointment


async def test_one_referral_that_cannot_be_handled_does_not_hold_up_the_calendar(
    referral_app: ReferralApp,
):
    broken, fine = await referral_app.comes(), await referral_app.comes()
    referral = (await referral_app.case(broken))["referrals"][0]["referral_id"]
    async with referral_app.service.database.transaction() as tx:
        await tx.execute(
            "UPDATE cases SET case_id = gen_random_uuid() WHERE person_id = $1", broken
        )
        await tx.execute(
            "UPDATE referrals SET case_id = gen_random_uuid() WHERE referral_id = $1", referral
        )
    await referral_app.on(working_day(MONDAY, 10))
    assert services(await referral_app.case(fine))[0] == ("s-mission-locale", "cancelled")


async def test_full_service_is_passed_over_until_its_report_runs_out(referral_app: ReferralApp):
    full = CapacityReported(
        service_id="s-mission-locale",
        partner_id="p-mission-locale",
        status=CapacityStatus.NO_CAPACITY,
        until=date(2026, 11, 27),
        reported_at=referral_app.now,
    )
    await append(referral_app.platform, "partners", "service-s-mission-locale", [full])
    first = await referral_app.case(await referral_app.comes())
    assert services(first) == [("s-france-travail", "draft")]
    await referral_app.on(date(2026, 11, 30))
    assert services(await referral_app.case(await referral_app.comes())) == [
        ("s-mission-locale", "requested")
    ]


async def test_service_that_its_source_lists_no_more_is_proposed_to_nobody_new(
    referral_app: ReferralApp,
):
    gone = ServiceWithdrawn(service_id="s-mission-locale", partner_id="p-mission-locale")
    before = await referral_app.case(await referral_app.comes())
    await append(referral_app.platform, "partners", "service-s-mission-locale", [gone])
    after = await referral_app.case(await referral_app.comes())
    assert services(after) == [("s-france-travail", "draft")]
    await referral_app.on(
        working_day(MONDAY, 10)
    )  # what was asked before still has its deadlines
    again = await referral_app.case(UUID(str(before["person_id"])))
    assert services(again)[0] == ("s-mission-locale", "cancelled")
    back = published(PartnerKind.MISSION_LOCALE, "auto")
    await append(referral_app.platform, "partners", "service-s-mission-locale", [back])
    assert services(await referral_app.case(await referral_app.comes())) == [
        ("s-mission-locale", "requested")
    ]


async def test_older_report_does_not_supersede_a_newer(referral_app: ReferralApp):
    reports = [
        CapacityReported(
            service_id="s-mission-locale", partner_id="p", status=status,
            reported_at=datetime(2026, 11, day, tzinfo=UTC),
        )
        for day, status in ((20, CapacityStatus.CAPACITY), (10, CapacityStatus.NO_CAPACITY))
    ]  # fmt: skip
    for report in reports:
        await append(referral_app.platform, "partners", "service-s-mission-locale", [report])
        await drain(referral_app.service)
    assert services(await referral_app.case(await referral_app.comes())) == [
        ("s-mission-locale", "requested")
    ]


async def test_worklist_names_the_next_step_in_french_and_puts_the_urgent_first(
    referral_app: ReferralApp,
):
    await referral_app.comes(agreed=[])
    await referral_app.comes(agreed=[], urgent=True)
    items = (await referral_app.get("/v1/worklist"))["items"]
    assert [item["urgent"] for item in items] == [True, False]
    assert items[0]["label"] == "Demande à confirmer"
    assert items[0]["next_step"].startswith("Confirmer avec la personne")
    assert [item["due_on"] for item in items] == ["2026-11-23", "2026-11-24"]


async def test_adviser_types_in_what_a_partner_said_for_the_partner(referral_app: ReferralApp):
    person_id = await referral_app.comes()
    referral_id = (await referral_app.case(person_id))["referrals"][0]["referral_id"]
    path = f"/v1/referrals/{referral_id}/answer"
    status, problem = await referral_app.post(path, {"status": "rejected"})
    assert (status, problem["errors"][0]["field"]) == (422, "reason")
    status, problem = await referral_app.post(path, {"status": "in-progress"})
    assert (status, problem["type"].rsplit("/")[-1]) == (409, "forbidden-transition")
    await referral_app.post(path, {"status": "rejected", "reason": "no-capacity"})
    case = await referral_app.case(person_id)
    assert services(case) == [("s-mission-locale", "rejected"), ("s-france-travail", "draft")]
    async with referral_app.service.database.reading() as connection:
        row = await connection.fetchrow(
            "SELECT data->>'author' AS a, data->>'on_behalf_of' AS b FROM events "
            "WHERE type LIKE '%referral.rejected%'"
        )
    assert (row["a"], row["b"]) == ("adviser", "partner")


async def test_adviser_chooses_others_at_once_and_the_first_to_accept_has_it(
    referral_app: ReferralApp,
):
    person_id = await referral_app.comes(agreed=list(PartnerKind)[:1])  # France Travail alone
    proposal = (await referral_app.case(person_id))["proposal_id"]
    path = f"/v1/proposals/{proposal}/choose"
    status, problem = await referral_app.post(
        path, {"service_ids": ["s-temp-agency"], "comment": "x"}
    )
    assert (status, problem["type"].rsplit("/")[-1]) == (409, "agreement-missing")
    person_id = await referral_app.comes()
    case = await referral_app.case(person_id)
    path = f"/v1/proposals/{case['proposal_id']}/choose"
    both = {"service_ids": ["s-temp-agency", "s-france-travail"], "comment": "le plus rapide"}
    status, _ = await referral_app.post(path, both)
    assert status == 200
    case = await referral_app.case(person_id)
    assert [s for _, s in services(case)] == ["requested"] * 3
    await referral_app.answers(case, S.ACCEPTED, 2)
    assert [s for _, s in services(await referral_app.case(person_id))] == [
        "cancelled", "cancelled", "accepted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "status", "slug"),
    [
        ("/v1/proposals/{p}/choose", {"service_ids": ["x"], "comment": "x"}, 422, "invalid"),
        ("/v1/proposals/{p}/choose", {"service_ids": [], "comment": "x"}, 422, "invalid"),
        (
            "/v1/proposals/{p}/choose",
            {"service_ids": ["s-plie", "s-plie"], "comment": "x"},
            422,
            "invalid",
        ),
        ("/v1/proposals/{p}/choose", {"service_ids": ["s-temp-agency"]}, 422, "invalid"),
        (
            "/v1/proposals/{p}/choose",
            {"service_ids": ["s-mission-locale"], "comment": "x"},
            409,
            "already-tried",
        ),
        ("/v1/proposals/{u}/refuse", {"comment": "x"}, 404, "not-found"),
        ("/v1/cases/{u}/propose", None, 404, "not-found"),
        ("/v1/cases/{c}/close", {"status": "active", "outcome": "x"}, 422, "invalid"),
        ("/v1/cases/{c}/close", {"status": "revoked", "outcome": "Un texte"}, 422, "invalid"),
        ("/v1/cases/{c}/close", {"status": "revoked", "outcome": "moved"}, 422, "invalid"),
    ],
)
async def test_what_an_adviser_may_not_do_is_a_problem_and_changes_nothing(
    referral_app: ReferralApp, path: str, body: Any, status: int, slug: str
):
    person_id = await referral_app.comes()
    case = await referral_app.case(person_id)
    ids = {"p": case["proposal_id"], "c": case["case_id"], "u": uuid4()}
    found, problem = await referral_app.post(path.format(**ids), body)
    assert (found, problem["type"].rsplit("/")[-1]) == (status, slug)
    if status == 422:
        named = {"service_ids", "comment", "status", "outcome", "reason"}
        assert problem["errors"][0]["field"] in named
    assert await referral_app.case(person_id) == case


async def test_refused_proposal_and_closed_case(referral_app: ReferralApp):
    person_id = await referral_app.comes(agreed=[])
    case = await referral_app.case(person_id)
    status, refused = await referral_app.post(
        f"/v1/proposals/{case['proposal_id']}/refuse", {"comment": "la personne réfléchit"}
    )
    assert (status, refused["exhausted"]) == (200, "refused")
    assert await referral_app.reasons() == [("exhausted", "2026-11-25")]
    status, again = await referral_app.post(f"/v1/cases/{case['case_id']}/propose")
    assert (status, again["exhausted"]) == (200, None)
    status, stale = await referral_app.post(
        f"/v1/proposals/{case['proposal_id']}/refuse", {"comment": "encore"}
    )
    assert (status, stale["type"].rsplit("/")[-1]) == (409, "stale-proposal")
    body = {"status": "revoked", "outcome": "moved-away", "comment": "a déménagé"}
    status, closed = await referral_app.post(f"/v1/cases/{case['case_id']}/close", body)
    assert (status, closed["status"], closed["outcome"]) == (200, "revoked", "moved-away")
    assert await referral_app.reasons() == []
    status, problem = await referral_app.post(f"/v1/cases/{case['case_id']}/propose")
    assert (status, problem["type"].rsplit("/")[-1]) == (409, "case-closed")
    first = await referral_app.get(f"/v1/proposals/{case['proposal_id']}")
    assert first["proposal_id"] == case["proposal_id"]


async def test_adviser_cannot_type_in_a_yes_before_the_commission_has_met(
    referral_app: ReferralApp,
):
    plie = published(PartnerKind.PLIE).model_copy(update={"commission": True})
    await append(referral_app.platform, "partners", "partner-plie", [plie])
    person_id = await referral_app.comes()
    case = await referral_app.case(person_id)
    choice = {"service_ids": ["s-plie"], "comment": "le PLIE"}
    await referral_app.post(f"/v1/proposals/{case['proposal_id']}/choose", choice)
    asked = (await referral_app.case(person_id))["referrals"][-1]
    path = f"/v1/referrals/{asked['referral_id']}/answer"
    status, problem = await referral_app.post(path, {"status": "accepted"})
    assert (status, problem["errors"][0]["field"]) == (422, "status")
    meets = {"business_status": "commission-scheduled", "commission_on": "2026-11-25"}
    assert (await referral_app.post(path, {"status": "requested", **meets}))[0] == 200
    assert (await referral_app.post(path, {"status": "accepted"}))[0] == 422
    await referral_app.on(date(2026, 11, 25))
    assert (await referral_app.post(path, {"status": "accepted"}))[0] == 200


async def test_yes_that_the_partner_service_refused_as_too_late_is_shown(
    referral_app: ReferralApp,
):
    person_id = await referral_app.comes()
    await referral_app.on(working_day(MONDAY, 10))
    referral = (await referral_app.case(person_id))["referrals"][0]
    late = AnswerLate(
        answer_id=uuid4(), referral_id=referral["referral_id"], partner_id="p",
        person_id=person_id, status=S.ACCEPTED,
    )  # fmt: skip
    await append(
        referral_app.platform, "partners", f"late-{late.referral_id}", [late], person_id
    )
    await drain(referral_app.service)
    assert ("answer-unclear", "2026-12-07") in await referral_app.reasons()


async def test_late_yes_is_shown_and_may_be_taken_up(referral_app: ReferralApp):
    person_id = await referral_app.comes()
    await referral_app.on(working_day(MONDAY, 10))
    await referral_app.answers(await referral_app.case(person_id), S.ACCEPTED, 0)
    assert ("answer-unclear", "2026-12-07") in await referral_app.reasons()
    case = await referral_app.case(person_id)
    choice = {"service_ids": ["s-mission-locale"], "comment": "a fini par répondre"}
    status, _ = await referral_app.post(f"/v1/proposals/{case['proposal_id']}/choose", choice)
    assert status == 200
    case = await referral_app.case(person_id)
    assert services(case)[-1] == ("s-mission-locale", "requested")
    assert case["referrals"][-1]["replaces"] == case["referrals"][0]["referral_id"]


async def test_partner_that_stays_silent_shows_in_its_read_model(referral_app: ReferralApp):
    person_id = await referral_app.comes()
    await referral_app.on(working_day(MONDAY, 10))
    case = await referral_app.case(person_id)
    await referral_app.post(f"/v1/referrals/{case['referrals'][1]['referral_id']}/confirm")
    await referral_app.answers(await referral_app.case(person_id), S.ACCEPTED, 1)
    found = {
        p["partner_id"]: p
        for p in (await referral_app.get("/v1/partners/silences"))["partners"]
    }
    assert found["p-mission-locale"]["lapsed"] == 1
    assert found["p-mission-locale"]["answered"] == 0
    assert (found["p-france-travail"]["answered"], found["p-france-travail"]["lapsed"]) == (
        1,
        0,
    )


async def test_person_sent_round_between_two_partners_shows_as_a_bounce(
    referral_app: ReferralApp,
):
    person_id = await referral_app.comes()
    case = await referral_app.case(person_id)
    await referral_app.answers(
        case, S.REJECTED, reason=Reason.REFERRED_ONWARD,
        suggested_service_id="s-france-travail",
    )  # fmt: skip
    case = await referral_app.case(person_id)
    await referral_app.post(f"/v1/referrals/{case['referrals'][1]['referral_id']}/confirm")
    await referral_app.answers(
        await referral_app.case(person_id), S.REJECTED, reason=Reason.REFERRED_ONWARD
    )
    assert (await referral_app.get("/v1/partners/bounces"))["bounces"] == []
    await referral_app.on(working_day(MONDAY, 1))
    again = resident(person_id)[-1]  # the same need comes back: the case starts with the first
    await append(referral_app.platform, "intake", f"person-{person_id}", [again], person_id)
    await drain(referral_app.service)
    (bounce,) = (await referral_app.get("/v1/partners/bounces"))["bounces"]
    assert (bounce["partner_id"], bounce["other_partner_id"]) == (
        "p-mission-locale", "p-france-travail",
    )  # fmt: skip


async def test_contact_that_arrives_sixty_days_late_gives_the_partner_its_full_time(
    referral_app: ReferralApp,
):
    person_id = await referral_app.comes(occurred_at=referral_app.now - timedelta(days=60))
    await referral_app.on(MONDAY)
    case = await referral_app.case(person_id)
    assert services(case) == [("s-mission-locale", "requested")]
    assert case["referrals"][0]["next_on"] == working_day(MONDAY, 3).isoformat()
    assert case["referrals"][0]["expire_on"] == working_day(MONDAY, 10).isoformat()
    silent = (await referral_app.get("/v1/partners/silences", days=30))["partners"]
    assert [(p["unanswered"], p["lapsed"]) for p in silent] == [(1, 0)]
