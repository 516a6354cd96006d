"""Bodies of messages to partners, each the same bytes whenever it is composed again. Pure."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.days import local_day
from contracts.referrals import (
    AppointmentExcused,
    AppointmentSet,
    DeadlinePassed,
    ReferralCancelled,
    ReferralRequested,
)
from contracts.values import Reason
from contracts.webhooks import (
    AgreementWithdrawnWebhook,
    AppointmentCancelledWebhook,
    AppointmentChangedWebhook,
    AppointmentMessage,
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
    RequesterPart,
    WithdrawalMessage,
)


@dataclass(frozen=True, slots=True)
class About:
    """Referral of a message, by our id and by the partner's own number."""

    referral_id: UUID
    partner_id: str
    service_id: str
    partner_reference: str | None = None


def compose_request(
    event: ReferralRequested,
    person: dict[str, Any],
    requester: RequesterPart,
    at: datetime,
    answer_url: str,
) -> bytes:
    """Return the body of a request: the same bytes whenever it is composed again."""
    message = ReferralMessage(
        referral_id=event.referral_id,
        partner_id=event.partner_id,
        service_id=event.service_id,
        thematique=event.thematique,
        urgent=event.urgent,
        do_not_contact=event.do_not_contact,
        appointment_at=event.appointment_at,
        replaces=event.replaces,
        requester=requester,
        agreed_until=event.agreed_until,
        person=person,
        answer_url=answer_url,
    )
    webhook = ReferralRequestedWebhook(timestamp=at, data=message)
    return webhook.model_dump_json(exclude_none=True).encode()


def compose_reminder(
    event: DeadlinePassed, about: About, at: datetime, answer_url: str
) -> bytes:
    """Return the body of a reminder: referral, since when, until when; no personal data."""
    message = ReminderMessage(
        **asdict(about),
        requested_on=event.requested_on,
        expires_on=event.expire_on,
        answer_url=answer_url,
    )
    webhook = ReferralRemindedWebhook(timestamp=at, data=message)
    return webhook.model_dump_json(exclude_none=True).encode()


def compose_cancellation(event: ReferralCancelled, about: About, at: datetime) -> bytes:
    """Return the body of a cancellation: says nothing of the person, and no comment."""
    reason = event.reason if event.reason is not Reason.OTHER else None
    message = CancellationMessage(**asdict(about), reason=reason)
    webhook = ReferralCancelledWebhook(timestamp=at, data=message)
    return webhook.model_dump_json(exclude_none=True).encode()


def compose_appointment(
    event: AppointmentSet | AppointmentExcused, about: About, at: datetime, answer_url: str
) -> bytes:
    """Return the body that tells of an appointment as it is now; no personal data."""
    moved = isinstance(event, AppointmentSet)
    message = AppointmentMessage(
        **asdict(about),
        appointment_at=event.starts_at if moved else None,
        answer_url=answer_url,
    )
    webhook = AppointmentChangedWebhook if moved else AppointmentCancelledWebhook
    return webhook(timestamp=at, data=message).model_dump_json(exclude_none=True).encode()


def compose_withdrawal(about: About, at: datetime) -> bytes:
    """Return the body that tells a partner to keep nothing; no personal data."""
    message = WithdrawalMessage(**asdict(about), withdrawn_on=local_day(at))
    webhook = AgreementWithdrawnWebhook(timestamp=at, data=message)
    return webhook.model_dump_json(exclude_none=True).encode()


def compose_erasure(about: About, at: datetime) -> bytes:
    """Return the body that tells that a person was erased (RGPD art. 19)."""
    message = ErasureMessage(
        referral_id=about.referral_id,
        partner_id=about.partner_id,
        service_id=about.service_id,
        erased_on=local_day(at),
    )
    return PersonErasedWebhook(timestamp=at, data=message).model_dump_json().encode()


def compose_ping(endpoint_id: UUID, partner_id: str, at: datetime) -> bytes:
    """Return the body of a ping."""
    message = PingMessage(endpoint_id=endpoint_id, partner_id=partner_id)
    return EndpointPingWebhook(timestamp=at, data=message).model_dump_json().encode()
