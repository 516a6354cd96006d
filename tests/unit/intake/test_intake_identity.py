"""What tells persons apart, however it was spelt."""

import unicodedata
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.fields import Facts, Identity
from contracts.intake import FactsSealed, FactsStated
from contracts.statements import DatedBirthDate, DatedMobility
from contracts.values import MatchKind
from services.intake.model.identity import Profile, features, plain, profile
from services.referrals.model.person import History

BORN = date(2006, 5, 17)


def of(born: date | None = BORN, **identity: Any) -> dict[MatchKind, str]:
    facts = Facts(birth_date=DatedBirthDate(value=born)) if born else Facts()
    return features(Profile(Identity(**identity), facts))


def stated(value: str, as_of: date, *, corrects: bool = False) -> FactsStated:
    facts = Facts(mobility=DatedMobility(value=value, as_of=as_of))  # type: ignore[arg-type]
    sealed = FactsSealed(facts=facts)
    return FactsStated(person_id=UUID(int=1), corrects=corrects, sealed=sealed)


AHEAD, TODAY, BEFORE = date(2030, 1, 1), date(2026, 11, 23), date(2020, 1, 1)


@pytest.mark.parametrize(
    ("events", "value"),
    [
        ([stated("none", TODAY), stated("own-vehicle", BEFORE)], "none"),
        ([stated("none", BEFORE), stated("own-vehicle", TODAY)], "own-vehicle"),
        ([stated("none", TODAY), stated("own-vehicle", TODAY)], "own-vehicle"),
        ([stated("none", AHEAD), stated("own-vehicle", TODAY, corrects=True)], "own-vehicle"),
        ([stated("none", TODAY), stated("own-vehicle", BEFORE, corrects=True)], "own-vehicle"),
    ],
)
def test_what_was_true_later_counts_and_what_puts_something_right_always_does(
    events: list[FactsStated], value: str
):
    """In the intake and where routing looks."""
    history = History(list(enumerate(events)))
    for facts in (profile(events).facts, history.person().facts):
        assert facts.mobility is not None
        assert facts.mobility.value == value


FRENCH = "abcdefghijklmnopqrstuvwxyzàâäçéèêëîïôöùûüÿœæ"
NAMES = st.text(st.sampled_from(FRENCH + FRENCH.upper()), min_size=2, max_size=12)


@given(NAMES, st.sampled_from(["", " ", "-", "'", "’"]), st.booleans())
def test_case_accents_and_punctuation_do_not_matter(name: str, between: str, decomposed: bool):
    spelt = unicodedata.normalize("NFD" if decomposed else "NFC", between.join(name.upper()))
    assert plain(spelt) == plain(name) == plain(name.lower())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Lefèvre", "Zoé"), ("LEFEVRE", "zoe")),
        (("d'Hautecœur", "Jean-Luc"), ("D Hautecoeur", "jean luc")),
        (("Dubrulle", "Inès"), ("Inès", "Dubrulle")),  # family and given name swapped
    ],
)
def test_same_name_is_found_however_it_was_spelt(one: Any, other: Any):
    spelt = [of(family_name=family, given_name=given) for family, given in (one, other)]
    assert spelt[0] == spelt[1]
    assert MatchKind.NAME_AND_BIRTH_DATE in spelt[0]


def test_name_alone_or_half_of_it_tells_nobody_apart():
    assert of(None, family_name="Dubrulle", given_name="Inès") == {}
    assert of(family_name="Dubrulle") == {}


def test_another_birth_date_is_another_person():
    first = of(family_name="Dubrulle", given_name="Inès")
    assert first != of(date(2006, 5, 18), family_name="Dubrulle", given_name="Inès")


@given(NAMES, NAMES)
def test_different_names_do_not_collide(one: str, other: str):
    if plain(one) != plain(other):
        spelt = [of(family_name=n, given_name="Camille") for n in (one, other)]
        assert spelt[0] != spelt[1]


def test_number_of_france_travail_counts_with_the_birth_date_only():
    number = {"france_travail_number": "12345678901"}
    assert MatchKind.FRANCE_TRAVAIL_NUMBER in of(**number)
    assert of(None, **number) == {}
