"""Appointments as an adviser sees to them: proposed, moved, and what came of them. Pure.

What a partner says of an appointment comes with its answers (``referral.move_referral``).
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from contracts.answers import wrong_appointment
from contracts.base import Event
from contracts.days import local_day
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
    """The referral can have no appointment, or has none; the text says which."""


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
    referral: Referral, context: DecisionContext, starts_at: datetime, now: datetime
) -> tuple[Event, ...]:
    """Give an appointment, or move it; nothing if it is the one there is.

    Raises ``InvalidMoveError``, ``AppointmentRefusedError``, ``PersonRestrictedError``.
    """
    check_moment(starts_at, now)
    _check_open(referral, context)
    if referral.appointment_at == starts_at:
        return ()
    deadlines = context.deadlines(referral.service_id)
    today, day = local_day(now), local_day(starts_at)
    if referral.status is ReferralStatus.REQUESTED:
        wait: Awaits | None = until_answered(deadlines, today, day)
    else:
        booked = BusinessStatus.APPOINTMENT_SCHEDULED
        wait = awaits(referral.status, booked, deadlines, Moment(today, day))
    about, before = _about(referral, starts_at), referral.appointment_at
    return (AppointmentSet(**about, moved_from=before, awaits=wait),)


def end_appointment(
    referral: Referral, context: DecisionContext, outcome: AppointmentOutcome, now: datetime
) -> tuple[Event, ...]:
    """Record what came of an appointment; done again, it corrects what was recorded before.

    Raises as ``set_appointment`` does.
    """
    _check_open(referral, context)
    appointment, event = referral.appointment, _EVENTS[outcome]
    if appointment is None:
        raise AppointmentRefusedError("the referral has no appointment")
    if outcome is not AppointmentOutcome.EXCUSED and appointment.starts_at > now:
        raise InvalidMoveError("outcome", "the appointment is still to come")
    if appointment.ended is event:
        return ()
    return (event(**_about(referral, appointment.starts_at)),)


def _check_open(referral: Referral, context: DecisionContext) -> None:
    if context.person.restricted:
        raise PersonRestrictedError
    if not referral.known_to_partner:
        raise AppointmentRefusedError("the referral is not with its partner: sent, and open")


def _about(referral: Referral, starts_at: datetime) -> dict[str, Any]:
    return {
        "referral_id": referral.referral_id,
        "case_id": referral.case_id,
        "starts_at": starts_at,
        "author": Author.ADVISER,
    }
