"""Whose turn it is and until when: the French business calendar, reminders, lapses."""

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.days import local_day
from contracts.partners import Deadlines
from contracts.referrals import (
    AppointmentAttended,
    AppointmentExcused,
    AppointmentMissed,
    AppointmentSet,
    Awaits,
    DeadlinePassed,
    ReferralCancelled,
    ReferralRequested,
)
from contracts.values import (
    Author,
    BusinessStatus,
    PartnerKind,
    Party,
    Reason,
    ReferralStatus,
    Thematique,
)
from services.referrals.model.deadlines import (
    Moment,
    awaits,
    first_answer,
    next_step,
    until_answered,
    working_day,
)
from services.referrals.model.referral import (
    Move,
    Referral,
    evolve_referral,
    move_referral,
    pass_deadline,
)

MONDAY = date(2026, 11, 23)
S, B = ReferralStatus, BusinessStatus
JOB = Thematique("trouver-un-emploi--repondre-a-des-offres-demploi")


@pytest.mark.parametrize(
    ("start", "days", "expected"),
    [
        (date(2026, 11, 23), 3, date(2026, 11, 26)),
        (date(2026, 11, 20), 1, date(2026, 11, 23)),  # over a weekend
        (date(2026, 12, 24), 1, date(2026, 12, 28)),  # Christmas, then a weekend
        (date(2027, 5, 5), 1, date(2027, 5, 7)),  # Ascension Day, a moving feast
        (date(2027, 5, 14), 1, date(2027, 5, 18)),  # Whit Monday
        (date(2026, 7, 13), 1, date(2026, 7, 15)),  # 14 July
        (date(2026, 11, 21), 0, date(2026, 11, 23)),  # a Saturday itself counts for nothing
        (date(2026, 11, 23), 0, date(2026, 11, 23)),
    ],
)
def test_working_days_leave_out_weekends_and_french_holidays(start, days, expected):
    assert working_day(start, days) == expected


@given(st.dates(date(2020, 1, 1), date(2035, 1, 1)), st.integers(1, 60))
def test_more_working_days_are_later_and_never_on_a_weekend(start, days):
    day = working_day(start, days)
    assert day.weekday() < 5
    assert start < day < working_day(start, days + 1)


def test_day_is_that_of_france_not_of_greenwich():
    assert local_day(datetime(2026, 7, 1, 22, 30, tzinfo=UTC)) == date(2026, 7, 2)


def referral(status: ReferralStatus = S.REQUESTED, wait: Awaits | None = None) -> Referral:
    return Referral(
        uuid4(), uuid4(), uuid4(), "p", PartnerKind.PLIE, "s", status=status,
        awaits=wait or first_answer(Deadlines()).from_day(MONDAY), requested_on=MONDAY,
    )  # fmt: skip


def after(found: Referral, events) -> Referral:
    for event in events:
        evolved = evolve_referral(found, event)
        assert evolved is not None
        found = evolved
    return found


def test_silence_is_reminded_then_escalated_then_lapses():
    found, story = referral(), []
    for number in range(30):
        day = MONDAY + timedelta(days=number)
        events = pass_deadline(found, day)
        story += [(day, event) for event in events]
        found = after(found, events)
    assert [(day, getattr(event, "step", event.type[-12:])) for day, event in story] == [
        (date(2026, 11, 26), "remind"),
        (date(2026, 12, 2), "escalate"),
        (date(2026, 12, 7), "expire"),
        (date(2026, 12, 7), "cancelled.v1"),
    ]
    last = story[-1][1]
    assert isinstance(last, ReferralCancelled)
    assert (last.author, last.reason) == (Author.HUB, Reason.NO_RESPONSE)


def test_after_an_absence_only_the_latest_step_is_taken():
    found = referral()
    events = pass_deadline(found, date(2026, 12, 3))
    assert [event.step for event in events if isinstance(event, DeadlinePassed)] == ["escalate"]
    assert pass_deadline(after(found, events), date(2026, 12, 3)) == ()


def test_nothing_is_due_before_its_day_and_each_step_is_taken_once():
    found = referral()
    assert pass_deadline(found, date(2026, 11, 25)) == ()
    found = after(found, pass_deadline(found, date(2026, 11, 26)))
    assert pass_deadline(found, date(2026, 11, 26)) == ()


def test_answer_starts_a_new_wait():
    found = referral()
    found = after(found, pass_deadline(found, date(2026, 12, 2)))
    studying = Move(S.REQUESTED, Author.PARTNER, business_status=B.UNDER_STUDY)
    found = after(found, move_referral(found, studying, date(2026, 12, 2)))
    assert found.passed == frozenset()
    assert found.awaits is not None
    assert found.awaits.remind_on == working_day(date(2026, 12, 2), 10)


def test_partner_that_has_only_opened_a_request_has_not_answered_it():
    found = referral()
    opened = Move(S.REQUESTED, Author.PARTNER, business_status=B.RECEIVED)
    moved = after(found, move_referral(found, opened, date(2026, 11, 25)))
    assert moved.awaits == found.awaits


@pytest.mark.parametrize("status", [S.ACCEPTED, S.IN_PROGRESS, S.ON_HOLD])
@pytest.mark.parametrize("business", [None, *B])
def test_hub_never_gives_up_for_a_partner_that_has_accepted(status, business):
    wait = awaits(status, business, Deadlines(), Moment(MONDAY, MONDAY, MONDAY))
    assert wait is not None
    assert wait.expire_on is None


@pytest.mark.parametrize("status", S)
@pytest.mark.parametrize("business", [None, *B])
def test_whoever_is_waited_for_is_waited_for_until_a_day(status, business):
    wait = awaits(status, business, Deadlines(), Moment(MONDAY, None, None))
    if wait is None:
        assert status not in (S.ACCEPTED, S.IN_PROGRESS, S.ON_HOLD)
    elif wait.party is Party.PARTNER:
        assert next_step(wait, frozenset()) is not None
    else:
        assert wait.escalate_on is not None


def test_question_of_the_partner_makes_it_our_turn_and_lets_nothing_lapse():
    found = referral()
    asked = Move(S.REQUESTED, Author.PARTNER, business_status=B.INFO_REQUESTED)
    found = after(found, move_referral(found, asked, MONDAY))
    assert found.awaits is not None
    assert found.awaits.party is Party.ADVISER
    assert pass_deadline(found, date(2027, 11, 23)) == ()


def test_commission_is_waited_for_before_the_partner_is():
    found = referral()
    day = date(2027, 1, 14)
    scheduled = Move(
        S.REQUESTED, Author.PARTNER, business_status=B.COMMISSION_SCHEDULED, commission_on=day
    )
    found = after(found, move_referral(found, scheduled, MONDAY))
    assert pass_deadline(found, day) == ()
    assert found.awaits is not None
    assert found.awaits.remind_on == working_day(day, 3)


@given(
    today=st.dates(date(2026, 1, 1), date(2026, 12, 31)),
    ahead=st.integers(-5, 200),
    waits=st.tuples(st.integers(1, 5), st.integers(5, 9), st.integers(10, 20)),
)
def test_request_with_an_appointment_lapses_no_sooner_than_without_nor_before_it(
    today: date, ahead: int, waits: tuple[int, int, int]
):
    own = Deadlines(remind=waits[0], escalate=waits[1], expire=waits[2])
    day = today + timedelta(days=ahead)
    usual, found = until_answered(own, today, None), until_answered(own, today, day)
    assert usual == first_answer(own).from_day(today)
    assert found.remind_on == usual.remind_on
    for step in ("escalate_on", "expire_on"):
        assert getattr(found, step) >= max(getattr(usual, step), day)


def test_own_deadlines_of_a_service_count():
    wait = first_answer(Deadlines(remind=2, escalate=4, expire=5)).from_day(MONDAY)
    assert (wait.remind_on, wait.expire_on) == (date(2026, 11, 25), date(2026, 11, 30))


# --- appointments -------------------------------------------------------------------------


def booked(status: ReferralStatus = S.ACCEPTED, on: date = MONDAY) -> Referral:
    at = datetime(on.year, on.month, on.day, 9, 30, tzinfo=UTC)
    set_at = AppointmentSet(
        referral_id=uuid4(), case_id=uuid4(), starts_at=at, author=Author.PARTNER
    )
    return after(referral(status), [set_at])


def test_appointment_is_waited_for_and_then_asked_about():
    found = referral()
    at = datetime(2026, 12, 14, 9, 30, tzinfo=UTC)
    accepted = Move(S.ACCEPTED, Author.PARTNER, appointment_at=at)
    events = move_referral(found, accepted, MONDAY)
    assert isinstance(events[1], AppointmentSet)
    found = after(found, events)
    assert found.awaits is not None
    assert found.awaits.remind_on == working_day(date(2026, 12, 14), 2)


@pytest.mark.parametrize(
    ("move", "event"),
    [
        (Move(S.ACCEPTED, Author.PARTNER, business_status=B.NO_SHOW), AppointmentMissed),
        (Move(S.ACCEPTED, Author.PARTNER, business_status=B.EXCUSED), AppointmentExcused),
        (Move(S.FAILED, Author.PARTNER, Reason.CLIENT_NO_SHOW), AppointmentMissed),
        (Move(S.IN_PROGRESS, Author.PARTNER), AppointmentAttended),
        (Move(S.COMPLETED, Author.PARTNER, outcome="x"), AppointmentAttended),
    ],
)
def test_what_came_of_an_appointment_is_an_event_of_its_own(move, event):
    found = booked()
    events = move_referral(found, move, MONDAY)
    assert isinstance(events[1], event)
    assert (events[1].starts_at, events[1].author) == (found.appointment_at, Author.PARTNER)
    assert after(found, events).appointment_on is None


def test_work_begun_before_the_appointment_does_not_mean_that_it_took_place():
    found = booked(on=date(2026, 12, 14))
    assert len(move_referral(found, Move(S.IN_PROGRESS, Author.PARTNER), MONDAY)) == 1


def test_request_remembers_its_day_and_its_wait():
    wait = first_answer(Deadlines()).from_day(MONDAY)
    asked = ReferralRequested(
        referral_id=uuid4(), case_id=uuid4(), person_id=uuid4(), partner_id="p",
        partner_kind=PartnerKind.PLIE, service_id="s", thematique=JOB, agreement_id=uuid4(),
        agreed_until=MONDAY, requested_on=MONDAY, awaits=wait,
    )  # fmt: skip
    found = after(referral(S.DRAFT), [asked])
    assert (found.requested_on, found.awaits) == (MONDAY, wait)
