"""Messages between the hub and a partner (Standard Webhooks payloads: type, timestamp, data).

Outgoing: a referral is requested, recalled or cancelled. Incoming: the partner's answer.
"""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from contracts.base import Contract, Strict
from contracts.statements import FreeText
from contracts.types import AheadDay, AheadMoment, Code, ContactMoment, Line, Slug
from contracts.values import BusinessStatus, Reason, ReferralStatus, RequesterKind, Thematique


class RequesterPart(Contract):
    """Who asks, and whom to call back there; ``other`` without a name where that is hidden."""

    kind: RequesterKind
    name: str | None = None
    phone: str | None = None
    email: str | None = None


class ReferralMessage(Contract):
    """What a partner learns about one referral; ``person`` holds the agreed fields only.

    ``appointment_at``: an appointment that the desk proposes.
    """

    referral_id: UUID
    partner_id: str
    service_id: str
    thematique: Thematique
    urgent: bool
    do_not_contact: bool
    appointment_at: datetime | None = None
    replaces: UUID | None = None
    requester: RequesterPart
    agreed_until: date
    person: dict[str, Any]
    answer_url: str


class CancellationMessage(Contract):
    """The referral must not be worked on any more."""

    referral_id: UUID
    partner_id: str
    service_id: str
    partner_reference: str | None = None
    reason: Reason | None = None


class ReminderMessage(Contract):
    """The partner has not answered yet; without an answer the request lapses."""

    referral_id: UUID
    partner_id: str
    service_id: str
    partner_reference: str | None = None
    requested_on: date
    expires_on: date | None = None
    answer_url: str


class ReferralRequestedWebhook(Contract):
    """Sent when a referral is requested."""

    type: Literal["referral.requested"] = "referral.requested"
    timestamp: datetime
    data: ReferralMessage


class ReferralCancelledWebhook(Contract):
    """Sent when a referral that the partner may have received is cancelled."""

    type: Literal["referral.cancelled"] = "referral.cancelled"
    timestamp: datetime
    data: CancellationMessage


class ReferralRemindedWebhook(Contract):
    """Sent when an answer is overdue."""

    type: Literal["referral.reminded"] = "referral.reminded"
    timestamp: datetime
    data: ReminderMessage


class AppointmentMessage(Contract):
    """The appointment of a referral, as the desk says it is now; none: it was called off."""

    referral_id: UUID
    partner_id: str
    service_id: str
    partner_reference: str | None = None
    appointment_at: datetime | None = None
    answer_url: str


class AppointmentChangedWebhook(Contract):
    """Sent when the desk gives or moves an appointment of a referral that was sent."""

    type: Literal["appointment.changed"] = "appointment.changed"
    timestamp: datetime
    data: AppointmentMessage


class AppointmentCancelledWebhook(Contract):
    """Sent when the desk says that an appointment will not take place."""

    type: Literal["appointment.cancelled"] = "appointment.cancelled"
    timestamp: datetime
    data: AppointmentMessage


class WithdrawalMessage(Contract):
    """The person withdrew the agreement: keep nothing of what this referral brought."""

    referral_id: UUID
    partner_id: str
    service_id: str
    partner_reference: str | None = None
    withdrawn_on: date


class AgreementWithdrawnWebhook(Contract):
    """Sent to whoever received something under an agreement that is withdrawn."""

    type: Literal["agreement.withdrawn"] = "agreement.withdrawn"
    timestamp: datetime
    data: WithdrawalMessage


class ErasureMessage(Contract):
    """The person was erased here: erase what this referral brought (RGPD art. 19)."""

    referral_id: UUID
    partner_id: str
    service_id: str
    erased_on: date


class PersonErasedWebhook(Contract):
    """Sent to whoever received something about a person who is erased."""

    type: Literal["person.erased"] = "person.erased"
    timestamp: datetime
    data: ErasureMessage


class PingMessage(Contract):
    """Nothing but the endpoint that it is sent to."""

    endpoint_id: UUID
    partner_id: str


class EndpointPingWebhook(Contract):
    """Sent to see whether an endpoint takes our messages; asks for nothing."""

    type: Literal["endpoint.ping"] = "endpoint.ping"
    timestamp: datetime
    data: PingMessage


PartnerStatus = Literal[
    ReferralStatus.REQUESTED,
    ReferralStatus.ACCEPTED,
    ReferralStatus.REJECTED,
    ReferralStatus.IN_PROGRESS,
    ReferralStatus.ON_HOLD,
    ReferralStatus.COMPLETED,
    ReferralStatus.FAILED,
    ReferralStatus.CANCELLED,
]
NEEDS_REASON = frozenset(
    {
        ReferralStatus.REJECTED,
        ReferralStatus.ON_HOLD,
        ReferralStatus.FAILED,
        ReferralStatus.CANCELLED,
    }
)


OutcomeCode = Slug
"""What came of it, as a code (``enrolled``, ``job-found``): it is kept in clear, so no text."""


class SpokenAnswer(Strict):
    """A partner's answer. ``requested`` with a business status says "received, under study".

    Rejected, on hold, failed and cancelled need a reason; completed needs an outcome
    (SDOH-CC refer-9); the reason ``other`` needs a comment.
    """

    model_config = ConfigDict(validate_default=True)

    status: PartnerStatus
    business_status: BusinessStatus | None = None
    reason: Reason | None = None
    outcome: OutcomeCode | None = None
    appointment_at: AheadMoment | None = None
    commission_on: AheadDay | None = Field(None, description="Day on which a commission meets.")
    suggested_service_id: Code | None = Field(
        None, description="With referred-onward: who may suit better."
    )
    comment: FreeText | None = None
    partner_reference: Annotated[Line, StringConstraints(max_length=120)] | None = Field(
        None, description="Your own number of the person's file: comes back in what follows."
    )

    @field_validator("business_status", "reason", "outcome", "commission_on", "comment")
    @classmethod
    def _needed(cls, value: Any, about: ValidationInfo) -> Any:
        """A field that its neighbours ask for is missing: named, so that it can be added."""
        if value is not None:
            return value
        status, refined = about.data.get("status"), about.data.get("business_status")
        match about.field_name:
            case "business_status" if status is ReferralStatus.REQUESTED:
                raise ValueError(
                    "status requested needs a business_status (received, under-study …)"
                )
            case "reason" if status in NEEDS_REASON:
                raise ValueError(f"status {status} needs a reason")
            case "outcome" if status is ReferralStatus.COMPLETED:
                raise ValueError("status completed needs an outcome")
            case "commission_on" if refined is BusinessStatus.COMMISSION_SCHEDULED:
                raise ValueError("commission-scheduled needs commission_on")
            case "comment" if about.data.get("reason") is Reason.OTHER:
                raise ValueError("reason other needs a comment")
        return value


class Answer(SpokenAnswer):
    """An answer as a partner's system sends it, to a named referral."""

    referral_id: UUID
    no_capacity_until: AheadDay | None = Field(
        None, description="With no-capacity: the last day on which the service is full."
    )
    expected_status: ReferralStatus | None = Field(
        None, description="The state that you saw: if it has changed, nothing is stored."
    )


class AnswerWebhook(Strict):
    """The signed body of ``POST /v1/answers``."""

    type: Literal["referral.answered"] = "referral.answered"
    timestamp: ContactMoment = Field(description="When the partner decided (RFC 3339).")
    data: Answer
