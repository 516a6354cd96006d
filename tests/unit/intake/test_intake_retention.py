"""How long a person's data stay: by the last contact under any of their ids."""

from datetime import date, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.intake.model.retention import Due, Periods, Policy, Stay, Step, due, months_after

USUAL = Policy()
LAST = date(2024, 3, 15)
ONE, OTHER = UUID(int=1), UUID(int=2)
days = st.dates(date(2000, 1, 1), date(2100, 1, 1))
months = st.integers(1, 60)


def stay(
    person: UUID = ONE,
    last: date = LAST,
    *,
    root: UUID | None = None,
    site: str | None = None,
    archived: bool = False,
    held: bool = False,
) -> Stay:
    return Stay(person, root or person, last, site, archived, held)


@pytest.mark.parametrize(
    ("today", "archived", "step"),
    [
        (date(2026, 3, 14), False, None),
        (date(2026, 3, 15), False, Step.ARCHIVE),
        (date(2026, 3, 15), True, None),
        (date(2028, 3, 14), True, None),
        (date(2028, 3, 15), True, Step.ERASE),
        (date(2030, 1, 1), False, Step.ERASE),  # the hub was down for years
    ],
)
def test_two_years_in_use_then_two_archived(today: date, archived: bool, step: Step | None):
    found = due([stay(archived=archived)], USUAL, today)
    assert [item.step for item in found] == ([step] if step else [])


def test_newest_contact_under_any_id_counts_for_all_of_them():
    group = [stay(ONE, root=OTHER), stay(OTHER, LAST + timedelta(days=400), root=OTHER)]
    assert due(group, USUAL, date(2026, 3, 15)) == []
    last = LAST + timedelta(days=400)
    assert due(group, USUAL, months_after(last, 24)) == [
        Due(ONE, Step.ARCHIVE, last), Due(OTHER, Step.ARCHIVE, last),
    ]  # fmt: skip


def test_work_under_any_id_holds_all_of_them():
    group = [stay(ONE, root=OTHER, held=True), stay(OTHER, root=OTHER)]
    assert due(group, USUAL, date(2040, 1, 1)) == []


def test_site_of_the_last_contact_has_its_own_periods():
    policy = Policy.parse("24+24", "annexe=6+6")
    assert [d.step for d in due([stay(site="annexe")], policy, date(2024, 9, 15))] == [
        "archive"
    ]
    assert due([stay(site="ailleurs")], policy, date(2024, 9, 15)) == []


@pytest.mark.parametrize("text", ["", "24", "24+", "+24", "0+24", "-1+2", "a+b", "24+24+24"])
def test_periods_that_make_no_sense_are_refused(text: str):
    with pytest.raises(ValueError, match="months"):
        Periods.parse(text)


@given(days, months)
def test_period_ends_on_the_same_day_of_a_month_or_on_its_last(day: date, count: int):
    end = months_after(day, count)
    assert (end.year - day.year) * 12 + end.month - day.month == count
    assert end.day == day.day or (end + timedelta(days=1)).day == 1


@given(st.lists(days, min_size=1, max_size=5), days, months, months)
def test_who_may_be_due_is_never_left_out(lasts: list[date], today: date, use: int, more: int):
    policy = Policy(Periods(use, more))
    not_archived, not_erased = policy.latest(today)
    for item in due([stay(UUID(int=n), d) for n, d in enumerate(lasts)], policy, today):
        latest = not_archived if item.step is Step.ARCHIVE else not_erased
        assert item.last_contact_on <= latest
