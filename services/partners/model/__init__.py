"""What the partner service decides, without any input or output."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from contracts.answers import wrong_appointment, wrong_suggestion
from contracts.base import Event
from contracts.partners import AnswerReceived, AnswerSealed
from contracts.referrals import (
    AnswerRefused,
    AppointmentEnded,
    AppointmentEvent,
    AppointmentSet,
    ReferralCancelled,
    ReferralMoved,
    ReferralProposed,
    ReferralRequested,
)
from contracts.values import (
    AUTHOR_OF_REASON,
    TRANSITIONS,
    Author,
    MessageKind,
    Reason,
    ReferralStatus,
)
from contracts.webhooks import Answer

REQUESTED, CANCELLED = MessageKind.REQUESTED, MessageKind.CANCELLED
REMINDED, WITHDRAWN = MessageKind.REMINDED, MessageKind.WITHDRAWN
APPOINTMENT, CALLED_OFF = MessageKind.APPOINTMENT, MessageKind.CALLED_OFF
ERASED = MessageKind.ERASED
WITHOUT_PERSON = frozenset({CANCELLED, WITHDRAWN, ERASED})
"""Messages that say nothing of the person, and may leave when the person is gone."""
OPEN = frozenset(
    {
        ReferralStatus.REQUESTED,
        ReferralStatus.ACCEPTED,
        ReferralStatus.IN_PROGRESS,
        ReferralStatus.ON_HOLD,
    }
)
"""States in which a partner may still act."""


class ForbiddenTransitionError(Exception):
    """The referral's state does not allow what the partner asks."""

    def __init__(self, current: ReferralStatus, asked: ReferralStatus) -> None:
        super().__init__(f"{current} does not lead to {asked}")
        self.current = current
        self.asked = asked


class ReasonNotYoursError(Exception):
    """The reason is one that only an adviser or the hub may give."""


class CommissionNotMetError(Exception):
    """The service takes nobody before its commission has met."""


class AnswerFieldError(Exception):
    """A field of an answer makes no sense: its name, and why, in words."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.field = name
        self.detail = detail


@dataclass(frozen=True, slots=True)
class CommissionCheck:
    """Whether a service takes people by a commission, and when that meets for this person."""

    needed: bool
    meets_on: date | None
    today: date


def check_commission(answer: Answer, commission: CommissionCheck) -> None:
    """Raise ``CommissionNotMetError`` if a person is accepted before the commission has met.

    PLIE: a commission validates each file; CLAP: a commission every two months (domain facts).
    """
    if not commission.needed or answer.status is not ReferralStatus.ACCEPTED:
        return
    meets_on = answer.commission_on or commission.meets_on
    if meets_on is None or meets_on > commission.today:
        raise CommissionNotMetError


def check_suggestion(answer: Answer, own_service_id: str, known: bool) -> None:
    """Raise ``AnswerFieldError`` unless another known service is named with its reason."""
    suggested = answer.suggested_service_id
    if wrong := wrong_suggestion(suggested, answer.reason, own_service_id, known=known):
        raise AnswerFieldError("suggested_service_id", wrong)


def check_full_until(answer: Answer, today: date) -> None:
    """Raise ``AnswerFieldError`` unless the day goes with ``no-capacity``, and is to come."""
    if answer.no_capacity_until is None:
        return
    if answer.reason is not Reason.NO_CAPACITY:
        raise AnswerFieldError("no_capacity_until", "goes with the reason no-capacity only")
    if answer.no_capacity_until < today:
        raise AnswerFieldError("no_capacity_until", "must not be over already")


def check_appointment(answer: Answer, now: datetime) -> None:
    """Raise ``AnswerFieldError`` unless an appointment lies ahead, within a year."""
    if wrong := wrong_appointment(answer.appointment_at, now):
        raise AnswerFieldError("appointment_at", wrong)


def check_answer(current: ReferralStatus, answer: Answer) -> None:
    """Raise unless a partner may answer so to a referral in this state.

    The same state again is allowed while the referral is open, if it brings a business status
    (received, appointment scheduled …): that refines a state without changing it.
    """
    if answer.reason and Author.PARTNER not in AUTHOR_OF_REASON[answer.reason]:
        raise ReasonNotYoursError
    if answer.status is current:
        if current not in OPEN or answer.business_status is None:
            raise ForbiddenTransitionError(current, answer.status)
    elif Author.PARTNER not in TRANSITIONS.get((current, answer.status), ()):
        raise ForbiddenTransitionError(current, answer.status)


def received(
    answer_id: UUID, partner_id: str, person_id: UUID, seen_version: int, answer: Answer
) -> AnswerReceived:
    """The event of an accepted answer; whatever the partner wrote in words is sealed."""
    words = AnswerSealed(comment=answer.comment, partner_reference=answer.partner_reference)
    return AnswerReceived(
        answer_id=answer_id,
        referral_id=answer.referral_id,
        partner_id=partner_id,
        person_id=person_id,
        seen_version=seen_version,
        status=answer.status,
        business_status=answer.business_status,
        reason=answer.reason,
        outcome=answer.outcome,
        appointment_at=answer.appointment_at,
        commission_on=answer.commission_on,
        suggested_service_id=answer.suggested_service_id,
        sealed=words if answer.comment or answer.partner_reference else None,
    )


@dataclass(slots=True)
class StateChange:
    """What a batch of events says about one referral.

    ``origin`` creates the row; ``settles``: somebody other than the partner moved it, so what
    the partner asked before no longer counts; ``answers``: those dealt with; ``appointed``:
    something was said of its appointment.
    """

    status: ReferralStatus | None
    version: int
    origin: ReferralProposed | ReferralRequested | None = None
    settles: bool = False
    answers: set[UUID] = field(default_factory=set)
    commission_on: date | None = None
    appointed: bool = False
    appointment_at: datetime | None = None


def fold_states(events: Sequence[tuple[int, Event]]) -> dict[UUID, StateChange]:
    """Referral id → its newest state, from (stream version, event) in order."""
    changes: dict[UUID, StateChange] = {}
    for version, event in events:
        match event:
            case ReferralProposed() | ReferralRequested():
                proposed = isinstance(event, ReferralProposed)
                status = ReferralStatus.DRAFT if proposed else ReferralStatus.REQUESTED
                change = changes.setdefault(event.referral_id, StateChange(status, version))
                change.origin = change.origin or event
                change.status = status
                if isinstance(event, ReferralRequested) and event.appointment_at:
                    _appoint(change, event.appointment_at)
            case ReferralMoved() | AnswerRefused():
                change = changes.setdefault(
                    event.referral_id, StateChange(event.status, version)
                )
                change.status = event.status
                if event.answer_id is None:
                    change.settles = True
                else:
                    change.answers.add(event.answer_id)
                if isinstance(event, ReferralMoved):
                    change.commission_on = event.commission_on or change.commission_on
            case AppointmentSet() | AppointmentEnded():
                change = changes.setdefault(event.referral_id, StateChange(None, version))
                ahead = isinstance(event, AppointmentSet)
                _appoint(change, event.starts_at if ahead else None)
            case _:
                continue
        change.version = version
    return changes


def _appoint(change: StateChange, at: datetime | None) -> None:
    change.appointed, change.appointment_at = True, at


def tells_partner(event: ReferralCancelled | AppointmentEvent) -> bool:
    """Whether this is news to the partner: not if the partner said so itself."""
    return Author.PARTNER not in (event.author, event.on_behalf_of)


def expired(agreed_until: date | None, today: date) -> bool:
    """Whether the agreement no longer covers a disclosure; its last day still does."""
    return agreed_until is not None and agreed_until < today
