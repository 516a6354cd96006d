"""Laws of every proposal, whoever the person and whatever the need."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.explanation import Explanation
from contracts.statements import DatedMobility
from contracts.values import Situation, Thematique
from services.referrals.model.case_flow import open_case
from services.referrals.model.person import Person
from services.referrals.model.proposals import propose, reevaluate
from services.referrals.model.routing import NOT_ELIGIBLE, Service
from tests.support.referrals import (
    ALL_RULES,
    FT,
    JOB,
    ML,
    TEMP,
    TODAY,
    TRAINING,
    opened,
    person,
    stated,
    world,
)
from tests.support.seed import SEED_SERVICES

PEOPLE = st.builds(
    person,
    st.none() | st.dates(date(1906, 1, 1), TODAY),
    situation=st.none() | st.sampled_from(Situation),
    commune=st.sampled_from([None, "59459", "59606", "59350", "75056"]),
    minimum_benefit=st.sampled_from([None, "rsa", "ass", "aah", "none"]),
    study_level=st.sampled_from([None, "none", "cap-bep", "bac", "bac+2"]),
    project=st.sampled_from([None, "Un projet"]),
    registered_with_france_travail_since=st.none() | st.dates(date(2020, 1, 1), TODAY),
)


@given(st.permutations([ML, FT, TEMP, TRAINING]), PEOPLE)
def test_proposal_depends_on_nothing_but_its_arguments(order: list[Service], who: Person):
    assert propose(JOB, who, order, ALL_RULES, TODAY) == propose(
        JOB, who, [ML, FT, TEMP, TRAINING], ALL_RULES, TODAY
    )


@given(PEOPLE, st.sampled_from(["none", "public-transport", "own-vehicle"]))
def test_fact_that_no_rule_asks_for_changes_no_ranking(who: Person, mobility: str):
    plain = propose(JOB, who, SEED_SERVICES, ALL_RULES, TODAY)
    more = stated(who, mobility=DatedMobility(value=mobility))
    assert plain.candidates == propose(JOB, more, SEED_SERVICES, ALL_RULES, TODAY).candidates


@given(PEOPLE, st.sampled_from(Thematique))
def test_stored_explanation_gives_the_stored_result_again(who: Person, thematique: Thematique):
    made = propose(thematique, who, SEED_SERVICES, ALL_RULES, TODAY)
    stored = Explanation.model_validate_json(made.model_dump_json(exclude_none=True))
    again = reevaluate(stored, thematique, ALL_RULES)
    found = [(r.service.service_id, r.verdict, r.score, list(r.conditions)) for r in again]
    assert found == [
        (c.service_id, c.verdict, c.score, c.conditions) for c in stored.candidates
    ]


@pytest.mark.slow
@given(PEOPLE, st.sampled_from(Thematique))
@settings(max_examples=400)
def test_nobody_is_left_without_a_human_route(who: Person, thematique: Thematique):
    """Whatever the age, situation and need: a proposal that suits or may, or the worklist."""
    need = opened().model_copy(update={"thematique": thematique})
    decided = open_case(need, world(who, *SEED_SERVICES))
    said = [event.type.split(".")[3] + "." + event.type.split(".")[4] for event in decided.case]
    assert bool(decided.referrals) != ("case.exhausted" in said)
    made = propose(thematique, who, SEED_SERVICES, ALL_RULES, TODAY)
    out = {c.service_id for c in made.candidates if c.verdict == NOT_ELIGIBLE}
    assert not out & {events[0].service_id for _, _, events in decided.referrals}  # type: ignore[attr-defined]


def test_alternative_is_shown_wherever_one_exists():
    """SPRO: the choice stays open."""
    found = propose(JOB, person(), [ML, FT], ALL_RULES, TODAY)
    assert ML.name in found.summary
    assert FT.name in found.summary
