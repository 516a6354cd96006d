"""What is stored of a ranking over a large directory: the best in full, the rest counted."""

from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from contracts.checks.communes import zones_of
from contracts.referrals import ProposalMade
from contracts.values import PartnerKind
from services.referrals.model.advice import propose_again
from services.referrals.model.case import Attempts, Case
from services.referrals.model.case_flow import make_proposal
from services.referrals.model.conditions import in_zone, nearest_zones
from services.referrals.model.explain import ProposalRecord, explain, plain_text
from services.referrals.model.proposals import (
    DESCRIBED,
    DESCRIBED_BESIDES,
    considered,
    digest_of,
    propose,
)
from services.referrals.model.referral import Referral
from services.referrals.model.routing import (
    ELIGIBLE,
    NOT_ELIGIBLE,
    Service,
    known_facts,
    rank,
)
from services.referrals.model.rules import UNKNOWN
from tests.support.referrals import ALL_RULES, JOB, TODAY, opened, person, service, world

FT, ML = PartnerKind.FRANCE_TRAVAIL, PartnerKind.MISSION_LOCALE


def named(kind: PartnerKind, count: int, name: str, **given: Any) -> list[Service]:
    return [service(kind, f"{name}-{n:04d}", **given) for n in range(count)]


DEPARTMENT = [
    *named(FT, 50, "near"),
    *named(FT, 2000, "far", zone=("75056",)),
    *named(FT, 150, "old", minimum_age=50),
]
"""As many services for one need as a département has: 50 suit, the others for two reasons."""


def whole(who: Any = None) -> list[Any]:
    facts = {name: fact.value for name, fact in known_facts(who or person(), TODAY).items()}
    return rank(JOB, facts, DEPARTMENT, ALL_RULES)


def test_proposal_over_a_large_directory_is_small_and_counts_the_rest_by_reason():
    made = propose(JOB, person(), DEPARTMENT, ALL_RULES, TODAY)
    assert len(made.candidates) == DESCRIBED
    assert {(left.verdict, left.code): left.count for left in made.left_out} == {
        (ELIGIBLE, None): 20,
        (NOT_ELIGIBLE, "in-zone"): 2000,
        (NOT_ELIGIBLE, "service-age"): 150,
    }
    assert considered(made) == len(DEPARTMENT)
    assert len(made.model_dump_json()) < 64 * 1024


def test_what_is_described_is_the_beginning_of_the_whole_ranking():
    made = propose(JOB, person(), DEPARTMENT, ALL_RULES, TODAY)
    beginning = [one.service.service_id for one in whole()[:DESCRIBED]]
    assert [candidate.service_id for candidate in made.candidates] == beginning
    assert made.ranking == digest_of(whole())


def test_another_place_of_one_service_gives_another_digest():
    ranked = whole()
    assert digest_of([*ranked[1:], ranked[0]]) != digest_of(ranked)


def test_services_that_were_asked_are_described_wherever_they_come_out():
    asked = {"far-1999", "old-0149"}
    made = propose(JOB, person(), DEPARTMENT, ALL_RULES, TODAY, asked)
    assert asked <= {candidate.service_id for candidate in made.candidates}
    assert considered(made) == len(DEPARTMENT)


def test_however_many_were_asked_the_proposal_keeps_its_bound():
    asked = {one.service_id for one in DEPARTMENT}
    made = propose(JOB, person(), DEPARTMENT, ALL_RULES, TODAY, asked)
    assert len(made.candidates) == DESCRIBED + DESCRIBED_BESIDES
    assert considered(made) == len(DEPARTMENT)


def test_new_proposal_describes_the_service_that_refused():
    there = world(person(), *DEPARTMENT)
    case = Case.of(opened())
    case = case.proposed(make_proposal(case, there, Attempts()))
    refused = Referral(
        case.case_id, case.case_id, case.person_id, "partner-old-0149", FT, "old-0149",
        status="rejected",  # type: ignore[arg-type]
    )  # fmt: skip
    made = propose_again(case, Attempts([refused]), there).case[0]
    assert isinstance(made, ProposalMade)
    assert made.sealed
    assert "old-0149" in {candidate.service_id for candidate in made.sealed.candidates}


def test_question_names_the_best_services_it_is_asked_for_and_counts_the_others():
    many = named(FT, 100, "for-adults", minimum_age=18)
    made = propose(JOB, person(born=None), many, ALL_RULES, TODAY)
    (asked,) = [q for q in made.questions if q.fact == "birth_date"]
    assert asked.services == [f"for-adults-{n:04d}" for n in range(3)]
    assert asked.others == 97


def test_small_directory_leaves_nobody_out():
    made = propose(JOB, person(), DEPARTMENT[:DESCRIBED], ALL_RULES, TODAY)
    assert (len(made.candidates), made.left_out) == (DESCRIBED, [])


def test_explanation_says_how_many_more_there_were_and_why():
    proposal = make_proposal(Case.of(opened()), world(person(), *DEPARTMENT), Attempts())
    explained = explain(ProposalRecord(proposal, ALL_RULES))
    assert [(more["count"], more["text"]) for more in explained["more"]] == [
        (20, "Conviennent aussi, mais viennent après dans le classement."),
        (2000, "Le service ne couvre pas votre commune."),
        (150, "Le service ne reçoit pas les personnes de votre âge."),
    ]
    text = plain_text(explained)
    assert "Autres services examinés : 2170" in text
    assert "- 2000 : Le service ne couvre pas votre commune." in text


def test_reason_of_a_rule_is_told_in_the_rule_s_own_words():
    many = named(ML, 40, "young")
    old = make_proposal(Case.of(opened()), world(person(date(1970, 1, 1)), *many), Attempts())
    (more,) = explain(ProposalRecord(old, ALL_RULES))["more"]
    assert more["count"] == 10
    assert more["text"] == ALL_RULES.tables[ML].rows["ml-too-old"].text


def test_unknown_ones_are_counted_as_possible():
    many = named(FT, 40, "for-adults", minimum_age=18)
    made = propose(JOB, person(born=None), many, ALL_RULES, TODAY)
    assert [(left.verdict, left.code, left.count) for left in made.left_out] == [
        (UNKNOWN, None, 10)
    ]


ZONES = st.sampled_from(
    [
        "59459",
        "59606",
        "75056",
        "59",
        "75",
        "245901160",
        "200054781",
        "france",
        "97133",
        "99100",
        "59350",
        "59355",
        "75101",
    ]
)


@given(
    st.lists(ZONES, unique=True).map(tuple),
    st.integers(0, 300),
    st.sampled_from(["59459", "59606", "75056", "97133", "99999", "59350", "59355"]),
)
def test_the_zones_that_are_kept_give_the_same_verdict(
    zone: tuple[str, ...], more: int, commune: str
):
    zone += tuple(f"{n:05d}" for n in range(1000, 1000 + more))
    zones = zones_of(commune)
    kept = tuple(nearest_zones(zone, zones))
    assert len(kept) <= 12
    assert in_zone(kept, zones) == in_zone(zone, zones)
    assert in_zone(kept, None) == in_zone(zone, None)
