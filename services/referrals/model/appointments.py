"""Appointments as an adviser sees to them: proposed, moved, and what came of them. Pure.

What a partner says of an appointment comes with its answers (``referral.move_referral``).
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from contracts.answers import wrong_appointment
from contracts.base import Event
from contracts.days import local_day
from contracts.partners import Deadlines
from contracts.referrals import (
    AppointmentAttended,
    AppointmentEnded,
    AppointmentExcused,
    AppointmentMissed,
    AppointmentSet,
    Awaits,
)
from contracts.values import Author, BusinessStatus, ReferralStatus
from services.referrals.model.case import DecisionContext
from services.referrals.model.deadlines import Moment, awaits, until_answered
from services.referrals.model.person import PersonRestrictedError
from services.referrals.model.referral import InvalidMoveError, Referral


class AppointmentRefusedError(Exception):
    """The referral can have no appointment, or has none: which, in words."""


class AppointmentOutcome(StrEnum):
    """What came of an appointment."""

    ATTENDED = "attended"
    MISSED = "missed"
    EXCUSED = "excused"


_EVENTS: dict[AppointmentOutcome, type[AppointmentEnded]] = {
    AppointmentOutcome.ATTENDED: AppointmentAttended,
    AppointmentOutcome.MISSED: AppointmentMissed,
    AppointmentOutcome.EXCUSED: AppointmentExcused,
}


def check_moment(starts_at: datetime | None, now: datetime) -> None:
    """Raise ``InvalidMoveError`` unless an appointment lies ahead, within a year."""
    if wrong := wrong_appointment(starts_at, now):
        raise InvalidMoveError("appointment_at", wrong)


def set_appointment(
    referral: Referral, world: DecisionContext, starts_at: datetime, now: datetime
) -> tuple[Event, ...]:
    """Give an appointment, or move it; nothing if it is the one there is.

    Raises ``InvalidMoveError``, ``AppointmentRefusedError``, ``PersonRestrictedError``.
    """
    check_moment(starts_at, now)
    _check_open(referral, world)
    if referral.appointment_at == starts_at:
        return ()
    wait = _wait(referral, world.deadlines(referral.service_id), starts_at, now)
    said, before = _said(referral, starts_at), referral.appointment_at
    return (AppointmentSet(**said, moved_from=before, awaits=wait),)


def end_appointment(
    referral: Referral, world: DecisionContext, outcome: AppointmentOutcome, now: datetime
) -> tuple[Event, ...]:
    """Say what came of an appointment; said again, it corrects what was said before.

    Raises as ``set_appointment`` does.
    """
    _check_open(referral, world)
    appointment, event = referral.appointment, _EVENTS[outcome]
    if appointment is None:
        raise AppointmentRefusedError("the referral has no appointment")
    if outcome is not AppointmentOutcome.EXCUSED and appointment.starts_at > now:
        raise InvalidMoveError("outcome", "the appointment is still to come")
    if appointment.ended is event:
        return ()
    return (event(**_said(referral, appointment.starts_at)),)


def _check_open(referral: Referral, world: DecisionContext) -> None:
    if world.person.restricted:
        raise PersonRestrictedError
    if not referral.known_to_partner:
        raise AppointmentRefusedError("the referral is not with its partner: sent, and open")


def _said(referral: Referral, starts_at: datetime) -> dict[str, Any]:
    return {
        "referral_id": referral.referral_id,
        "case_id": referral.case_id,
        "starts_at": starts_at,
        "author": Author.ADVISER,
    }


def _wait(
    referral: Referral, deadlines: Deadlines, starts_at: datetime, now: datetime
) -> Awaits | None:
    today, day = local_day(now), local_day(starts_at)
    if referral.status is ReferralStatus.REQUESTED:
        return until_answered(deadlines, today, day)
    booked = BusinessStatus.APPOINTMENT_SCHEDULED
    return awaits(referral.status, booked, deadlines, Moment(today, day))
