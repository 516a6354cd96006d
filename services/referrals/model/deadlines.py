"""Waits (whose turn it is, and until when) on the French business calendar. Pure.

Steps are counted in working days (Monday to Friday, public holidays of France left out), from
the day on which the wait began, or from the appointment or commission that it is about.
Sources: the table of referral states (3, 7 and 10 days for a first answer), les Emplois (a
request under study may take longer), Boussole des jeunes (a service's own promise: the
``Deadlines`` of the directory).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, lru_cache
from threading import Lock

import holidays

from contracts.partners import Deadlines
from contracts.referrals import Awaits
from contracts.values import BusinessStatus, DeadlineStep, Party, ReferralStatus

_S, _B = ReferralStatus, BusinessStatus


@cache
def _calendar() -> holidays.HolidayBase:
    return holidays.country_holidays("FR")


_one_at_a_time = Lock()
"""The calendar fills in a year when it is first asked about: nobody may see half of it."""


@lru_cache(maxsize=20_000)
def working_day(start: date, after: int) -> date:
    """Return the nth working day after a day; with 0, the day itself or the next one."""
    with _one_at_a_time:
        calendar = _calendar()
        if after == 0 and calendar.is_working_day(start):
            return start
        return calendar.get_nth_working_day(start, max(after, 1))


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait in working days; None: no such step."""

    party: Party
    remind: int | None = None
    escalate: int | None = None
    expire: int | None = None

    def from_day(self, start: date) -> Awaits:
        """Return the days on which the steps of this wait fall."""
        return Awaits(
            party=self.party,
            remind_on=_after(start, self.remind),
            escalate_on=_after(start, self.escalate),
            expire_on=_after(start, self.expire),
        )


def _after(start: date, days: int | None) -> date | None:
    return None if days is None else working_day(start, days)


_OUR_TURN = Wait(Party.ADVISER, escalate=2)
_WAITLIST = Wait(Party.PARTNER, remind=20, escalate=40)
_BOOKED = Wait(Party.PARTNER, remind=2, escalate=5)
TO_CONFIRM = Wait(Party.ADVISER, escalate=1)
TO_CONFIRM_URGENT = Wait(Party.ADVISER, escalate=0)
LOOK_AGAIN_DAYS = 2
"""Working days within which an adviser looks at a case that does not go on by itself."""

BY_BUSINESS_STATUS: Mapping[BusinessStatus, Wait] = {
    _B.UNDER_STUDY: Wait(Party.PARTNER, remind=10, escalate=20, expire=30),
    _B.INFO_REQUESTED: _OUR_TURN,
    _B.NEEDS_CLIENT_ACTION: _OUR_TURN,
    _B.COULD_NOT_CONTACT: _OUR_TURN,
    _B.CANCELLATION_REQUESTED: _OUR_TURN,
    _B.WAITLISTED: _WAITLIST,
    _B.APPOINTMENT_SCHEDULED: _BOOKED,
    _B.NO_SHOW: Wait(Party.PARTNER, remind=5, escalate=10),
    _B.EXCUSED: Wait(Party.PARTNER, remind=5, escalate=10),
    _B.APPOINTMENT_CANCELLED: Wait(Party.PARTNER, remind=5, escalate=10),
    _B.ENROLLED: Wait(Party.PARTNER, remind=60, escalate=90),
}
BY_STATUS: Mapping[ReferralStatus, Wait] = {
    _S.ACCEPTED: Wait(Party.PARTNER, remind=5, escalate=10),
    _S.IN_PROGRESS: Wait(Party.PARTNER, remind=60, escalate=90),
    _S.ON_HOLD: _WAITLIST,
}


def first_answer(deadlines: Deadlines) -> Wait:
    """Return the wait for a partner's first answer."""
    return Wait(Party.PARTNER, deadlines.remind, deadlines.escalate, deadlines.expire)


def until_answered(deadlines: Deadlines, today: date, appointment_on: date | None) -> Awaits:
    """Return the wait for a partner's first answer, which may come with an appointment to keep.

    The partner is reminded as ever; nobody is asked to look, and nothing lapses, before the
    appointment has passed without a word.
    """
    wait = first_answer(deadlines)
    met = wait.from_day(max(appointment_on or today, today))
    return met.model_copy(update={"remind_on": wait.from_day(today).remind_on})


def to_confirm(urgent: bool, today: date) -> Awaits:
    """Return the wait for a draft to be confirmed: a working day, or at once if urgent."""
    return (TO_CONFIRM_URGENT if urgent else TO_CONFIRM).from_day(today)


@dataclass(frozen=True, slots=True)
class Moment:
    """Start of a wait: the day of the step, or a day that the partner named."""

    today: date
    appointment_on: date | None = None
    commission_on: date | None = None


def awaits(
    status: ReferralStatus, business: BusinessStatus | None, deadlines: Deadlines, at: Moment
) -> Awaits | None:
    """Return the wait that begins with a status; None: none, or the old one goes on.

    ``received`` and the like change nothing: a partner that has opened a request has not
    answered it. Nothing expires once a partner has accepted: the hub may not give up for them.
    """
    if status not in (_S.REQUESTED, *BY_STATUS):
        return None
    if business is _B.COMMISSION_SCHEDULED and at.commission_on and status is _S.REQUESTED:
        return first_answer(deadlines).from_day(max(at.commission_on, at.today))
    if business is _B.APPOINTMENT_SCHEDULED and at.appointment_on:
        return _BOOKED.from_day(max(at.appointment_on, at.today))
    wait = BY_BUSINESS_STATUS.get(business) if business else None
    wait = wait or BY_STATUS.get(status)
    if wait and status is not _S.REQUESTED:
        wait = replace(wait, expire=None)
    return wait.from_day(at.today) if wait else None


def steps_until(step: DeadlineStep) -> frozenset[DeadlineStep]:
    """Return a step and those before it: one that was taken leaves the earlier ones behind."""
    steps = list(DeadlineStep)
    return frozenset(steps[: steps.index(step) + 1])


def next_step(
    wait: Awaits | None, passed: frozenset[DeadlineStep]
) -> tuple[DeadlineStep, date] | None:
    """Return the next step of a wait that has not been taken, and its day."""
    if wait is None or wait.party is not Party.PARTNER:
        return None
    days = {
        DeadlineStep.REMIND: wait.remind_on,
        DeadlineStep.ESCALATE: wait.escalate_on,
        DeadlineStep.EXPIRE: wait.expire_on,
    }
    left = ((step, day) for step, day in days.items() if day and step not in passed)
    return next(left, None)
