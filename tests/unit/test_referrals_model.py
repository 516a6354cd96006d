"""Given / when / then on the referral service's pure model."""

from datetime import date
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.intake import AgreementGiven, Dated, Facts, Identity
from contracts.referrals import (
    AnswerRefused,
    CaseClosed,
    CaseExhausted,
    CaseOpened,
    ProposalMade,
    ReferralProposed,
    ReferralRequested,
)
from contracts.values import (
    TRANSITIONS,
    Author,
    BusinessStatus,
    CaseStatus,
    Evidence,
    PartnerKind,
    Reason,
    ReferralStatus,
    Situation,
    Thematique,
)
from services.referrals.app import RULES, load_rules
from services.referrals.model.case import (
    Case,
    World,
    after_move,
    confirm,
    disclosed,
    evolve_case,
    next_referral,
    open_case,
)
from services.referrals.model.person import AgreementMissingError, Person, age_on
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
from services.referrals.model.routing import NOT_ELIGIBLE, UNKNOWN, Service, propose

TODAY = date(2026, 11, 23)
JOB = Thematique("trouver-un-emploi--repondre-a-des-offres-demploi")
ALL_RULES = load_rules(RULES)
S = ReferralStatus


def service(kind: PartnerKind, name: str | None = None, **given: object) -> Service:
    name = name or kind
    return Service(name, f"partner-{name}", kind, name, (JOB,), **given)  # type: ignore[arg-type]


ML = service(PartnerKind.MISSION_LOCALE, policy="auto", zone=("245901160",))
FT = service(PartnerKind.FRANCE_TRAVAIL)
TEMP = service(PartnerKind.TEMP_AGENCY)
TRAINING = service(PartnerKind.TRAINING_BODY)


def person(born: date | None = date(2006, 5, 17), **facts: object) -> Person:
    stated = {
        "birth_date": born,
        "commune": "59459",
        "situation": Situation.JOB_SEEKER,
        **facts,
    }
    dated = {name: Dated(value=v) for name, v in stated.items() if v is not None}
    return Person(
        Identity(family_name="Dubrulle", given_name="Inès", phone="+33612345678"),
        Facts(**dated),  # type: ignore[arg-type]
        tuple(agreement(kind) for kind in PartnerKind),
    )


def agreement(kind: PartnerKind, until: date = date(2027, 1, 1), **given: object):
    fields = ["family_name", "given_name", "phone", "birth_date", "minimum_benefit"]
    return AgreementGiven(
        agreement_id=uuid4(), person_id=uuid4(), partner_kind=kind,
        fields=given.get("fields", fields), until=until, evidence=Evidence.ORAL,
    )  # fmt: skip


def world(who: Person, *services: Service) -> World:
    return World({s.service_id: s for s in services}, ALL_RULES, who, TODAY)


def opened() -> CaseOpened:
    return CaseOpened(case_id=uuid4(), person_id=uuid4(), need_id=uuid4(), thematique=JOB)


def types(events) -> list[str]:
    return [event.type.split(".", 3)[3] for event in events]


# --- routing ------------------------------------------------------------------------------


def verdicts(who: Person, *services: Service) -> dict[str, str]:
    found = propose(JOB, who, services, ALL_RULES, TODAY).candidates
    return {c.service_id: c.verdict for c in found}


def test_young_job_seeker_is_proposed_the_mission_locale_first():
    found = propose(JOB, person(), [FT, TEMP, ML], ALL_RULES, TODAY)
    assert [c.service_id for c in found.candidates] == [
        ML.service_id,
        FT.service_id,
        "temp-agency",
    ]


@pytest.mark.parametrize(
    ("born", "eligible"),
    [
        (date(2010, 11, 23), True),  # 16 today
        (date(2010, 11, 24), False),  # 16 tomorrow
        (date(2000, 11, 24), True),  # eve of the 26th birthday
        (date(2000, 11, 23), False),  # 26 today
    ],
)
def test_mission_locale_takes_16_to_25_years_completed(born: date, eligible: bool):
    """L5314-2: 25 ans révolus, until the eve of the 26th birthday."""
    assert (verdicts(person(born), ML)[ML.service_id] == NOT_ELIGIBLE) is not eligible


def test_pupil_is_not_sent_to_the_mission_locale():
    assert verdicts(person(situation=Situation.IN_SCHOOL), ML)[ML.service_id] == NOT_ELIGIBLE


def test_unknown_fact_makes_a_question_and_excludes_nobody():
    found = propose(JOB, person(None, situation=None), [ML], ALL_RULES, TODAY)
    assert found.candidates[0].verdict == UNKNOWN
    assert found.questions == [
        "Quelle est la date de naissance de la personne ?",
        "La personne est-elle encore scolarisée ?",
    ]


def test_person_outside_the_zone_is_not_eligible():
    assert verdicts(person(commune="75101"), ML)[ML.service_id] == NOT_ELIGIBLE


def test_service_for_another_thematique_is_not_a_candidate():
    other = Service("x", "p", PartnerKind.CLAP, "x", ("numerique--acquerir-un-equipement",))
    assert verdicts(person(), other) == {}


@given(st.permutations([ML, FT, TEMP, TRAINING]), st.dates(date(1940, 1, 1), TODAY))
def test_proposal_depends_on_nothing_but_its_arguments(order, born):
    who = person(born)
    assert propose(JOB, who, order, ALL_RULES, TODAY) == propose(
        JOB, who, [ML, FT, TEMP, TRAINING], ALL_RULES, TODAY
    )


@given(st.sampled_from(["none", "public-transport", "own-vehicle"]))
def test_fact_that_no_rule_asks_for_changes_no_ranking(mobility):
    plain = propose(JOB, person(), [ML, FT], ALL_RULES, TODAY)
    more = propose(JOB, person(mobility=mobility), [ML, FT], ALL_RULES, TODAY)
    assert plain.candidates == more.candidates


@given(
    st.dates(date(1930, 1, 1), date(2026, 1, 1)), st.dates(date(2026, 1, 1), date(2030, 1, 1))
)
def test_age_rises_on_the_birthday_and_never_before(born, day):
    age = age_on(born, day)
    assert born.replace(day=min(born.day, 28), year=born.year + age) <= day
    assert age == day.year - born.year - (day.timetuple()[1:3] < born.timetuple()[1:3])


# --- cases --------------------------------------------------------------------------------


def test_automatic_policy_with_an_agreement_requests_at_once():
    decided = open_case(opened(), world(person(), ML, FT))
    assert types(decided.case) == ["case.opened.v1", "proposal.made.v1"]
    ((_, version, events),) = decided.referrals
    assert version == 0
    assert types(events) == [
        "referral.proposed.v1", "referral.confirmed.v1", "referral.requested.v1",
    ]  # fmt: skip


def test_without_an_agreement_nothing_leaves_and_nobody_is_refused():
    who = person()
    bare = Person(who.identity, who.facts)
    ((_, _, events),) = open_case(opened(), world(bare, ML)).referrals
    assert types(events) == ["referral.proposed.v1"]


def test_expired_agreement_covers_nothing():
    who = person()
    expired = (agreement(PartnerKind.MISSION_LOCALE, until=date(2026, 11, 22)),)
    with pytest.raises(AgreementMissingError):
        Person(who.identity, who.facts, expired).agreement_for(ML.partner_id, ML.kind, TODAY)


def test_person_without_candidates_is_left_to_an_adviser():
    decided = open_case(opened(), world(person(date(1950, 1, 1)), ML))
    assert types(decided.case)[-1] == "case.exhausted.v1"
    assert decided.referrals == ()


def test_only_minimal_and_agreed_fields_are_disclosed():
    who = person(minimum_benefit="rsa")
    given = disclosed(world(who, ML), PartnerKind.MISSION_LOCALE, who.agreements[0])
    assert set(given) == {"family_name", "given_name", "phone", "birth_date"}


def case_of(*services: Service) -> Case:
    return Case(
        uuid4(), uuid4(), JOB, False, False, proposal_id=uuid4(),
        ranked=tuple(s.service_id for s in services), version=2,
    )  # fmt: skip


def draft(case: Case, of: Service) -> Referral:
    decided = next_referral(case, [], world(person(), of))
    events = decided.referrals[0][2]
    assert isinstance(events[0], ReferralProposed)
    return Referral.of(events[0])


def test_refusal_leads_to_the_next_candidate_and_says_what_it_replaces():
    case = case_of(ML, FT)
    referral = draft(case, ML)
    decided = after_move(case, referral, S.REJECTED, [ML.service_id], world(person(), ML, FT))
    ((_, _, events),) = decided.referrals
    assert isinstance(events[0], ReferralProposed)
    assert (events[0].service_id, events[0].replaces) == (FT.service_id, referral.referral_id)


def test_no_service_is_tried_twice_and_three_attempts_are_the_limit():
    case = case_of(ML, FT, TEMP, TRAINING)
    everybody = world(person(), ML, FT, TEMP, TRAINING)
    tried = [ML.service_id, FT.service_id, TEMP.service_id]
    (event,) = next_referral(case, tried, everybody).case
    assert isinstance(event, CaseExhausted)
    (event,) = next_referral(case_of(ML), [ML.service_id], everybody).case
    assert isinstance(event, CaseExhausted)
    assert event.reason == "all-tried"


def test_completed_referral_completes_its_case():
    case = case_of(ML)
    (closed,) = after_move(case, draft(case, ML), S.COMPLETED, [], world(person(), ML)).case
    assert isinstance(closed, CaseClosed)
    after = evolve_case(case, closed)
    assert after is not None
    assert after.status is CaseStatus.COMPLETED


def test_closed_case_goes_nowhere_after_a_late_refusal():
    case = evolve_case(
        case_of(ML, FT), CaseClosed(case_id=uuid4(), status=CaseStatus.COMPLETED)
    )
    assert case is not None
    after = after_move(case, draft(case_of(ML), ML), S.REJECTED, [], world(person(), ML, FT))
    assert (after.case, after.referrals) == ((), ())


# --- referrals ----------------------------------------------------------------------------

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
        events = move_referral(referral, move(asked, author))
        after = evolve_referral(referral, events[0])
        assert after is not None
        assert (after.status, after.version) == (asked, 5)
    else:
        with pytest.raises(ForbiddenTransitionError):
            move_referral(referral, move(asked, author))


def test_adviser_may_type_in_what_the_partner_said():
    current = S.REQUESTED
    check_move(current, Move(S.ACCEPTED, Author.ADVISER, on_behalf_of=Author.PARTNER))
    with pytest.raises(ForbiddenTransitionError):
        check_move(current, Move(S.ACCEPTED, Author.ADVISER))


def test_business_status_refines_without_moving():
    case = case_of(ML)
    referral = evolve_referral(draft(case, ML), requested(case, ML))
    assert referral is not None
    (event,) = move_referral(
        referral, Move(S.REQUESTED, Author.PARTNER, business_status=BusinessStatus.UNDER_STUDY)
    )
    assert types([event]) == ["referral.received.v1"]


def requested(case: Case, of: Service) -> ReferralRequested:
    return ReferralRequested(
        referral_id=uuid4(), case_id=case.case_id, person_id=case.person_id,
        partner_id=of.partner_id, partner_kind=of.kind, service_id=of.service_id,
        thematique=JOB, agreement_id=uuid4(), agreed_until=TODAY,
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
    referral = draft(case, FT)
    events = confirm(case, referral, world(person(), FT), "adviser:anne", Author.ADVISER)
    assert types(events) == ["referral.confirmed.v1", "referral.requested.v1"]
    sent = evolve_referral(referral, events[1])
    assert sent is not None
    with pytest.raises(ForbiddenTransitionError):
        confirm(case, sent, world(person(), FT), "adviser:anne", Author.ADVISER)


def test_refused_answer_records_both_states():
    referral = draft(case_of(ML), ML)
    asked = Move(S.ACCEPTED, Author.PARTNER, answer_id=uuid4())
    refused = refuse_answer(referral, asked, "no")
    assert isinstance(refused, AnswerRefused)
    assert (refused.status, refused.asked) == (S.DRAFT, S.ACCEPTED)


def test_case_opened_twice_for_one_need_has_the_same_ids():
    event = opened()
    first, again = (open_case(event, world(person(), ML)) for _ in range(2))
    assert first.referrals[0][0] == again.referrals[0][0]
    made = [e for e in first.case if isinstance(e, ProposalMade)]
    assert made[0].proposal_id == UUID(str(made[0].proposal_id))
