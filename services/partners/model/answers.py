"""Answers of partners: what one may say, and the event of an accepted one."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from contracts.answers import wrong_appointment, wrong_suggestion
from contracts.partners import AnswerReceived, AnswerSealed
from contracts.values import AUTHOR_OF_REASON, TRANSITIONS, Author, Reason, ReferralStatus
from contracts.webhooks import Answer
from services.partners.model.life_cycle import OPEN


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
    """Need for a commission, and when it meets for this person."""

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
    """Return the event of an accepted answer; whatever the partner wrote in words is sealed."""
    sealed = AnswerSealed(comment=answer.comment, partner_reference=answer.partner_reference)
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
        sealed=sealed if answer.comment or answer.partner_reference else None,
    )
