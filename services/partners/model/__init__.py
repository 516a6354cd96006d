"""What the partner service decides, without any input or output."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from contracts.base import Event
from contracts.days import local_day
from contracts.partners import AnswerReceived, AnswerSealed
from contracts.referrals import (
    AnswerRefused,
    AppointmentEnded,
    AppointmentEvent,
    AppointmentSet,
    DeadlinePassed,
    ReferralCancelled,
    ReferralMoved,
    ReferralProposed,
    ReferralRequested,
)
from contracts.values import AUTHOR_OF_REASON, TRANSITIONS, Author, Reason, ReferralStatus
from contracts.webhooks import (
    AgreementWithdrawnWebhook,
    Answer,
    CancellationMessage,
    EndpointPingWebhook,
    ErasureMessage,
    PersonErasedWebhook,
    PingMessage,
    ReferralCancelledWebhook,
    ReferralMessage,
    ReferralRemindedWebhook,
    ReferralRequestedWebhook,
    ReminderMessage,
    WithdrawalMessage,
)

REQUESTED, CANCELLED = "referral.requested", "referral.cancelled"
REMINDED, WITHDRAWN = "referral.reminded", "agreement.withdrawn"
ERASED = "person.erased"
APPOINTMENT = "appointment.changed"
"""An appointment was moved, or is over: for a partner whose own system keeps it (``rest``)."""
WITHOUT_PERSON = frozenset({CANCELLED, WITHDRAWN, ERASED})
"""Messages that say nothing of the person, and may leave when the person is gone."""
_OPEN = frozenset(
    {
        ReferralStatus.REQUESTED,
        ReferralStatus.ACCEPTED,
        ReferralStatus.IN_PROGRESS,
        ReferralStatus.ON_HOLD,
    }
)


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


class SuggestionError(Exception):
    """The service suggested instead makes no sense: why, in words."""


@dataclass(frozen=True, slots=True)
class Commission:
    """Whether a service takes people by a commission, and when that meets for this person."""

    needed: bool
    meets_on: date | None
    today: date


def check_commission(answer: Answer, commission: Commission) -> None:
    """Raise ``CommissionNotMetError`` if a person is accepted before the commission has met.

    PLIE: a commission validates each file; CLAP: a commission every two months (domain facts).
    """
    if not commission.needed or answer.status is not ReferralStatus.ACCEPTED:
        return
    meets_on = answer.commission_on or commission.meets_on
    if meets_on is None or meets_on > commission.today:
        raise CommissionNotMetError


def check_suggestion(answer: Answer, own_service_id: str, known: bool) -> None:
    """Raise ``SuggestionError`` unless another known service is named with its reason."""
    if answer.suggested_service_id is None:
        return
    if answer.reason is not Reason.REFERRED_ONWARD:
        raise SuggestionError("goes with the reason referred-onward only")
    if not known or answer.suggested_service_id == own_service_id:
        raise SuggestionError("the directory has no such other service")


def check_answer(current: ReferralStatus, answer: Answer) -> None:
    """Raise unless a partner may answer so to a referral in this state.

    The same state again is allowed while the referral is open, if it brings a business status
    (received, appointment scheduled …): that refines a state without changing it.
    """
    if answer.reason and Author.PARTNER not in AUTHOR_OF_REASON[answer.reason]:
        raise ReasonNotYoursError
    if answer.status is current:
        if current not in _OPEN or answer.business_status is None:
            raise ForbiddenTransitionError(current, answer.status)
    elif Author.PARTNER not in TRANSITIONS.get((current, answer.status), ()):
        raise ForbiddenTransitionError(current, answer.status)


def received(
    answer_id: UUID, partner_id: str, person_id: UUID, answer: Answer
) -> AnswerReceived:
    """The event of an accepted answer; whatever the partner wrote in words is sealed."""
    words = AnswerSealed(comment=answer.comment, partner_reference=answer.partner_reference)
    return AnswerReceived(
        answer_id=answer_id,
        referral_id=answer.referral_id,
        partner_id=partner_id,
        person_id=person_id,
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
    the partner asked before no longer counts; ``answer_id``: the answer last dealt with;
    ``appointed``: something was said of its appointment.
    """

    status: ReferralStatus | None
    version: int
    origin: ReferralProposed | ReferralRequested | None = None
    settles: bool = False
    answer_id: UUID | None = None
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
                change.settles |= event.answer_id is None
                change.answer_id = event.answer_id or change.answer_id
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


def compose_request(
    event: ReferralRequested, person: dict[str, Any], at: datetime, answer_url: str
) -> bytes:
    """The body of a request: the same bytes whenever it is composed again."""
    message = ReferralMessage(
        referral_id=event.referral_id,
        partner_id=event.partner_id,
        service_id=event.service_id,
        thematique=event.thematique,
        urgent=event.urgent,
        do_not_contact=event.do_not_contact,
        appointment_at=event.appointment_at,
        replaces=event.replaces,
        agreed_until=event.agreed_until,
        person=person,
        answer_url=answer_url,
    )
    webhook = ReferralRequestedWebhook(timestamp=at, data=message)
    return webhook.model_dump_json(exclude_none=True).encode()


def compose_reminder(event: DeadlinePassed, at: datetime, answer_url: str) -> bytes:
    """The body of a reminder: which referral, since when, until when; nothing of the person."""
    message = ReminderMessage(
        referral_id=event.referral_id,
        partner_id=event.partner_id,
        service_id=event.service_id,
        requested_on=event.requested_on,
        expires_on=event.expire_on,
        answer_url=answer_url,
    )
    webhook = ReferralRemindedWebhook(timestamp=at, data=message)
    return webhook.model_dump_json(exclude_none=True).encode()


def compose_cancellation(
    event: ReferralCancelled, partner_id: str, service_id: str, at: datetime
) -> bytes:
    """The body of a cancellation: says nothing of the person, and no comment."""
    message = CancellationMessage(
        referral_id=event.referral_id,
        partner_id=partner_id,
        service_id=service_id,
        reason=event.reason if event.reason is not Reason.OTHER else None,
    )
    webhook = ReferralCancelledWebhook(timestamp=at, data=message)
    return webhook.model_dump_json(exclude_none=True).encode()


def compose_withdrawal(
    referral_id: UUID, partner_id: str, service_id: str, at: datetime
) -> bytes:
    """The body that tells a partner to keep nothing; says nothing of the person."""
    message = WithdrawalMessage(
        referral_id=referral_id,
        partner_id=partner_id,
        service_id=service_id,
        withdrawn_on=local_day(at),
    )
    webhook = AgreementWithdrawnWebhook(timestamp=at, data=message)
    return webhook.model_dump_json(exclude_none=True).encode()


def compose_erasure(referral_id: UUID, partner_id: str, service_id: str, at: datetime) -> bytes:
    """The body that tells a partner that a person was erased (RGPD art. 19)."""
    message = ErasureMessage(
        referral_id=referral_id,
        partner_id=partner_id,
        service_id=service_id,
        erased_on=local_day(at),
    )
    return PersonErasedWebhook(timestamp=at, data=message).model_dump_json().encode()


def compose_ping(endpoint_id: UUID, partner_id: str, at: datetime) -> bytes:
    """The body of a ping."""
    message = PingMessage(endpoint_id=endpoint_id, partner_id=partner_id)
    return EndpointPingWebhook(timestamp=at, data=message).model_dump_json().encode()
