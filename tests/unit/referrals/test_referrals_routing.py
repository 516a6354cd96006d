"""Whom the rules propose for a need, and why: each rule with its source, and laws of all."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.checks.communes import epci_of
from contracts.statements import (
    DatedRegistration,
    DatedSituation,
    SensitiveDisability,
)
from contracts.values import CapacityStatus, Evidence, PartnerKind, Situation
from services.referrals.model.disclosure import MINIMAL_FIELDS
from services.referrals.model.person import Person, age_on, months_between
from services.referrals.model.proposals import propose
from services.referrals.model.routing import (
    ELIGIBLE,
    NOT_ELIGIBLE,
    Service,
    known_facts,
)
from services.referrals.model.rules import UNKNOWN
from tests.support.referrals import (
    ALL_RULES,
    FT,
    JOB,
    ML,
    TEMP,
    TODAY,
    TRAINING,
    person,
    service,
    stated,
)

BORN_27 = date(1999, 5, 1)
IN_SCHOOL = Situation.IN_SCHOOL


def disability(value: bool) -> SensitiveDisability:
    return SensitiveDisability(value=value, agreement=Evidence.ORAL)


def verdict(who: Person, of: Service, day: date = TODAY) -> str:
    (found,) = propose(JOB, who, [of], ALL_RULES, day).candidates
    return found.verdict


def result(who: Person, of: Service, code: str) -> str:
    (found,) = propose(JOB, who, [of], ALL_RULES, TODAY).candidates
    (condition,) = [c for c in found.conditions if c.code == code]
    return condition.result


# --- the rules, one by one ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("born", "expected"),
    [
        (date(2010, 11, 23), ELIGIBLE),  # 16 today
        (date(2010, 11, 24), NOT_ELIGIBLE),  # 16 tomorrow
        (date(2000, 11, 24), ELIGIBLE),  # eve of the 26th birthday
        (date(2000, 11, 23), UNKNOWN),  # 26 today: with a recognised disability only
        (date(1996, 11, 23), NOT_ELIGIBLE),  # 30 today
    ],
)
def test_mission_locale_takes_16_to_25_years_completed(born: date, expected: str):
    """Code du travail, L5314-2: 25 ans révolus, until the eve of the 26th birthday."""
    assert verdict(person(born), ML) == expected


@pytest.mark.parametrize(("value", "expected"), [(True, ELIGIBLE), (False, NOT_ELIGIBLE)])
def test_recognised_disability_opens_the_mission_locale_up_to_29(value: bool, expected: str):
    """Code du travail, L5131-6."""
    who = stated(person(BORN_27), recognised_disability=disability(value))
    assert verdict(who, ML) == expected


@pytest.mark.parametrize(
    "kind",
    [
        PartnerKind.MISSION_LOCALE,
        PartnerKind.FRANCE_TRAVAIL,
        PartnerKind.TEMP_AGENCY,
        PartnerKind.E2C,
    ],
)
def test_pupil_is_not_sent_to_services_for_those_who_left_school(kind: PartnerKind):
    """Non scolarisés (Missions Locales, E2C); seeking work (France Travail)."""
    who = person(date(2009, 5, 17), situation=IN_SCHOOL, study_level="none")
    assert verdict(who, service(kind)) == NOT_ELIGIBLE


@pytest.mark.parametrize(
    ("born", "expected"), [(date(2010, 11, 23), ELIGIBLE), (date(2010, 11, 24), NOT_ELIGIBLE)]
)
def test_france_travail_registers_from_16(born: date, expected: str):
    """Code du travail, L5411-1 and R5411-1."""
    assert verdict(person(born), FT) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"minimum_benefit": "rsa"}, ELIGIBLE),
        ({"minimum_benefit": "ass"}, ELIGIBLE),
        ({"minimum_benefit": "none", "registered": date(2025, 11, 1)}, ELIGIBLE),
        ({"minimum_benefit": "none", "registered": date(2026, 10, 1)}, NOT_ELIGIBLE),
        ({"minimum_benefit": "none"}, UNKNOWN),
        ({"registered": date(2025, 11, 1)}, ELIGIBLE),
        ({}, UNKNOWN),
    ],
)
def test_plie_takes_adults_far_from_work(facts: dict[str, Any], expected: str):
    """Code du travail, L5131-2: grande difficulté d'insertion; territories differ."""
    registered = facts.pop("registered", None)
    who = person(date(1984, 2, 3), registered_with_france_travail_since=registered, **facts)
    assert verdict(who, service(PartnerKind.PLIE)) == expected


def test_plie_takes_no_minors():
    who = person(date(2009, 5, 17), minimum_benefit="rsa")
    assert verdict(who, service(PartnerKind.PLIE)) == NOT_ELIGIBLE


@pytest.mark.parametrize(
    ("born", "project", "expected"),
    [
        (date(2006, 5, 17), "Un vélo-cargo", ELIGIBLE),
        (date(2006, 5, 17), None, UNKNOWN),
        (date(1995, 11, 22), "Un vélo-cargo", NOT_ELIGIBLE),  # 31
        (date(2012, 5, 17), "Un vélo-cargo", NOT_ELIGIBLE),
    ],
)
def test_clap_supports_projects_of_15_to_30(born: date, project: str | None, expected: str):
    """CLAP du Valenciennois: the upper bound (30) is the site's."""
    assert verdict(person(born, project=project), service(PartnerKind.CLAP)) == expected


def test_training_body_refuses_nobody_by_itself():
    """Prescription belongs to prescribers: we send to an information session, from 16."""
    for situation in Situation:
        assert verdict(person(situation=situation), TRAINING) == ELIGIBLE


@pytest.mark.parametrize(
    ("age", "expected"), [(12, False), (13, True), (29, True), (30, False)]
)
def test_information_jeunesse_receives_13_to_29(age: int, expected: bool):
    """Instruction n° 2017-154."""
    who = person(date(TODAY.year - age, 1, 1), situation=IN_SCHOOL)
    of = service(PartnerKind.INFORMATION_JEUNESSE)
    assert (verdict(who, of) == ELIGIBLE) is expected


def test_information_jeunesse_asks_a_stranger_for_an_age_and_nothing_else():
    """Arrêté du 19 avril 2017, art. 3: the right to stay anonymous."""
    of = service(PartnerKind.INFORMATION_JEUNESSE)
    found = propose(JOB, Person(), [of], ALL_RULES, TODAY)
    assert [question.fact for question in found.questions] == ["birth_date"]


def test_digital_space_is_open_to_everybody_known_or_not():
    of = service(PartnerKind.DIGITAL_SPACE)
    assert verdict(Person(), of) == ELIGIBLE


@pytest.mark.parametrize(
    ("level", "expected"),
    [("none", ELIGIBLE), ("cap-bep", ELIGIBLE), ("bac", NOT_ELIGIBLE), (None, UNKNOWN)],
)
def test_e2c_takes_16_to_25_without_qualification(level: str | None, expected: str):
    """Réseau E2C: out of school without qualification."""
    assert verdict(person(study_level=level), service(PartnerKind.E2C)) == expected


def test_cap_emploi_takes_whoever_says_that_a_disability_is_recognised():
    """Code du travail, L5212-13."""
    of = service(PartnerKind.CAP_EMPLOI)
    assert verdict(stated(person(), recognised_disability=disability(True)), of) == ELIGIBLE
    assert verdict(stated(person(), recognised_disability=disability(False)), of) != ELIGIBLE


def test_question_about_a_disability_says_that_nobody_has_to_answer():
    found = propose(JOB, person(), [service(PartnerKind.CAP_EMPLOI)], ALL_RULES, TODAY)
    (question,) = found.questions
    assert "Rien ne vous y oblige" in question.text


# --- the service itself -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("commune", "zone", "expected"),
    [
        ("59459", ("59459",), "matched"),
        ("59606", ("245901160",), "matched"),  # Valenciennes, same EPCI
        ("59350", ("245901160",), "failed"),  # Lille: same département, another EPCI
        ("59350", ("59",), "matched"),
        ("75101", ("59", "245901160"), "failed"),  # an arrondissement lies in Paris
        ("75101", ("75056",), "matched"),
        ("75101", ("200054781",), "matched"),
        ("75056", ("75101",), "unknown"),  # who lives in Paris may live in the first
        ("75102", ("75101",), "failed"),
        ("59355", ("59350",), "matched"),  # Lomme is a part of Lille, and of its EPCI
        ("59355", ("200093201",), "matched"),
        ("59298", ("59350",), "matched"),
        ("59298", ("59355",), "failed"),
        ("59350", ("59355",), "unknown"),
        ("59540", ("59183",), "matched"),  # Saint-Pol-sur-Mer, Dunkerque
        ("59540", ("245900428",), "matched"),
        ("74011", ("74010",), "matched"),  # Annecy-le-Vieux, Annecy
        ("74011", ("200066793",), "matched"),
        ("02285", ("59",), "matched"),  # Escaufourt, a part of a commune of the Nord
        ("59459", ("99100",), "matched"),
        ("98735", ("99100",), "matched"),
        ("85113", ("85",), "matched"),  # L'Île-d'Yeu has no EPCI
        ("85113", ("245901160",), "unknown"),
        ("75056", ("59",), "failed"),
        ("97411", ("974",), "matched"),
        ("75056", ("france",), "matched"),
        ("75056", (), "matched"),
        (None, ("59",), "unknown"),
    ],
)
def test_zone_is_a_commune_an_intercommunality_a_departement_or_the_country(
    commune: str | None, zone: tuple[str, ...], expected: str
):
    of = service(PartnerKind.DIGITAL_SPACE, zone=zone)
    assert result(person(commune=commune), of, "in-zone") == expected


def test_petite_foret_lies_in_valenciennes_metropole():
    assert epci_of("59459") == "245901160"
    assert epci_of("99999") is None


@pytest.mark.parametrize(
    ("publics", "expected"),
    [
        (("seniors", "jeunes"), "matched"),  # one is enough
        (("seniors",), "failed"),
        (("beneficiaires-des-minimas-sociaux",), "unknown"),
        (("demandeurs-emploi",), "matched"),
    ],
)
def test_one_of_a_services_publics_is_enough(publics: tuple[str, ...], expected: str):
    of = service(PartnerKind.DIGITAL_SPACE, publics=publics)
    assert result(person(), of, "publics") == expected


@pytest.mark.parametrize("public", ["tous-publics", "familles", "personnes-exilees"])
def test_nothing_is_concluded_from_publics_that_no_fact_tells(public: str):
    of = service(PartnerKind.DIGITAL_SPACE, publics=(public, "seniors"))
    assert verdict(person(), of) == ELIGIBLE


def test_worker_who_may_be_registered_is_asked_not_excluded():
    """ "Is registered?" is a fact with a date: it is never inferred."""
    of = service(PartnerKind.DIGITAL_SPACE, publics=("demandeurs-emploi",))
    working = person(situation=Situation.IN_EMPLOYMENT)
    assert verdict(working, of) == UNKNOWN
    since = DatedRegistration(value=date(2026, 1, 1))
    assert verdict(stated(working, registered_with_france_travail_since=since), of) == ELIGIBLE


def test_service_for_another_category_is_not_a_candidate():
    other = Service("x", "p", PartnerKind.CLAP, "x", ("numerique--acquerir-un-equipement",))
    assert propose(JOB, person(), [other], ALL_RULES, TODAY).candidates == []


# --- ranking ------------------------------------------------------------------------------


def order(who: Person, *services: Service) -> list[str]:
    found = propose(JOB, who, services, ALL_RULES, TODAY)
    return [candidate.service_id for candidate in found.candidates]


def test_young_job_seeker_is_proposed_the_mission_locale_first():
    assert order(person(), FT, TEMP, ML)[0] == ML.service_id


def test_whoever_suits_for_sure_comes_before_whoever_may():
    sure = service(PartnerKind.TEMP_AGENCY)
    unsure = service(PartnerKind.CAP_EMPLOI)
    assert order(person(), unsure, sure) == [sure.service_id, unsure.service_id]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"capacity": CapacityStatus.NO_CAPACITY}),
        ({"capacity": CapacityStatus.WAITLIST}, {"capacity": CapacityStatus.NO_CAPACITY}),
        ({"capacity": CapacityStatus.CAPACITY}, {"capacity": CapacityStatus.WAITLIST}),
        ({"delay_days": 5}, {"delay_days": 20}),
        ({"load": 1}, {"load": 20}),
        ({"code_insee": "59459"}, {"code_insee": "59606"}),
        ({"code_insee": "59606"}, {"code_insee": "59350"}),
        ({"code_insee": "59350"}, {"code_insee": "75056"}),
    ],
)
def test_room_speed_nearness_and_calm_count(better: dict[str, Any], worse: dict[str, Any]):
    first = service(PartnerKind.FRANCE_TRAVAIL, "z-better", **better)
    second = service(PartnerKind.FRANCE_TRAVAIL, "a-worse", **worse)
    assert order(person(), second, first) == ["z-better", "a-worse"]


def test_score_is_the_sum_of_its_parts():
    full = service(
        PartnerKind.FRANCE_TRAVAIL, capacity=CapacityStatus.WAITLIST, delay_days=7, load=3
    )
    (found,) = propose(JOB, person(), [full], ALL_RULES, TODAY).candidates
    assert set(found.parts) == {"fit", "preference", "capacity", "delay", "load"}
    assert found.score == pytest.approx(sum(found.parts.values()))


def test_unknown_fact_makes_a_question_that_names_whom_it_would_help():
    found = propose(JOB, person(None, situation=None), [ML], ALL_RULES, TODAY)
    assert found.candidates[0].verdict == UNKNOWN
    assert [(q.fact, q.services) for q in found.questions] == [
        ("birth_date", [ML.service_id]),
        ("situation", [ML.service_id]),
    ]


def test_nothing_is_asked_for_a_service_that_is_out_anyway():
    found = propose(JOB, person(date(1950, 1, 1), situation=None), [ML], ALL_RULES, TODAY)
    assert found.questions == []


# --- facts --------------------------------------------------------------------------------


def test_later_truth_counts_whichever_was_said_first():
    day = date(2026, 11, 1)
    new = DatedSituation(value=Situation.IN_EMPLOYMENT, as_of=day)
    old = DatedSituation(value=Situation.JOB_SEEKER, as_of=day - timedelta(days=90))
    said = stated(stated(Person(), situation=new), situation=old)
    assert said.facts.situation == new
    same_day = DatedSituation(value=Situation.INACTIVE, as_of=day)
    assert stated(said, situation=same_day).facts.situation == same_day


def test_what_becomes_true_later_is_not_known_yet():
    fact = DatedSituation(value=Situation.IN_TRAINING, as_of=date(2027, 1, 4))
    who = stated(Person(), situation=fact)
    assert "situation" not in known_facts(who, TODAY)
    assert "situation" in known_facts(who, date(2027, 1, 4))


def test_free_text_of_a_project_is_not_copied_into_the_explanation():
    found = propose(JOB, person(project="Un vélo-cargo"), [ML], ALL_RULES, TODAY)
    assert "cargo" not in found.model_dump_json()


@given(
    st.dates(date(1930, 1, 1), date(2026, 1, 1)), st.dates(date(2026, 1, 1), date(2030, 1, 1))
)
def test_age_rises_on_the_birthday_and_never_before(born: date, day: date):
    age = age_on(born, day)
    assert born.replace(day=min(born.day, 28), year=born.year + age) <= day
    assert age == day.year - born.year - (day.timetuple()[1:3] < born.timetuple()[1:3])


@pytest.mark.parametrize(
    ("start", "day", "months"),
    [
        (date(2025, 11, 23), date(2026, 11, 23), 12),
        (date(2025, 11, 24), date(2026, 11, 23), 11),
        (date(2027, 1, 1), date(2026, 11, 23), 0),
    ],
)
def test_months_are_completed_months(start: date, day: date, months: int):
    assert months_between(start, day) == months


@pytest.mark.parametrize("kind", PartnerKind)
def test_kind_without_rules_is_proposed_to_nobody(kind: PartnerKind):
    rest = {k: table for k, table in ALL_RULES.tables.items() if k != kind}
    found = propose(JOB, person(), [service(kind)], replace(ALL_RULES, tables=rest), TODAY)
    assert [c.verdict for c in found.candidates] == [NOT_ELIGIBLE]
    assert "Aucun service ne convient" in found.summary


@pytest.mark.parametrize("kind", PartnerKind)
def test_it_is_known_what_each_kind_may_learn_and_by_which_rules_it_is_judged(
    kind: PartnerKind,
):
    assert MINIMAL_FIELDS[kind]
    assert ALL_RULES.tables[kind].rows
