"""Given / when / then on the closed loop: what a case does after each answer, or none."""

from dataclasses import replace
from datetime import date
from typing import Any
from uuid import uuid4

import pytest

from contracts.base import Event
from contracts.referrals import (
    CaseClosed,
    CaseExhausted,
    CaseRerouted,
    ProposalChanged,
    ReferralCancelled,
    ReferralCorrected,
    ReferralRequested,
)
from contracts.values import (
    Author,
    CapacityStatus,
    CaseStatus,
    PartnerKind,
    Reason,
    ReferralStatus,
)
from services.referrals.model import advice
from services.referrals.model.case import Case, Decided, Tried, World, evolve_case
from services.referrals.model.deadlines import working_day
from services.referrals.model.loop import after_move, confirm, open_case
from services.referrals.model.person import AgreementMissingError, Person
from services.referrals.model.referral import (
    ForbiddenTransitionError,
    InvalidMoveError,
    Move,
    Referral,
    evolve_referral,
    move_referral,
    refuse_answer,
)
from tests.support.referrals import (
    FT,
    ML,
    TEMP,
    TODAY,
    TRAINING,
    agreement,
    opened,
    person,
    world,
)

S = ReferralStatus
FULL = CapacityStatus.NO_CAPACITY


class Story:
    """A case and its referrals as they go on; ``said``: short names of events, in order."""

    def __init__(self, about: World, **given: Any) -> None:
        self.world = about
        self.case: Case | None = None
        self.referrals: dict[Any, Referral] = {}
        self.said: list[str] = []
        self.events: list[Event] = []
        self.take(open_case(opened(**given), about))

    def take(self, decided: Decided) -> list[str]:
        before = len(self.said)
        for event in decided.case:
            self.case = evolve_case(self.case, event)
            self._say(event)
        for referral_id, version, events in decided.referrals:
            known = self.referrals.get(referral_id)
            assert (known.version if known else 0) == version
            for event in events:
                known = evolve_referral(known, event)
                self._say(event)
            assert known is not None
            self.referrals[referral_id] = known
        return self.said[before:]

    def _say(self, event: Event) -> None:
        self.events.append(event)
        self.said.append(event.type.removeprefix("fr.aiguillage.referrals.")[:-3])

    @property
    def tried(self) -> Tried:
        return Tried(list(self.referrals.values()))

    def at(self, service_id: str) -> Referral:
        return [r for r in self.referrals.values() if r.service_id == service_id][-1]

    def moves(self, service_id: str, status: ReferralStatus, **given: Any) -> list[str]:
        """The partner of a service (or whoever is named) moves its referral."""
        author = given.pop("author", Author.PARTNER)
        move = Move(status, author, **given)
        found, before = self.at(service_id), len(self.said)
        assert self.case is not None
        moved = move_referral(found, move, self.world.today)
        self.take(Decided((), ((found.referral_id, found.version, moved),)))
        now = self.at(service_id)
        self.take(after_move(self.case, now, self.tried.but(now), move, self.world))
        return self.said[before:]

    def confirms(self, service_id: str) -> None:
        found = self.at(service_id)
        assert self.case is not None
        events = confirm(self.case, found, self.world, "adviser:anne", Author.ADVISER)
        self.take(Decided((), ((found.referral_id, found.version, events),)))

    def states(self) -> dict[str, str]:
        return {r.service_id: r.status for r in self.referrals.values()}


def story(*services: Any, who: Person | None = None, **given: Any) -> Story:
    return Story(world(who or person(), *services), **given)


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


# --- advisers -----------------------------------------------------------------------------


def chosen(told: Story, *services: str) -> list[str]:
    assert told.case is not None
    return told.take(
        advice.choose(told.case, told.tried, services, told.world, "adviser:anne", "son choix")
    )


def test_adviser_chooses_another_service_and_the_draft_is_dropped():
    told = story(FT, TEMP)
    said = chosen(told, TEMP.service_id)
    assert said[0] == "proposal.changed"
    assert told.states() == {FT.service_id: "entered-in-error", TEMP.service_id: "requested"}
    (changed,) = [e for e in told.events if isinstance(e, ProposalChanged)]
    assert changed.changed_by == "adviser:anne"
    assert "son choix" not in changed.clear_json().decode()


def test_adviser_may_choose_beyond_the_limit_but_no_service_twice():
    told = story(ML, FT, TEMP, TRAINING)
    while told.tried.open:
        (one,) = told.tried.open
        if one.status is S.DRAFT:
            told.confirms(one.service_id)
        told.moves(one.service_id, S.REJECTED, reason=Reason.NO_CAPACITY)
    with pytest.raises(advice.AlreadyTriedError):
        chosen(told, FT.service_id)
    assert TEMP.service_id not in told.states()  # three were asked, this was the fourth
    chosen(told, TEMP.service_id)
    assert told.states()[TEMP.service_id] == "requested"


def test_late_yes_is_a_new_referral_linked_to_the_old_one():
    told = story(ML)
    told.moves(ML.service_id, S.CANCELLED, author=Author.HUB, reason=Reason.NO_RESPONSE)
    old = told.at(ML.service_id)
    with pytest.raises(advice.AlreadyTriedError):
        chosen(told, ML.service_id)
    late = Move(S.ACCEPTED, Author.PARTNER, answer_id=uuid4())
    refused = refuse_answer(old, late, "cancelled does not lead to accepted")
    told.take(Decided((), ((old.referral_id, old.version, (refused,)),)))
    chosen(told, ML.service_id)
    new = told.at(ML.service_id)
    assert (new.status, new.replaces) == (S.REQUESTED, old.referral_id)


def test_choice_without_an_agreement_sends_nothing():
    bare = person()
    told = story(
        FT, TEMP, who=replace(bare, agreements=(agreement(PartnerKind.MISSION_LOCALE),))
    )
    with pytest.raises(AgreementMissingError):
        chosen(told, TEMP.service_id)
    assert told.states() == {FT.service_id: "draft"}


def test_service_that_the_directory_does_not_know_cannot_be_chosen():
    with pytest.raises(advice.UnknownServiceError):
        chosen(story(FT), "nobody")


def test_refused_proposal_sends_nothing_and_waits_for_an_adviser():
    told = story(FT)
    assert told.case is not None
    said = told.take(advice.refuse(told.case, told.tried, told.world, "adviser:anne", "non"))
    assert said == ["proposal.refused", "case.exhausted", "referral.corrected"]


def test_new_facts_make_a_new_proposal_and_drop_the_old_draft():
    told = story(FT, ML, who=person(None))
    assert told.case is not None
    told.world = world(person(), FT, ML)
    said = told.take(advice.propose_again(told.case, told.tried, told.world))
    assert said[0] == "proposal.made"
    assert told.tried.open[0].service_id == ML.service_id
    assert told.tried.open[0].status is S.DRAFT
    (corrected,) = [e for e in told.events if isinstance(e, ReferralCorrected)]
    assert corrected.reason is Reason.SUPERSEDED


def test_new_proposal_leaves_alone_what_a_partner_already_has():
    told = story(ML, FT)
    assert told.case is not None
    said = told.take(advice.propose_again(told.case, told.tried, told.world))
    assert said == ["proposal.made"]
    assert told.states() == {ML.service_id: "requested"}


def test_closing_a_case_stops_what_is_open_for_a_reason():
    told = story(ML, FT)
    assert told.case is not None
    ending = Move(S.CANCELLED, Author.ADVISER, outcome="found-a-job")
    with pytest.raises(InvalidMoveError) as missing:
        advice.close(told.case, told.tried, told.world, CaseStatus.COMPLETED, ending)
    assert missing.value.field == "reason"
    ending = replace(ending, reason=Reason.CLIENT_IN_EMPLOYMENT)
    said = told.take(
        advice.close(told.case, told.tried, told.world, CaseStatus.COMPLETED, ending)
    )
    assert said == ["case.closed", "referral.cancelled"]


def test_nothing_is_decided_in_a_case_that_has_ended():
    told = story(FT)
    assert told.case is not None
    told.case = replace(told.case, status=CaseStatus.REVOKED)
    with pytest.raises(advice.CaseClosedError):
        chosen(told, FT.service_id)
    with pytest.raises(advice.CaseClosedError):
        advice.refuse(told.case, told.tried, told.world, "a", "x")
    with pytest.raises(advice.CaseClosedError):
        advice.propose_again(told.case, told.tried, told.world)
    with pytest.raises(ForbiddenTransitionError):
        told.confirms(FT.service_id)


def test_request_names_the_day_until_which_the_partner_is_waited_for():
    told = story(ML)
    (asked,) = [e for e in told.events if isinstance(e, ReferralRequested)]
    assert asked.requested_on == TODAY
    assert asked.awaits is not None
    assert asked.awaits.expire_on == working_day(TODAY, 10)
