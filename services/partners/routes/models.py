"""Bodies of answers about endpoints, deliveries, messages and what goes by hand."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import Field, SerializeAsAny, SkipValidation

from contracts.base import Answered
from contracts.values import (
    CapacityStatus,
    ChannelName,
    MessageKind,
    PartnerKind,
    ReferralStatus,
)
from contracts.webhooks import (
    AppointmentMessage,
    CancellationMessage,
    ErasureMessage,
    ReferralMessage,
    ReminderMessage,
    WithdrawalMessage,
)
from infra.delivery.webhook.sender import Outcome
from services.partners.routes.callers import State

MessageData = SkipValidation[
    SerializeAsAny[
        ReferralMessage
        | ReminderMessage
        | AppointmentMessage
        | CancellationMessage
        | WithdrawalMessage
        | ErasureMessage
    ]
]
"""What a message says, by its type; composed from these models, and given out as it was."""


class NewEndpoint(Answered):
    """An endpoint just registered; the secret is in this answer, and in no other."""

    endpoint_id: UUID
    secret: str = Field(description="`whsec_…` (Standard Webhooks).", repr=False)
    public_key: str | None = Field(description="`whpk_…`, where Ed25519 was asked for.")
    partner_id: str
    service_ids: list[str]
    url: str
    channel: ChannelName
    rank: int
    ordering: Literal["none", "pathway"]
    per_minute: int | None
    concurrency: int | None
    batch_minutes: int | None
    asymmetric: bool


class NewSecret(Answered):
    """An endpoint's new secrets; they are in this answer, and in no other."""

    endpoint_id: UUID
    secret: str = Field(repr=False)
    public_key: str | None


class Endpoint(Answered):
    """An address on one channel, and how it fares; without its secrets."""

    endpoint_id: UUID
    partner_id: str
    service_ids: list[str] = Field(description="None: all services of the partner.")
    channel: ChannelName
    rank: int = Field(description="The lowest is tried first.")
    url: str
    ordering: Literal["none", "pathway"]
    per_minute: int | None
    concurrency: int | None
    batch_minutes: int | None
    state: Literal["active", "disabled"]
    reason: str | None = Field(description="Why it is disabled.")
    verified_at: datetime | None = Field(description="When it showed that it wants messages.")
    failures: int = Field(description="In a row.")
    failing_since: datetime | None
    open_until: datetime | None = Field(description="Nothing is sent until then.")
    created_at: datetime


class Endpoints(Answered):
    """Addresses, the oldest first."""

    endpoints: list[Endpoint]


class PingResult(Answered):
    """What became of a ping; ``error`` is a class of errors."""

    outcome: Outcome
    status: int | None = Field(description="Of HTTP, if it answered.")
    error: str | None


class PartnerKey(Answered):
    """A key just made; it is in this answer, and in no other."""

    name: str
    key: str = Field(repr=False)


class Delivery(Answered):
    """A message to a partner and what became of it; nothing of the person."""

    seq: int
    delivery_id: UUID
    endpoint_id: UUID | None = Field(description="None: by hand.")
    partner_id: str
    service_id: str
    referral_id: UUID
    message: MessageKind
    state: State
    attempts: int
    last_error: str | None = Field(description="A class of errors: `http-503`, `timeout` …")
    last_status: int | None
    file: str | None = Field(description="In which it was laid down.")
    acknowledged_at: datetime | None = Field(description="When that file was said to be read.")
    created_at: datetime
    updated_at: datetime
    next_attempt_at: datetime | None


class DeliveryPage(Answered):
    """Deliveries in the order they were made; ``next`` goes into ``after``."""

    deliveries: list[Delivery]
    next: int | None


class DeliveryAttempt(Answered):
    """One attempt to send a message."""

    attempt: int
    endpoint_id: UUID | None = Field(description="None: by hand.")
    channel: ChannelName
    sent_at: datetime
    outcome: Outcome
    status: int | None
    error: str | None
    duration_ms: int


class DeliveryAttempts(Answered):
    """Every attempt to send one message."""

    attempts: list[DeliveryAttempt]


class RedeliveryCount(Answered):
    """How many deliveries match, and how many of them are sent again."""

    matching: int
    redelivered: int


class Redelivered(Answered):
    """A delivery that is sent again."""

    delivery_id: UUID
    redelivered: int


class PartnerMessage(Answered):
    """A message as its webhook would bring it, with its place and its id."""

    seq: int
    webhook_id: str
    type: MessageKind
    timestamp: str = Field(json_schema_extra={"format": "date-time"})
    data: MessageData


class MessagePage(Answered):
    """Messages after a cursor, in order; go on with ``cursor``."""

    messages: list[PartnerMessage]
    cursor: int
    more: bool


class Acknowledged(Answered):
    """How many messages were taken over that had not been delivered before."""

    acknowledged: int


class AnswerReceipt(Answered):
    """An answer is stored; a repeat gets the same receipt."""

    answer_id: UUID
    referral_id: UUID
    status: ReferralStatus


class ReportedCapacity(Answered):
    """Whether a service takes people now, as it was just reported."""

    service_id: str
    partner_id: str
    status: CapacityStatus
    seats: int | None
    until: date | None
    sessions: list[datetime]
    reported_at: datetime


class MailResult(Answered):
    """What became of a mail; ``error`` is a class of errors."""

    outcome: Outcome
    error: str | None


class WaitingByHand(Answered):
    """A message that waits to be handed over; nothing of the person."""

    delivery_id: UUID
    partner_id: str
    kind: PartnerKind | None
    partner: str
    service_id: str
    service: str | None
    referral_id: UUID
    referral_status: ReferralStatus | None
    message: MessageKind
    urgent: bool
    do_not_contact: bool
    agreed_until: date | None
    error: str | None = Field(description="Why it goes by hand.")
    created_at: datetime
    calls: int
    last_call_at: datetime | None


class DoneByHand(Answered):
    """A message that was handed over today."""

    delivery_id: UUID
    partner_id: str
    kind: PartnerKind | None
    partner: str
    service_id: str
    referral_id: UUID
    message: MessageKind
    handed_over_at: datetime


class ManualList(Answered):
    """What waits to be handed over, urgent first, and what was handed over today."""

    today: date
    waiting: list[WaitingByHand]
    done: list[DoneByHand]


class PartnerContact(Answered):
    """Whom to call, as the directory lists it."""

    partner: str
    service: str
    person: str | None
    phone: str | None
    email: str | None
    address: str | None
    opening: str | None


class AnswerChoice(Answered):
    """What a partner may answer; ``fields`` go with it."""

    code: str
    words: str
    fields: list[str]


class MessageSheet(Answered):
    """A message to hand over: whom to call, what to say, what may be answered."""

    delivery_id: UUID
    message: MessageKind
    contact: PartnerContact
    data: MessageData
    answers: list[AnswerChoice]
    reasons: dict[str, str] = Field(description="Reasons that a partner may give, in French.")


class ManualDelivery(Answered):
    """A message that goes by hand, and how far it is."""

    delivery_id: UUID
    state: State


class JobOffer(Answered):
    """An offer of France Travail; what was missing there is null."""

    id: str
    title: str
    rome: str | None
    trade: str | None
    contract: str | None
    employer: str | None
    place: str | None
    commune: str | None
    created_at: datetime | None
    positions: int | None
    url: str | None


class JobOffers(Answered):
    """Offers, how many there are in all, and whether these are all of them."""

    offers: list[JobOffer]
    total: int
    complete: bool
