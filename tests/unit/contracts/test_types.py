"""Kinds of values from strangers: what each type takes, and what it refuses."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from contracts import types

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def taken(kind: Any, value: Any, **context: Any) -> Any:
    with types.judged_at(NOW):
        return TypeAdapter(kind).validate_python(value, **context)


def refused(kind: Any, value: Any) -> bool:
    with types.judged_at(NOW):
        try:
            TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            said = str(error.errors()[0]["msg"])
            assert len(str(value)) < 4 or str(value) not in said
            return True
    return False


@pytest.mark.parametrize(
    "value",
    ["2027-12-31", "2026-12-01", "0002-01-01", "1899-12-31", "631152000", 631152000,
     "1990-05-05T00:00:00", "1990-02-30", "19900505", True, None, 1.5, "١٩٩٠-٠٥-٠٥"],
)  # fmt: skip
def test_a_birth_date_is_iso_text_between_1900_and_today(value: Any) -> None:
    assert refused(types.BirthDate, value)
    assert taken(types.BirthDate, "2026-11-30") == date(2026, 11, 30)
    assert taken(types.BirthDate, "1900-01-01") == date(1900, 1, 1)


@pytest.mark.parametrize(
    "value",
    ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59Z",
     "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "1999-12-30T00:00:00Z",
     "2026-12-01T12:00:01Z", 1796040000, "1796040000", "2026-11-30T10:00:00",
     "2026-11-30", "2026-11-30T24:00:00Z", "2026-11-30T10:00Z", "2026-11-30 10:00:00Z"],
)  # fmt: skip
def test_a_contact_is_an_rfc_3339_text_after_1999_and_within_a_day_from_now(value: Any) -> None:
    assert refused(types.ContactMoment, value)
    edge = "2026-12-01T12:00:00Z"
    assert taken(types.ContactMoment, edge) == NOW + timedelta(days=1)
    assert taken(types.ContactMoment, "2026-11-30t10:00:00z").hour == 10


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999+00:00"),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:59:59.999999+01:00"),
        ("1990-12-31T15:59:60-08:00", "1990-12-31T15:59:59.999999-08:00"),  # RFC 3339 §5.8
        ("2016-06-30T23:59:60.5Z", "2016-06-30T23:59:59.999999+00:00"),
    ],
)
def test_a_leap_second_is_the_last_microsecond_of_its_month(text: str, read: str) -> None:
    assert taken(types.Moment, text).isoformat() == read


@pytest.mark.parametrize("text", ["2026-11-29T23:59:60Z", "2026-11-30T10:00:60Z",
                                  "2016-12-31T23:59:61Z"])  # fmt: skip
def test_there_is_no_leap_second_elsewhere(text: str) -> None:
    assert refused(types.Moment, text)


@pytest.mark.parametrize("kind", [types.AheadDay, types.Day, types.PastDay])
@pytest.mark.parametrize("value", ["0001-01-01", "9999-12-31", 20000, "20000"])
def test_days_end_long_before_the_calendar_does(kind: Any, value: Any) -> None:
    assert refused(kind, value)


def test_what_is_agreed_ends_within_ten_years() -> None:
    assert taken(types.AheadDay, "2036-11-28") == date(2036, 11, 28)
    assert refused(types.AheadDay, "2036-12-01")
    assert refused(types.AheadMoment, "2036-12-01T00:00:00Z")


def test_what_is_known_is_so_since_tomorrow_at_the_latest() -> None:
    assert taken(types.PastDay, "2026-12-01") == date(2026, 12, 1)
    assert refused(types.PastDay, "2026-12-02")


def test_what_is_stored_is_read_without_horizons() -> None:
    old = taken(types.BirthDate, "0002-01-01", context=types.STORED)
    assert old == date(2, 1, 1)
    assert taken(types.Line, "a\0b", context=types.STORED) == "a\0b"


def test_without_a_clock_the_systems_counts() -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=2)
    with pytest.raises(ValidationError):
        TypeAdapter(types.BirthDate).validate_python(str(tomorrow))


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "a\x1bb", "a\x85b", "a\u2028b"])
def test_a_line_has_no_control_characters(text: str) -> None:
    assert refused(types.Line, text)


def test_words_have_tabs_and_ends_of_lines_only() -> None:
    assert taken(types.Words, "a\tb\r\nc") == "a\tb\r\nc"
    assert refused(types.Words, "a\0b")
    assert refused(types.Words, "a\x1bb")


@pytest.mark.parametrize(
    "text", ["Marie.Durand-0612345678", "06-12-34-56-78", "0612345678", "1990-05-12", "Marie",
             "marie durand", "", "-a", "é", "a\n", "a" * 41, "m@x.fr"],
)  # fmt: skip
def test_no_telephone_number_and_no_birth_date_fits_into_a_slug(text: str) -> None:
    assert refused(types.Slug, text)


@pytest.mark.parametrize("text", ["place-jules-verne", "2026-01", "v2", "annexe", "1"])
def test_a_slug_names_a_thing(text: str) -> None:
    assert taken(types.Slug, text) == text


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**40, str(10**40)])
def test_integers_fit_into_63_bits(value: Any) -> None:
    assert refused(types.Int63, value)
    assert taken(types.Int63, 2**63 - 1) == 2**63 - 1
    assert refused(types.Count, -1)
