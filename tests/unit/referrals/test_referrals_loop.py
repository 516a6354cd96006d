"""Given / when / then on the closed loop: what a case does after each answer, or none."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from contracts.referrals import (
    CaseClosed,
    CaseExhausted,
    CaseRerouted,
    ProposalMade,
    ReferralCancelled,
    ReferralProposed,
    ReferralRequested,
)
from contracts.values import (
    Author,
    CapacityStatus,
    CaseStatus,
    Reason,
    ReferralStatus,
)
from services.referrals.model.deadlines import working_day
from services.referrals.model.referral import pass_deadline
from tests.support.referrals import (
    FT,
    ML,
    TEMP,
    TODAY,
    TRAINING,
    Story,
    agreement,
    person,
    story,
    world,
)

S = ReferralStatus
FULL = CapacityStatus.NO_CAPACITY


def test_refusal_leads_to_the_next_candidate_and_says_what_it_replaces():
    told = story(ML, FT)
    said = told.moves(ML.service_id, S.REJECTED, reason=Reason.NO_CAPACITY)
    assert said == ["referral.rejected", "case.rerouted", "referral.proposed"]
    assert told.at(FT.service_id).replaces == told.at(ML.service_id).referral_id
    (rerouted,) = [e for e in told.events if isinstance(e, CaseRerouted)]
    assert rerouted.reason is Reason.NO_CAPACITY


def test_no_service_is_asked_twice_and_three_are_the_limit():
    told = story(ML, FT, TEMP, TRAINING)
    asked = []
    while told.tried.open:
        (one,) = told.tried.open
        if one.status is S.DRAFT:
            told.confirms(one.service_id)
        asked.append(one.service_id)
        told.moves(one.service_id, S.REJECTED, reason=Reason.NO_CAPACITY)
    assert len(asked) == len(set(asked)) == 3
    last = told.events[-1]
    assert isinstance(last, CaseExhausted)
    assert (last.reason, last.due_on) == ("attempts", working_day(TODAY, 2))


def test_urgent_case_that_is_exhausted_is_looked_at_the_same_day():
    told = story(ML, urgent=True)
    told.moves(ML.service_id, S.REJECTED, reason=Reason.NO_CAPACITY)
    last = told.events[-1]
    assert isinstance(last, CaseExhausted)
    assert (last.reason, last.due_on) == ("all-tried", TODAY)


def test_no_response_moves_on_as_a_refusal_does():
    told = story(ML, FT)
    said = told.moves(ML.service_id, S.CANCELLED, author=Author.HUB, reason=Reason.NO_RESPONSE)
    assert said == ["referral.cancelled", "case.rerouted", "referral.proposed"]


def test_what_a_partner_says_of_the_person_is_not_followed_by_an_automatic_contact():
    """The person declined: an adviser talks to them before the next partner is asked."""
    auto = replace(FT, policy="auto")
    told = story(ML, auto)
    said = told.moves(ML.service_id, S.REJECTED, reason=Reason.CLIENT_DECLINED)
    assert said == ["referral.rejected", "case.rerouted", "referral.proposed"]
    other = story(ML, auto)
    other.moves(ML.service_id, S.REJECTED, reason=Reason.NO_CAPACITY)
    assert other.at(FT.service_id).status is S.REQUESTED


def test_adviser_who_stops_the_last_referral_has_the_case_on_the_worklist():
    told = story(ML, FT)
    said = told.moves(
        ML.service_id, S.CANCELLED, author=Author.ADVISER, reason=Reason.OTHER, comment="x"
    )
    assert said == ["referral.cancelled", "case.exhausted"]


def test_withdrawn_agreement_asks_nobody_else():
    told = story(ML, FT)
    withdrawn = Reason.AGREEMENT_WITHDRAWN
    said = told.moves(ML.service_id, S.CANCELLED, author=Author.HUB, reason=withdrawn)
    assert said == ["referral.cancelled", "case.exhausted"]


def test_completion_closes_the_case_with_its_outcome():
    told = story(ML)
    told.moves(ML.service_id, S.ACCEPTED)
    assert told.moves(ML.service_id, S.COMPLETED, outcome="job-found") == [
        "referral.completed",
        "case.closed",
    ]
    closed = told.events[-1]
    assert isinstance(closed, CaseClosed)
    assert closed.outcome == "job-found"


def test_closed_case_goes_nowhere_after_a_late_refusal():
    told = story(ML, FT)
    assert told.case is not None
    told.case = replace(told.case, status=CaseStatus.COMPLETED)
    late = told.moves(ML.service_id, S.REJECTED, reason=Reason.NO_CAPACITY)
    assert late == ["referral.rejected"]


# --- full services ------------------------------------------------------------------------


def test_full_service_is_passed_over_while_another_has_room():
    told = story(replace(ML, capacity=FULL), FT)
    assert told.states() == {FT.service_id: "draft"}


def test_full_service_is_never_asked_without_an_adviser():
    told = story(replace(ML, capacity=FULL))
    assert told.states() == {ML.service_id: "draft"}


def test_service_that_no_longer_suits_on_the_day_is_passed_over():
    told = story(ML, FT, who=person(date(2000, 12, 1)))  # 26 in a week
    told.world = world(person(date(2000, 12, 1)), ML, FT, today=date(2026, 12, 2))
    told.moves(ML.service_id, S.REJECTED, reason=Reason.NO_CAPACITY)
    assert told.at(FT.service_id).status is S.DRAFT
    back = story(FT, ML, who=person(date(2000, 12, 1)))
    back.world = world(person(date(2000, 12, 1)), FT, ML, today=date(2026, 12, 2))
    assert back.at(ML.service_id).status is S.REQUESTED  # asked while it still suited


# --- several at once ----------------------------------------------------------------------


def test_first_acceptance_wins_and_the_others_are_told():
    told = story(ML, FT, TEMP, TRAINING, parallel=True)
    assert len(told.referrals) == 3
    for one in told.tried.open:
        if one.status is S.DRAFT:
            told.confirms(one.service_id)
    first, second, third = (r.service_id for r in told.tried.open)
    told.moves(second, S.ACCEPTED)
    assert told.states() == {first: "cancelled", second: "accepted", third: "cancelled"}
    superseded = [e for e in told.events if isinstance(e, ReferralCancelled)]
    assert {(e.reason, e.author) for e in superseded} == {(Reason.SUPERSEDED, Author.HUB)}


def test_refusal_of_one_of_several_waits_for_the_others():
    told = story(ML, FT, parallel=True)
    told.confirms(FT.service_id)
    assert told.moves(ML.service_id, S.REJECTED, reason=Reason.NO_CAPACITY) == [
        "referral.rejected"
    ]
    told.moves(FT.service_id, S.REJECTED, reason=Reason.NO_CAPACITY)
    assert isinstance(told.events[-1], CaseExhausted)


def test_draft_that_nobody_needs_any_more_is_dropped():
    told = story(ML, FT, parallel=True)
    told.moves(ML.service_id, S.ACCEPTED)
    assert told.states()[FT.service_id] == "entered-in-error"


# --- a partner knows somebody better ------------------------------------------------------


def test_transfer_that_a_partner_proposes_waits_for_an_adviser():
    told = story(ML, FT, replace(TEMP, policy="auto"))
    said = told.moves(
        ML.service_id, S.REJECTED, reason=Reason.REFERRED_ONWARD,
        suggested_service_id=TEMP.service_id,
    )  # fmt: skip
    assert said == ["referral.rejected", "case.rerouted", "referral.proposed"]
    assert told.at(TEMP.service_id).status is S.DRAFT


def test_transfer_back_to_whoever_was_asked_goes_on_down_the_list():
    """A → B → A is not followed."""
    told = story(ML, FT, TEMP)
    onward = Reason.REFERRED_ONWARD
    told.moves(ML.service_id, S.REJECTED, reason=onward, suggested_service_id=FT.service_id)
    told.confirms(FT.service_id)
    told.moves(FT.service_id, S.REJECTED, reason=onward, suggested_service_id=ML.service_id)
    assert told.states()[TEMP.service_id] == "draft"


def late(days: int, **given: Any) -> Story:
    """A contact that reached the hub so many days after it was."""
    told_on = TODAY - timedelta(days=days)
    return Story(replace(world(person(**given), ML, FT), facts_on=told_on))


@pytest.mark.parametrize("days", [0, 10, 60, 365])
def test_partner_has_its_time_however_late_the_contact_reached_the_hub(days: int):
    told = late(days)
    (requested,) = [e for e in told.events if isinstance(e, ReferralRequested)]
    assert requested.requested_on == TODAY
    assert requested.awaits
    assert (requested.awaits.remind_on, requested.awaits.expire_on) == (
        working_day(TODAY, 3), working_day(TODAY, 10),
    )  # fmt: skip
    assert pass_deadline(told.at(ML.service_id), TODAY) == ()


def test_adviser_has_a_day_to_confirm_however_late_the_contact_reached_the_hub():
    told = late(60, born=date(1985, 5, 17))
    (proposed,) = [e for e in told.events if isinstance(e, ReferralProposed)]
    assert proposed.awaits
    assert proposed.awaits.escalate_on == working_day(TODAY, 1)


def test_case_that_nobody_suits_is_looked_at_after_it_reached_the_hub():
    nobody = world(person(commune="75056"), ML)  # who is of the agglomération only
    told = Story(replace(nobody, facts_on=TODAY - timedelta(days=60)))
    last = told.events[-1]
    assert isinstance(last, CaseExhausted)
    assert last.due_on == working_day(TODAY, 2)


def test_day_of_the_contact_decides_the_age():
    born = TODAY - timedelta(days=26 * 365 + 20)  # 26 by now, 25 on the day of the contact
    made = [e for e in late(60, born=born).events if isinstance(e, ProposalMade)]
    assert made[0].evaluated_on == TODAY - timedelta(days=60)
    assert made[0].ranked[0] == ML.service_id
    now = [e for e in late(0, born=born).events if isinstance(e, ProposalMade)]
    assert now[0].ranked[0] != ML.service_id  # from 26 on a disability would have to be known


def test_agreement_that_ended_before_the_contact_arrived_discloses_nothing():
    who = replace(person(), agreements=(agreement(ML.kind, until=TODAY - timedelta(days=1)),))
    told = Story(replace(world(who, ML), facts_on=TODAY - timedelta(days=10)))
    assert told.states() == {ML.service_id: S.DRAFT}


def test_contact_that_is_dated_ahead_counts_as_of_today():
    (made,) = [e for e in late(-1).events if isinstance(e, ProposalMade)]
    assert made.evaluated_on == TODAY
