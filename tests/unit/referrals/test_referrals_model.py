"""Given / when / then on one referral: the table of states, authors, reasons."""

from uuid import uuid4

import pytest

from contracts.referrals import AnswerRefused, ReferralRequested
from contracts.values import (
    TRANSITIONS,
    Author,
    BusinessStatus,
    PartnerKind,
    Reason,
    ReferralStatus,
)
from services.referrals.model.case import Case
from services.referrals.model.case_flow import confirm, draft
from services.referrals.model.referral import (
    ForbiddenTransitionError,
    InvalidMoveError,
    Move,
    Referral,
    check_move,
    evolve_referral,
    move_referral,
    refuse_answer,
)
from services.referrals.model.routing import Service
from tests.support.referrals import FT, JOB, ML, TODAY, person, world

S = ReferralStatus


def case_of(*services: Service) -> Case:
    return Case(
        uuid4(), uuid4(), JOB, False, False, proposal_id=uuid4(),
        ranked=tuple(s.service_id for s in services), version=2,
    )  # fmt: skip


def types(events) -> list[str]:
    return [event.type.split(".", 3)[3] for event in events]


def drafted(case: Case, of: Service) -> Referral:
    return Referral.of(draft(case, of, 1, TODAY))


WORDS = {
    S.REJECTED: {"reason": Reason.OTHER, "comment": "x"},
    S.CANCELLED: {"reason": Reason.OTHER, "comment": "x"},
    S.ON_HOLD: {"reason": Reason.OTHER, "comment": "x"},
    S.FAILED: {"reason": Reason.OTHER, "comment": "x"},
    S.COMPLETED: {"outcome": "x"},
}


def move(status: ReferralStatus, author: Author, **given: object) -> Move:
    words = {**WORDS.get(status, {}), **given}
    if author is Author.HUB and "reason" in words:
        words["reason"] = Reason.NO_RESPONSE
    return Move(status, author, **words)  # type: ignore[arg-type]


@pytest.mark.parametrize("author", Author)
@pytest.mark.parametrize("asked", S)
@pytest.mark.parametrize("current", S)
def test_only_the_steps_of_the_table_are_taken(current, asked, author):
    referral = Referral(
        uuid4(), uuid4(), uuid4(), "p", PartnerKind.PLIE, "s", status=current, version=4
    )
    if author in TRANSITIONS.get((current, asked), ()):
        check_move(current, move(asked, author))
        if asked is S.REQUESTED:
            return  # taken by ``confirm`` alone, which also asks for the agreement
        events = move_referral(referral, move(asked, author), TODAY)
        after = evolve_referral(referral, events[0])
        assert after is not None
        assert (after.status, after.version) == (asked, 5)
    else:
        with pytest.raises(ForbiddenTransitionError):
            move_referral(referral, move(asked, author), TODAY)


def test_adviser_may_type_in_what_the_partner_said():
    current = S.REQUESTED
    check_move(current, Move(S.ACCEPTED, Author.ADVISER, on_behalf_of=Author.PARTNER))
    with pytest.raises(ForbiddenTransitionError):
        check_move(current, Move(S.ACCEPTED, Author.ADVISER))


def test_business_status_refines_without_moving():
    case = case_of(ML)
    referral = evolve_referral(drafted(case, ML), requested(case, ML))
    assert referral is not None
    (event,) = move_referral(
        referral,
        Move(S.REQUESTED, Author.PARTNER, business_status=BusinessStatus.UNDER_STUDY),
        TODAY,
    )
    assert types([event]) == ["referral.received.v1"]


def requested(case: Case, of: Service) -> ReferralRequested:
    return ReferralRequested(
        referral_id=uuid4(), case_id=case.case_id, person_id=case.person_id,
        partner_id=of.partner_id, partner_kind=of.kind, service_id=of.service_id,
        thematique=JOB, agreement_id=uuid4(), agreed_until=TODAY, requested_on=TODAY,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        (Move(S.REJECTED, Author.PARTNER), "reason"),
        (Move(S.REJECTED, Author.PARTNER, Reason.OTHER), "comment"),
        (Move(S.REJECTED, Author.PARTNER, Reason.NO_RESPONSE), "reason"),
        (Move(S.CANCELLED, Author.ADVISER, Reason.NO_CAPACITY), "reason"),
    ],
)
def test_reasons_are_asked_for_and_belong_to_their_author(asked: Move, missing: str):
    with pytest.raises(InvalidMoveError) as error:
        check_move(S.REQUESTED, asked)
    assert error.value.field == missing


def test_completed_needs_an_outcome():
    with pytest.raises(InvalidMoveError, match="outcome"):
        check_move(S.ACCEPTED, Move(S.COMPLETED, Author.PARTNER))


def test_only_a_draft_is_confirmed():
    case = case_of(FT)
    referral = drafted(case, FT)
    events = confirm(case, referral, world(person(), FT), "adviser:anne", Author.ADVISER)
    assert types(events) == ["referral.confirmed.v1", "referral.requested.v1"]
    sent = evolve_referral(referral, events[1])
    assert sent is not None
    with pytest.raises(ForbiddenTransitionError):
        confirm(case, sent, world(person(), FT), "adviser:anne", Author.ADVISER)


def test_refused_answer_records_both_states():
    referral = drafted(case_of(ML), ML)
    asked = Move(S.ACCEPTED, Author.PARTNER, answer_id=uuid4())
    refused = refuse_answer(referral, asked, "no")
    assert isinstance(refused, AnswerRefused)
    assert (refused.status, refused.asked) == (S.DRAFT, S.ACCEPTED)
