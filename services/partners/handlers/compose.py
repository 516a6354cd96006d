"""Bodies of messages, made from the stored event at each send.

The sealed part is opened then and not before: what is kept of a message dies with the person's
key, and an agreement that has ended meanwhile keeps it from leaving.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol, Self
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from contracts.days import local_day
from contracts.erasure import PersonErased
from contracts.intake import AgreementWithdrawn
from contracts.partners import DisclosureMade
from contracts.referrals import (
    AppointmentExcused,
    AppointmentSet,
    DeadlinePassed,
    Disclosure,
    ReferralCancelled,
    ReferralRequested,
)
from contracts.registry import parse_event
from contracts.requesters import Requesters
from contracts.values import MessageKind
from contracts.webhooks import RequesterPart
from infra.delivery.webhook.sender import Outcome, Sent
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending
from infra.keys.vault import PersonKey
from services.partners.handlers.references import open_reference
from services.partners.handlers.secrets import NO_SECRETS, EndpointSecrets
from services.partners.handlers.tokens import Link
from services.partners.model.message_kinds import REQUESTED, WITHOUT_PERSON, expired
from services.partners.model.messages import (
    About,
    compose_appointment,
    compose_cancellation,
    compose_erasure,
    compose_reminder,
    compose_request,
    compose_withdrawal,
)
from services.partners.model.requesters import shown

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SenderProfile:
    """What messages say of us: where we are reached, how long links last, which desks ask."""

    base_url: str
    answer_url: str
    link_days: int = 8
    requesters: Requesters = field(default_factory=Requesters)

    @property
    def host(self) -> str:
        """Host part of our Message-IDs."""
        return urlsplit(self.base_url).netloc


@dataclass(frozen=True, slots=True)
class EventRow:
    """A stored message: its kind, and the event that it is made from."""

    person_id: UUID
    message: MessageKind
    event_id: UUID
    event_type: str
    data: str
    sealed: bytes | None

    @classmethod
    def of(cls, record: Any) -> Self:
        """Return the columns of a record that the class knows."""
        values = {f.name: record[f.name] for f in fields(cls)}
        return cls(**values | {"message": MessageKind(record["message"])})


@dataclass(frozen=True, slots=True)
class SealedRow(EventRow):
    """A stored message as far as one has to know it to show what it discloses."""

    agreed_until: date | None
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class MessageRow(SealedRow):
    """A stored message as far as its body says it."""

    delivery_id: UUID
    referral_id: UUID
    partner_id: str
    service_id: str
    occurred_at: datetime
    partner_reference: bytes | None


@dataclass(frozen=True, slots=True)
class LeasedRow(MessageRow):
    """A message that leaves now, and by which address."""

    endpoint_id: UUID
    url: str
    channel: str
    batch_minutes: int | None
    traceparent: str | None
    attempts: int
    tries_before: int


class RequestRow(NamedTuple):
    """The request that a message is about, and whether it made an appointment."""

    referral_id: UUID
    event_id: UUID
    event_type: str
    data: str
    sealed: bytes | None
    external_id: str | None
    made: bool


@dataclass(frozen=True, slots=True)
class Composer:
    """What one set of messages is made with: keys of persons, secrets of endpoints, today.

    ``requests``: by referral, for channels that keep appointments. ``links``: those that mails
    hold; they are to be stored before the mails leave.
    """

    letterhead: SenderProfile
    persons: Mapping[UUID, PersonKey]
    now: datetime
    secrets: Mapping[UUID, EndpointSecrets] = field(default_factory=dict)
    requests: Mapping[UUID, RequestRow] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)

    def secrets_of(self, row: LeasedRow) -> EndpointSecrets:
        """Return the secrets of a row's address; empty ones where none opens any more."""
        return self.secrets.get(row.endpoint_id, NO_SECRETS)

    def checked(self, row: MessageRow) -> bytes | Sent:
        """Return the body, or why it must not leave or cannot be made.

        One that fails must not hold up the others.
        """
        if why := self.kept_back(row):
            return Sent(Outcome.PERMANENT, why)
        try:
            return self.body(row)
        except Exception as error:
            return not_composed(error)

    def kept_back(self, row: SealedRow) -> str | None:
        """Return why this message must not leave (withdrawn, expired, erased), or None.

        The flags were read when the row was leased.
        """
        if row.withdrawn:
            return "agreement-withdrawn"
        if expired(row.agreed_until, local_day(self.now)):
            return "agreement-expired"
        if row.message in WITHOUT_PERSON or row.person_id in self.persons:
            return None
        return "person-erased"

    def body(self, row: MessageRow) -> bytes:
        """Return the message's JSON: the same bytes whenever it is made."""
        event, at = parse_event(row.event_type, row.data), row.occurred_at
        answer_url = self.letterhead.answer_url
        if isinstance(event, ReferralRequested):
            disclosed = self.disclosed(row)
            requester = self.requester(event, disclosed)
            return compose_request(event, disclosed.fields, requester, at, answer_url)
        about = About(row.referral_id, row.partner_id, row.service_id, self.reference(row))
        if isinstance(event, DeadlinePassed):
            return compose_reminder(event, about, at, answer_url)
        if isinstance(event, AppointmentSet | AppointmentExcused):
            return compose_appointment(event, about, at, answer_url)
        if isinstance(event, AgreementWithdrawn):
            return compose_withdrawal(about, at)
        if isinstance(event, PersonErased):
            return compose_erasure(about, at)
        assert isinstance(event, ReferralCancelled)
        return compose_cancellation(event, about, at)

    def disclosed(self, row: SealedRow) -> Disclosure:
        """Return what the partner may learn of the person, and the code of who asks."""
        person = self.persons[row.person_id]
        return opened(row.event_id, row.event_type, row.sealed, person)

    def reference(self, row: MessageRow) -> str | None:
        """Return the partner's own number of the file, as known when the message was made."""
        if (person := self.persons.get(row.person_id)) is None:
            return None
        return open_reference(person, row.referral_id, row.partner_reference)

    def requester(self, event: ReferralRequested, disclosed: Disclosure) -> RequesterPart:
        """Return who asks, as the partner may know it."""
        known = self.letterhead.requesters
        return shown(known, disclosed.requester, event.partner_id, event.partner_kind)


def not_composed(error: Exception) -> Sent:
    """Return the end of a message that cannot be made, and log the class of the error."""
    log.error("message not composed", error=type(error).__name__)
    return Sent(Outcome.PERMANENT, "not-composed")


def webhook_id(delivery_id: UUID) -> str:
    """Return the message's id: the same over all attempts, channels and redeliveries."""
    return f"dlv_{delivery_id.hex}"


def disclosure(
    event: ReferralRequested, row: EventRow, person: PersonKey, meta: EventMetadata
) -> Pending:
    """Return the event that says which fields a request hands over, and to whom.

    The digest is of ciphertext: erasure leaves it meaningless.
    """
    disclosed = DisclosureMade(
        referral_id=event.referral_id,
        person_id=event.person_id,
        partner_id=event.partner_id,
        agreement_id=event.agreement_id,
        fields=sorted(opened(row.event_id, row.event_type, row.sealed, person).fields),
        digest=hashlib.sha256(row.sealed or b"").hexdigest(),
    )
    return Pending(f"referral-{event.referral_id}", [disclosed], event.person_id, meta)


def disclosures(
    rows: Iterable[EventRow], alive: Mapping[UUID, PersonKey], meta: EventMetadata
) -> list[Pending]:
    """Return what requests among the rows disclose of persons who have a key."""
    made = []
    for row in rows:
        if row.message is REQUESTED and row.person_id in alive:
            event = parse_event(row.event_type, row.data)
            assert isinstance(event, ReferralRequested)
            made.append(disclosure(event, row, alive[row.person_id], meta))
    return made


class DeliveryRow(Protocol):
    """A delivery as far as its events name it."""

    @property
    def delivery_id(self) -> UUID: ...
    @property
    def referral_id(self) -> UUID: ...
    @property
    def partner_id(self) -> str: ...
    @property
    def message(self) -> str: ...


def about(row: DeliveryRow) -> dict[str, Any]:
    """Return the fields that every event of a delivery has."""
    return {
        "delivery_id": row.delivery_id,
        "referral_id": row.referral_id,
        "partner_id": row.partner_id,
        "message": row.message,
    }


def opened(
    event_id: UUID, event_type: str, sealed: bytes | None, person: PersonKey
) -> Disclosure:
    """Return what a stored request discloses, opened with the person's key."""
    if not sealed:
        return Disclosure(fields={})
    return Disclosure.model_validate_json(person.unseal(event_id, event_type, sealed))
