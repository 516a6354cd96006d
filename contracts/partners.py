"""What the partner service says: directory, deliveries, disclosures, answers."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from contracts.base import Contract, Event, Sealed
from contracts.bounds import (
    Actor,
    Digest,
    FieldNames,
    Id,
    Key,
    Name,
    Remark,
    Row,
    RowPart,
    RowText,
    Word,
)
from contracts.values import (
    BusinessStatus,
    CapacityStatus,
    Channel,
    ChannelName,
    HandedTo,
    HandOver,
    MessageKind,
    PartnerKind,
    Reason,
    ReferralStatus,
)


class PartnerRegistered(Event):
    """An organisation of the directory (data·inclusion Structure)."""

    type = "fr.aiguillage.partners.partner.registered.v1"
    partner_id: Id
    kind: PartnerKind
    name: Name
    structure: Row


class PartnerRenamed(Event):
    """An organisation has another name from a day on; its id stays (ANPE, Pôle emploi …)."""

    type = "fr.aiguillage.partners.partner.renamed.v1"
    partner_id: Id
    name: Name
    since: date


class Deadlines(Contract):
    """After how many working days without an answer what happens (referral-states)."""

    remind: int = 3
    escalate: int = 7
    expire: int = 10


class ServicePublished(Event):
    """What a partner offers (data·inclusion Service), with what that schema lacks.

    ``delay_days``: usual working days until a first appointment. ``commission``: a person is
    taken only once a commission has met. ``channels``: best first.
    """

    type = "fr.aiguillage.partners.service.published.v1"
    service_id: Id
    partner_id: Id
    kind: PartnerKind
    name: Name
    thematiques: Annotated[list[Key], Field(max_length=100)]
    zone_eligibilite: RowPart = []
    minimum_age: int | None = None
    maximum_age: int | None = None
    policy: Word = "confirm"
    publics: Annotated[list[Key], Field(max_length=20)] = []
    modes: Annotated[list[Word], Field(max_length=10)] = []
    code_insee: Word | None = None
    opening: RowText | None = None
    delay_days: int | None = None
    channels: Annotated[list[Channel], Field(max_length=10)] = []
    commission: bool = False
    deadlines: Deadlines | None = None
    service: Row


class ServiceWithdrawn(Event):
    """Its source does not list the service any more: nobody new is referred to it."""

    type = "fr.aiguillage.partners.service.withdrawn.v1"
    service_id: Id
    partner_id: Id


class CapacityReported(Event):
    """A partner said whether a service takes people now; the newest report counts.

    ``sessions``: the next information sessions, to which people may be sent.
    """

    type = "fr.aiguillage.partners.capacity.reported.v1"
    service_id: Id
    partner_id: Id
    status: CapacityStatus
    seats: int | None = None
    until: date | None = None
    sessions: Annotated[list[datetime], Field(max_length=50)] = []
    reported_at: datetime


class EndpointRegistered(Event):
    """A partner's address on one channel; ``rank``: the lowest is tried first."""

    type = "fr.aiguillage.partners.endpoint.registered.v1"
    endpoint_id: UUID
    partner_id: Id
    service_ids: Annotated[list[Id], Field(max_length=100)]
    channel: ChannelName = Channel.WEBHOOK
    rank: int = 0


class EndpointVerified(Event):
    """The address showed that it wants our messages, and can check or take them."""

    type = "fr.aiguillage.partners.endpoint.verified.v1"
    endpoint_id: UUID
    partner_id: Id


class EndpointDisabled(Event):
    """Nothing is sent to the address any more: it said that it is gone, or was replaced."""

    type = "fr.aiguillage.partners.endpoint.disabled.v1"
    endpoint_id: UUID
    partner_id: Id
    reason: Word


class SecretRotated(Event):
    """An endpoint has a new signing secret; the old ones still count until a moment."""

    type = "fr.aiguillage.partners.endpoint.secret-rotated.v1"
    endpoint_id: UUID
    partner_id: Id
    old_until: datetime


class DisclosureMade(Event):
    """Named fields of a person were handed to a partner: which, to whom, under which agreement.

    The digest is of the sealed bytes that were sent from, never of clear personal data.
    """

    type = "fr.aiguillage.partners.disclosure.made.v1"
    referral_id: UUID
    person_id: UUID
    partner_id: Id
    agreement_id: UUID
    fields: FieldNames
    digest: Digest


class DeliveryEvent(Event):
    """What is said of a delivery: which message, about which referral, to whom."""

    delivery_id: UUID
    referral_id: UUID
    partner_id: Id
    message: MessageKind


class DeliveryNote(Sealed):
    """What an adviser noted on a call or a hand-over."""

    note: Remark


class DeliverySucceeded(DeliveryEvent):
    """The partner has the message; ``channel``: none where it fetched the message itself.

    ``by`` and ``to``: how an adviser handed it over, and to whom (channel ``manual``).
    """

    type = "fr.aiguillage.partners.delivery.succeeded.v1"
    attempts: int
    channel: ChannelName | None = None
    by: HandOver | None = None
    to: HandedTo | None = None
    sealed: DeliveryNote | None = None


class DeliveryFailed(DeliveryEvent):
    """A first failure, or a call in which nobody was reached; it will be tried again."""

    type = "fr.aiguillage.partners.delivery.failed.v1"
    channel: ChannelName
    error: Word
    sealed: DeliveryNote | None = None


class DeliveryDeadLettered(DeliveryEvent):
    """Given up for a reason that no other channel would change: somebody has to act."""

    type = "fr.aiguillage.partners.delivery.dead-lettered.v1"
    attempts: int
    error: Word


class DeliveryChannelChanged(DeliveryEvent):
    """One channel failed for good; the message goes to the partner's next one."""

    type = "fr.aiguillage.partners.delivery.channel-changed.v1"
    from_channel: ChannelName
    to_channel: ChannelName
    error: Word


class RedeliveryReason(Sealed):
    """Why a message was sent again."""

    reason: Remark


class DeliveryRedelivered(DeliveryEvent):
    """Somebody asked for a message to be sent again; it keeps its ``webhook-id``."""

    type = "fr.aiguillage.partners.delivery.redelivered.v1"
    asked_by: Actor
    sealed: RedeliveryReason | None = None


class DeliveryManual(DeliveryEvent):
    """No automatic channel is left: an adviser phones, writes or hands over.

    ``error``: ``no-endpoint`` where the partner gave no address; else how ``from_channel``, the
    last of its channels, failed for good.
    """

    type = "fr.aiguillage.partners.delivery.manual.v1"
    service_id: Id
    error: Word
    from_channel: ChannelName | None = None


class DeliveryAcknowledged(DeliveryEvent):
    """The partner said that it has read the file in which the message was laid down."""

    type = "fr.aiguillage.partners.delivery.acknowledged.v1"


class LinkOpened(Event):
    """Somebody at the partner opened a request by its answer link, for the first time."""

    type = "fr.aiguillage.partners.link.opened.v1"
    referral_id: UUID
    partner_id: Id
    person_id: UUID


class AnswerSealed(Sealed):
    """What the partner wrote: free text, and its own reference of the person's file."""

    comment: Remark | None = None
    partner_reference: Word | None = None


class AnswerReceived(Event):
    """A partner answered: signed, checked, stored once.

    ``seen_version``: of the referral's own stream, as the hub knew it when it judged the
    answer; what the referral service said later was heard after this answer.
    """

    type = "fr.aiguillage.partners.answer.received.v1"
    answer_id: UUID
    referral_id: UUID
    partner_id: Id
    person_id: UUID
    seen_version: int
    status: ReferralStatus
    business_status: BusinessStatus | None = None
    reason: Reason | None = None
    outcome: Word | None = None
    appointment_at: datetime | None = None
    commission_on: date | None = None
    suggested_service_id: Id | None = None
    sealed: AnswerSealed | None = None


class AnswerLate(Event):
    """A partner would take the person after all, too late: the referral had ended.

    The partner was told so; an adviser may ask it again, as a new referral.
    """

    type = "fr.aiguillage.partners.answer.late.v1"
    answer_id: UUID
    referral_id: UUID
    partner_id: Id
    person_id: UUID
    status: ReferralStatus


EVENTS: tuple[type[Event], ...] = (
    PartnerRegistered,
    PartnerRenamed,
    ServicePublished,
    ServiceWithdrawn,
    CapacityReported,
    EndpointRegistered,
    EndpointVerified,
    EndpointDisabled,
    SecretRotated,
    DisclosureMade,
    DeliverySucceeded,
    DeliveryFailed,
    DeliveryDeadLettered,
    DeliveryRedelivered,
    DeliveryManual,
    DeliveryChannelChanged,
    DeliveryAcknowledged,
    LinkOpened,
    AnswerReceived,
    AnswerLate,
)
