"""Numbers are one however they were written; what is none is told why, not kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.fields import Identity
from contracts.numbers import e164, france_travail_number


@pytest.mark.parametrize(
    "spelt",
    [
        "0612345678", "06 12 34 56 78", "06\u00a012\u00a034\u00a056\u00a078",
        "06\u202f12\u202f34\u202f56\u202f78", "06/12/34/56/78", "06.12.34.56.78",
        "06-12-34-56-78",
        "+33612345678", "+33 (0)6 12 34 56 78", "+33(0)612345678", "+330612345678",
        "0033 6.12.34.56.78", "33612345678", " 06 12 34 56 78 ", "０６１２３４５６７８",
    ],
)  # fmt: skip
def test_french_number_is_one_however_it_was_written(spelt: str):
    assert e164(spelt) == "+33612345678"


@pytest.mark.parametrize(
    ("spelt", "number"),
    [
        ("0690 35 12 34", "+590690351234"),
        ("+33 690 35 12 34", "+590690351234"),  # the mainland's code, which it has not
        ("+590 690 35 12 34", "+590690351234"),
        ("0590 82 12 34", "+590590821234"),
        ("0594 29 12 34", "+594594291234"),
        ("0694 20 12 34", "+594694201234"),
        ("05 96 71 12 34", "+596596711234"),
        ("0696 20 12 34", "+596696201234"),
        ("0262 20 12 34", "+262262201234"),
        ("0692/12/34/56", "+262692123456"),
        ("0639 01 12 34", "+262639011234"),
        ("0508 41 12 34", "+508411234"),
        ("+508 41 12 34", "+508411234"),
        ("+687 25 12 34", "+687251234"),
        ("+32 475 12 34 56", "+32475123456"),
        ("0032 475 12 34 56", "+32475123456"),
        ("03 27 00 00 01", "+33327000001"),
    ],
)
def test_number_has_the_code_of_where_it_is(spelt: str, number: str):
    assert e164(spelt) == number
    assert e164(number) == number


@pytest.mark.parametrize(
    "text",
    ["abc", "", "0", "3949", "06 12 34 56", "06123456789", "06 12 34 56 78 (le soir)",
     "06 12 34 56 78 / 07 11 22 33 44", "+", "+999 12", "tel:0612345678", "0" * 40],
)  # fmt: skip
def test_what_is_no_telephone_number_is_refused(text: str):
    with pytest.raises(ValueError, match="must be a"):
        e164(text)


@given(st.text(max_size=40) | st.text("0123456789 +()./-", max_size=40))
def test_any_text_is_a_number_in_one_form_or_none(text: str):
    try:
        number = e164(text)
    except ValueError:
        return
    assert number.startswith("+")
    assert number[1:].isdigit()


@pytest.mark.parametrize(
    ("spelt", "number"),
    [("1234567A", "1234567A"), ("1234567 a", "1234567A"), ("12345678", "12345678"),
     ("123 456 789 01", "12345678901")],
)  # fmt: skip
def test_number_of_france_travail_has_one_of_two_forms(spelt: str, number: str):
    assert france_travail_number(spelt) == number


@pytest.mark.parametrize(
    "text", ["", "1234567", "A2345678", "1234567890", "123456789012", "1234567AB"]
)
def test_other_numbers_are_none_of_france_travail(text: str):
    with pytest.raises(ValueError, match="must be 7 digits"):
        france_travail_number(text)


def test_what_is_stored_is_read_as_it_is():
    """Whatever the rules are by then."""
    stored = {"phone": "06 12", "france_travail_number": "1234567890"}
    read = Identity.model_validate(stored, context={"stored": True})
    assert (read.phone, read.france_travail_number) == ("06 12", "1234567890")
