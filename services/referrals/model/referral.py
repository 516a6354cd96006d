"""Moves of one referral: the guard over the one table of states. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from contracts.answers import wrong_appointment, wrong_suggestion
from contracts.base import Event
from contracts.days import local_day
from contracts.partners import AnswerLate, AnswerReceived, AnswerSealed, Deadlines
from contracts.referrals import (
    EVENT_OF_STATUS,
    AnswerRefused,
    AppointmentAttended,
    AppointmentEnded,
    AppointmentExcused,
    AppointmentMissed,
    AppointmentSet,
    Awaits,
    DeadlinePassed,
    ReferralMoved,
    ReferralProposed,
    ReferralReceived,
    ReferralRequested,
    SpokenSealed,
)
from contracts.values import (
    AUTHOR_OF_REASON,
    COMMENT_REQUIRED,
    TRANSITIONS,
    Author,
    BusinessStatus,
    DeadlineStep,
    PartnerKind,
    Reason,
    ReferralStatus,
)
from contracts.webhooks import NEEDS_REASON
from services.referrals.model.deadlines import (
    Moment,
    awaits,
    next_step,
    steps_until,
)

_YES = (ReferralStatus.ACCEPTED, ReferralStatus.IN_PROGRESS)
FINAL = frozenset(
    {
        ReferralStatus.REJECTED,
        ReferralStatus.CANCELLED,
        ReferralStatus.COMPLETED,
        ReferralStatus.FAILED,
        ReferralStatus.ENTERED_IN_ERROR,
    }
)


class ForbiddenTransitionError(Exception):
    """The state table has no such step for this author; nothing changes."""

    def __init__(self, current: ReferralStatus, asked: ReferralStatus, author: Author) -> None:
        super().__init__(f"{author} may not move a referral from {current} to {asked}")
        self.current, self.asked, self.author = current, asked, author


class InvalidMoveError(Exception):
    """A step without the reason, comment or outcome that it needs."""

    def __init__(self, field_name: str, detail: str) -> None:
        super().__init__(f"{field_name}: {detail}")
        self.field, self.detail = field_name, detail


@dataclass(frozen=True, slots=True)
class Appointment:
    """An appointment, with its outcome, if that is known."""

    starts_at: datetime
    ended: type[AppointmentEnded] | None = None


@dataclass(frozen=True, slots=True)
class Referral:
    """A referral, folded from its events."""

    referral_id: UUID
    case_id: UUID
    person_id: UUID
    partner_id: str
    partner_kind: PartnerKind
    service_id: str
    replaces: UUID | None = None
    status: ReferralStatus = ReferralStatus.DRAFT
    agreement_id: UUID | None = None
    awaits: Awaits | None = None
    passed: frozenset[DeadlineStep] = frozenset()
    requested_on: date | None = None
    appointment: Appointment | None = None
    commission_on: date | None = None
    late_yes: bool = False
    version: int = 1

    @classmethod
    def of(cls, event: ReferralProposed) -> "Referral":
        """Begin as a draft."""
        return cls(
            referral_id=event.referral_id,
            case_id=event.case_id,
            person_id=event.person_id,
            partner_id=event.partner_id,
            partner_kind=event.partner_kind,
            service_id=event.service_id,
            replaces=event.replaces,
            awaits=event.awaits,
        )

    @property
    def appointment_at(self) -> datetime | None:
        """Moment when the person is expected; None once the outcome is known."""
        appointment = self.appointment
        return appointment.starts_at if appointment and not appointment.ended else None

    @property
    def appointment_on(self) -> date | None:
        """Day when the person is expected."""
        return local_day(self.appointment_at) if self.appointment_at else None

    @property
    def open(self) -> bool:
        """Whether something may still happen to it."""
        return self.status not in FINAL

    @property
    def known_to_partner(self) -> bool:
        """Whether the partner has it, and may still act on it."""
        return self.open and self.status is not ReferralStatus.DRAFT


def evolve_referral(referral: Referral | None, event: Event) -> Referral | None:
    """Return the referral after an event."""
    if isinstance(event, ReferralProposed):
        return Referral.of(event)
    return None if referral is None else _evolve(referral, event)


def _evolve(referral: Referral, event: Event) -> Referral:
    referral = replace(referral, version=referral.version + 1)
    match event:
        case ReferralRequested():
            proposed = event.appointment_at
            requested = replace(
                referral,
                status=ReferralStatus.REQUESTED,
                agreement_id=event.agreement_id,
                requested_on=event.requested_on,
                appointment=Appointment(proposed) if proposed else None,
            )
            return _waits(requested, event.awaits)
        case ReferralMoved():
            meets_on = event.commission_on or referral.commission_on
            moved = replace(referral, status=event.status, commission_on=meets_on)
            return _waits(moved, event.awaits)
        case AppointmentSet():
            given = replace(referral, appointment=Appointment(event.starts_at))
            return _waits(given, event.awaits)
        case AppointmentEnded():
            ended = Appointment(event.starts_at, type(event))
            return replace(referral, appointment=ended)
        case DeadlinePassed():
            return replace(referral, passed=steps_until(event.step))
        case AnswerRefused():
            return replace(referral, late_yes=event.asked in _YES)
    return referral


def _waits(referral: Referral, wait: Awaits | None) -> Referral:
    """A new wait begins; without one the old goes on, unless nothing can happen any more."""
    if wait is not None:
        return replace(referral, awaits=wait, passed=frozenset())
    return referral if referral.open else replace(referral, awaits=None, passed=frozenset())


@dataclass(frozen=True, slots=True)
class Move:
    """A step that somebody asks for."""

    status: ReferralStatus
    author: Author
    reason: Reason | None = None
    comment: str | None = None
    outcome: str | None = None
    business_status: BusinessStatus | None = None
    appointment_at: datetime | None = None
    commission_on: date | None = None
    suggested_service_id: str | None = None
    answer_id: UUID | None = None
    on_behalf_of: Author | None = None
    partner_reference: str | None = None

    @classmethod
    def of(cls, answer: AnswerReceived | AnswerLate) -> "Move":
        """The step that a partner's answer asks for; its sealed part may be missing."""
        if isinstance(answer, AnswerLate):  # refused by the state table, seen by an adviser
            return cls(answer.status, Author.PARTNER, answer_id=answer.answer_id)
        spoken = answer.sealed if isinstance(answer.sealed, AnswerSealed) else AnswerSealed()
        return cls(
            status=answer.status,
            author=Author.PARTNER,
            reason=answer.reason,
            comment=spoken.comment,
            partner_reference=spoken.partner_reference,
            outcome=answer.outcome,
            business_status=answer.business_status,
            appointment_at=answer.appointment_at,
            commission_on=answer.commission_on,
            suggested_service_id=answer.suggested_service_id,
            answer_id=answer.answer_id,
        )


def check_move(current: ReferralStatus, move: Move) -> None:
    """Raise ``ForbiddenTransitionError`` or ``InvalidMoveError`` unless the step is allowed."""
    author = move.on_behalf_of or move.author
    if move.status is current:
        if author is not Author.PARTNER or move.business_status is None or current in FINAL:
            raise ForbiddenTransitionError(current, move.status, author)
        if current is ReferralStatus.DRAFT:
            raise ForbiddenTransitionError(current, move.status, author)
        return
    if author not in TRANSITIONS.get((current, move.status), ()):
        raise ForbiddenTransitionError(current, move.status, author)
    _check_grounds(move, author)


def _check_grounds(move: Move, author: Author) -> None:
    if move.status in NEEDS_REASON and move.reason is None:
        raise InvalidMoveError("reason", "this status needs a reason")
    if move.reason is not None and author not in AUTHOR_OF_REASON[move.reason]:
        raise InvalidMoveError("reason", f"{author} may not give this reason")
    if move.reason in COMMENT_REQUIRED and not move.comment:
        raise InvalidMoveError("comment", "this reason needs a comment")
    if move.status is ReferralStatus.COMPLETED and not move.outcome:
        raise InvalidMoveError("outcome", "completed needs an outcome")


def check_typed(
    referral: Referral, move: Move, services: Collection[str], now: datetime
) -> None:
    """Raise ``InvalidMoveError`` unless an adviser types in what the partner could have sent.

    ``services``: the ids that the directory has.
    """
    suggested = move.suggested_service_id
    wrong = {
        "appointment_at": wrong_appointment(move.appointment_at, now),
        "suggested_service_id": wrong_suggestion(
            suggested, move.reason, referral.service_id, known=suggested in services
        ),
    }
    for name, detail in wrong.items():
        if detail:
            raise InvalidMoveError(name, detail)


def check_commission(referral: Referral, move: Move, today: date) -> None:
    """Raise ``InvalidMoveError`` if a service takes somebody before its commission has met.

    Source: PLIE, CLAP (a commission validates each file).
    """
    meets_on = move.commission_on or referral.commission_on
    if move.status is ReferralStatus.ACCEPTED and (meets_on is None or meets_on > today):
        raise InvalidMoveError("status", "the commission has not met: give commission_on first")


def move_referral(
    referral: Referral, move: Move, today: date, deadlines: Deadlines | None = None
) -> tuple[Event, ...]:
    """Return the events of an allowed step; raises as ``check_move`` does."""
    check_move(referral.status, move)
    same = move.status is referral.status
    kind = ReferralReceived if same else EVENT_OF_STATUS[move.status]
    business = move.business_status
    if business is None and move.appointment_at:  # an appointment given by its date alone
        business = BusinessStatus.APPOINTMENT_SCHEDULED
    day = local_day(move.appointment_at) if move.appointment_at else referral.appointment_on
    at = Moment(today, day, move.commission_on)
    spoken = None
    if move.comment or move.partner_reference:
        spoken = SpokenSealed(comment=move.comment, partner_reference=move.partner_reference)
    moved = kind(
        referral_id=referral.referral_id,
        case_id=referral.case_id,
        status=move.status,
        author=move.author,
        on_behalf_of=move.on_behalf_of,
        business_status=move.business_status,
        reason=move.reason,
        outcome=move.outcome,
        answer_id=move.answer_id,
        commission_on=move.commission_on,
        suggested_service_id=move.suggested_service_id,
        awaits=awaits(move.status, business, deadlines or Deadlines(), at),
        sealed=spoken,
    )
    return (moved, *_of_appointment(referral, move, today))


_ENDED: dict[BusinessStatus, type[AppointmentEnded]] = {
    BusinessStatus.NO_SHOW: AppointmentMissed,
    BusinessStatus.EXCUSED: AppointmentExcused,
    BusinessStatus.APPOINTMENT_CANCELLED: AppointmentExcused,
}


def _of_appointment(referral: Referral, move: Move, today: date) -> tuple[Event, ...]:
    """The step's event about an appointment, if any: set, missed, excused, or attended."""
    about: dict[str, Any] = {
        "referral_id": referral.referral_id,
        "case_id": referral.case_id,
        "author": move.author,
        "on_behalf_of": move.on_behalf_of,
    }
    before, day = referral.appointment_at, referral.appointment_on
    if (starts_at := move.appointment_at) is not None:
        moved_from = before if before != starts_at else None
        return (AppointmentSet(**about, starts_at=starts_at, moved_from=moved_from),)
    if before is None or day is None:
        return ()
    ended = _ENDED.get(move.business_status) if move.business_status else None
    if ended is None and move.reason is Reason.CLIENT_NO_SHOW:
        ended = AppointmentMissed
    if ended is None and move.status in (ReferralStatus.IN_PROGRESS, ReferralStatus.COMPLETED):
        # a partner that starts its work on or after the day of it has seen the person
        seen = move.status is not referral.status and day <= today
        ended = AppointmentAttended if seen else None
    return (ended(**about, starts_at=before),) if ended else ()


def pass_deadline(referral: Referral, today: date) -> tuple[Event, ...]:
    """Take the step that is due as an answer stays out until today; nothing if none is.

    A step whose day has passed unseen (the hub was down) is still taken, the latest only:
    nobody is reminded on the day on which the request lapses.
    """
    due, taken = None, referral.passed
    while (following := next_step(referral.awaits, taken)) and following[1] <= today:
        due, taken = following, steps_until(following[0])
    if due is None or referral.requested_on is None:
        return ()
    step, day = due
    passed = DeadlinePassed(
        referral_id=referral.referral_id,
        case_id=referral.case_id,
        partner_id=referral.partner_id,
        service_id=referral.service_id,
        step=step,
        due_on=day,
        requested_on=referral.requested_on,
        expire_on=referral.awaits.expire_on if referral.awaits else None,
    )
    if step is not DeadlineStep.EXPIRE:
        return (passed,)
    lapsed = Move(ReferralStatus.CANCELLED, Author.HUB, Reason.NO_RESPONSE)
    return (passed, *move_referral(referral, lapsed, today))


def refuse_answer(referral: Referral, move: Move, problem: str) -> AnswerRefused:
    """Record a partner's answer that the state table does not allow."""
    assert move.answer_id is not None
    return AnswerRefused(
        referral_id=referral.referral_id,
        answer_id=move.answer_id,
        status=referral.status,
        asked=move.status,
        problem=problem,
    )
