"""What people read is said in French: each field, each value that a fact may have."""

from enum import Enum
from typing import Any, Literal, get_args, get_origin

import pytest

from contracts.fields import Facts
from contracts.labels import FIELDS, PARTNERS, VALUES, format_value
from contracts.values import PartnerKind


def codes(annotation: Any) -> set[str]:
    """Every code that a field may hold."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {member.value for member in annotation}
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return codes(annotation.model_fields["value"].annotation)
    return set().union(*(codes(argument) for argument in get_args(annotation)))


@pytest.mark.parametrize("name", sorted(Facts.model_fields))
def test_every_fact_and_every_code_of_it_has_words(name: str):
    assert name in FIELDS
    assert codes(Facts.model_fields[name].annotation) <= set(VALUES)


def test_codes_are_found_where_there_are_some():
    assert "rsa" in codes(Facts.model_fields["minimum_benefit"].annotation)


def test_every_kind_of_partner_has_a_name():
    assert set(PARTNERS) == set(PartnerKind)


def test_truth_days_and_texts_are_said_as_in_france():
    assert format_value(True) == "Oui"
    assert format_value("2026-11-25") == "25/11/2026"
    assert format_value("job-seeker") == "En recherche d'emploi"
    assert format_value("Devenir soudeur") == "Devenir soudeur"
