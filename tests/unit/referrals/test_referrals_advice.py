"""Given / when / then on what advisers do: choose, refuse, propose again, close."""

from dataclasses import replace
from uuid import uuid4

import pytest

from contracts.referrals import (
    ProposalChanged,
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
from services.referrals.model.case import Changes
from services.referrals.model.deadlines import working_day
from services.referrals.model.person import AgreementMissingError
from services.referrals.model.referral import (
    ForbiddenTransitionError,
    InvalidMoveError,
    Move,
    refuse_answer,
)
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
    told.take(Changes((), ((old.referral_id, old.version, (refused,)),)))
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
