"""What advisers say of appointments: given, moved, kept or missed, and corrected."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.answers import LONGEST
from contracts.base import Event
from contracts.referrals import (
    AppointmentAttended,
    AppointmentExcused,
    AppointmentMissed,
    AppointmentSet,
    ReferralRequested,
)
from contracts.values import Author, Party, ReferralStatus
from services.referrals.model.appointments import (
    AppointmentOutcome,
    AppointmentRefusedError,
    check_moment,
    end_appointment,
    set_appointment,
)
from services.referrals.model.deadlines import working_day
from services.referrals.model.person import PersonRestrictedError
from services.referrals.model.referral import (
    FINAL,
    InvalidMoveError,
    Move,
    Referral,
    evolve_referral,
    move_referral,
)
from tests.support.referrals import FT, TODAY, Story, person, story, world

NOW = datetime(TODAY.year, TODAY.month, TODAY.day, 9, tzinfo=UTC)
AT = NOW + timedelta(days=21)
WORLD = world(person(), FT)
A, S = AppointmentOutcome, ReferralStatus


def sent(status: ReferralStatus = S.REQUESTED, **given: Any) -> Referral:
    """A referral that its partner has, unless a status says otherwise."""
    return Referral(
        uuid4(), uuid4(), uuid4(), FT.partner_id, FT.kind, FT.service_id,
        status=status, **given,
    )  # fmt: skip


def after(referral: Referral, events: tuple[Event, ...]) -> Referral:
    found: Referral | None = referral
    for event in events:
        found = evolve_referral(found, event)
    assert found is not None
    return found


def appointed(starts_at: datetime = AT, **given: Any) -> Referral:
    referral = sent(**given)
    return after(referral, set_appointment(referral, WORLD, starts_at, NOW))


@given(st.timedeltas(timedelta(microseconds=1), LONGEST))
def test_moment_ahead_within_a_year_may_be_given(ahead: timedelta):
    check_moment(NOW + ahead, NOW)
    check_moment(None, NOW)


@pytest.mark.parametrize(
    ("moment", "detail"),
    [
        (NOW, "must lie in the future"),
        (NOW - timedelta(days=1), "must lie in the future"),
        (NOW + LONGEST + timedelta(seconds=1), "must lie within a year"),
        (datetime.max.replace(tzinfo=UTC), "must lie within a year"),
        (datetime.min.replace(tzinfo=UTC), "must lie in the future"),
    ],
)
def test_other_moments_are_refused_by_the_field_s_name(moment: datetime, detail: str):
    with pytest.raises(InvalidMoveError) as refused:
        set_appointment(sent(), WORLD, moment, NOW)
    assert (refused.value.field, refused.value.detail) == ("appointment_at", detail)


def test_appointment_is_given_by_the_adviser_and_waited_for():
    (event,) = set_appointment(sent(), WORLD, AT, NOW)
    assert isinstance(event, AppointmentSet)
    assert (event.starts_at, event.author, event.on_behalf_of) == (AT, Author.ADVISER, None)
    assert event.awaits is not None
    assert event.awaits.expire_on == working_day(AT.date(), 10)


def test_appointment_may_be_moved_and_the_same_again_is_no_news():
    referral = appointed()
    assert set_appointment(referral, WORLD, AT, NOW) == ()
    later = AT + timedelta(days=7)
    moved = after(referral, set_appointment(referral, WORLD, later, NOW))
    assert moved.appointment_at == later


def test_partner_that_has_accepted_is_asked_after_the_appointment_and_nothing_lapses():
    referral = appointed(status=S.ACCEPTED)
    assert referral.awaits is not None
    assert referral.awaits.party is Party.PARTNER
    assert referral.awaits.remind_on == working_day(AT.date(), 2)
    assert referral.awaits.expire_on is None


@pytest.mark.parametrize("status", [S.DRAFT, *sorted(FINAL)])
def test_referral_that_its_partner_does_not_have_takes_no_appointment(status: ReferralStatus):
    with pytest.raises(AppointmentRefusedError, match="not with its partner"):
        set_appointment(sent(status), WORLD, AT, NOW)
    with pytest.raises(AppointmentRefusedError, match="not with its partner"):
        end_appointment(replace(appointed(), status=status), WORLD, A.EXCUSED, NOW)


def test_nothing_is_said_of_a_person_who_is_restricted():
    restricted = world(replace(person(), restricted=True), FT)
    with pytest.raises(PersonRestrictedError):
        set_appointment(sent(), restricted, AT, NOW)
    with pytest.raises(PersonRestrictedError):
        end_appointment(appointed(), restricted, A.EXCUSED, NOW)


@pytest.mark.parametrize(
    ("outcome", "event"),
    [
        (A.ATTENDED, AppointmentAttended),
        (A.MISSED, AppointmentMissed),
        (A.EXCUSED, AppointmentExcused),
    ],
)
def test_what_came_of_it_is_an_event_with_its_moment(outcome: Any, event: Any):
    referral = appointed()
    (said,) = end_appointment(referral, WORLD, outcome, AT)
    assert type(said) is event
    assert (said.starts_at, said.author) == (AT, Author.ADVISER)
    ended = after(referral, (said,))
    assert ended.appointment_at is None
    assert end_appointment(ended, WORLD, outcome, AT) == ()


@pytest.mark.parametrize("outcome", [A.ATTENDED, A.MISSED])
def test_nobody_came_or_stayed_away_before_the_time(outcome: AppointmentOutcome):
    with pytest.raises(InvalidMoveError, match="still to come"):
        end_appointment(appointed(), WORLD, outcome, NOW)
    assert end_appointment(appointed(), WORLD, A.EXCUSED, NOW) != ()


def test_slip_is_corrected_by_saying_it_again():
    referral = appointed()
    referral = after(referral, end_appointment(referral, WORLD, A.MISSED, AT))
    (corrected,) = end_appointment(referral, WORLD, A.ATTENDED, AT)
    assert isinstance(corrected, AppointmentAttended)
    assert corrected.starts_at == AT


def test_new_appointment_after_one_that_was_missed_is_open_again():
    referral = appointed()
    referral = after(referral, end_appointment(referral, WORLD, A.MISSED, AT))
    again = AT + timedelta(days=7)
    referral = after(referral, set_appointment(referral, WORLD, again, AT))
    assert referral.appointment_at == again


def test_there_is_nothing_to_say_where_there_is_no_appointment():
    with pytest.raises(AppointmentRefusedError, match="no appointment"):
        end_appointment(sent(), WORLD, A.ATTENDED, NOW)


def test_what_an_adviser_types_in_for_the_partner_is_the_partner_s_word():
    move = Move(S.ACCEPTED, Author.ADVISER, appointment_at=AT, on_behalf_of=Author.PARTNER)
    _, given = move_referral(sent(), move, TODAY)
    assert isinstance(given, AppointmentSet)
    assert (given.author, given.on_behalf_of) == (Author.ADVISER, Author.PARTNER)


def requested(found: Story) -> ReferralRequested:
    (event,) = [e for e in found.events if isinstance(e, ReferralRequested)]
    return event


def test_draft_is_sent_with_the_appointment_that_the_adviser_proposes():
    found = story(FT)
    found.confirms(FT.service_id, AT)
    assert requested(found).appointment_at == AT
    assert found.at(FT.service_id).appointment_at == AT


def test_draft_is_sent_without_an_appointment_as_before():
    found = story(FT)
    found.confirms(FT.service_id)
    event = requested(found)
    assert event.appointment_at is None
    assert event.awaits is not None
    assert event.awaits.expire_on == working_day(TODAY, 10)


def test_moved_appointment_says_from_when_it_was_moved():
    (first,) = set_appointment(sent(), WORLD, AT, NOW)
    assert isinstance(first, AppointmentSet)
    assert first.moved_from is None
    later = AT + timedelta(days=7)
    (moved,) = set_appointment(appointed(), WORLD, later, NOW)
    assert isinstance(moved, AppointmentSet)
    assert (moved.moved_from, moved.starts_at, moved.author) == (AT, later, Author.ADVISER)


@pytest.mark.parametrize(("days", "moved_from"), [(0, None), (7, AT)])
def test_partner_that_moves_an_appointment_says_from_when(days: int, moved_from: Any):
    """The same appointment said again was moved from nowhere."""
    at = AT + timedelta(days=days)
    move = Move(S.ACCEPTED, Author.PARTNER, appointment_at=at)
    said = move_referral(appointed(), move, NOW.date())
    (told,) = [event for event in said if isinstance(event, AppointmentSet)]
    assert (told.moved_from, told.starts_at, told.author) == (moved_from, at, Author.PARTNER)
