"""Bodies of messages, made from the stored event at each send.

The sealed part is opened then and not before: what is kept of a message dies with the person's
key, and an agreement that has ended meanwhile keeps it from leaving.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
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
from contracts.values import Channel
from contracts.webhooks import RequesterPart
from infra.delivery.mail import OutgoingMail
from infra.delivery.sftp import Account, OutgoingFile
from infra.delivery.webhook.sender import ClientCertificate, Outcome, Outgoing, Sent
from infra.delivery.webhook.signature import SigningKey
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending
from infra.keys.vault import PersonKey
from services.partners.adapters import csvfile
from services.partners.adapters.france_travail_clients import Application, OutgoingAppointment
from services.partners.handlers import appointments
from services.partners.handlers.references import open_reference
from services.partners.handlers.tokens import Link, new_link
from services.partners.handlers.transports import Message
from services.partners.model import letters
from services.partners.model.letters import Letter
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
from services.partners.model.requesters import shown, spoken

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
        """By which names of mails are ours."""
        return urlsplit(self.base_url).netloc


@dataclass(frozen=True, slots=True)
class Composer:
    """What one set of messages is made with: keys of persons, secrets of endpoints, today."""

    letterhead: SenderProfile
    persons: Mapping[UUID, PersonKey]
    now: datetime
    secrets: Mapping[UUID, list[SigningKey]] = field(default_factory=dict)
    accounts: Mapping[UUID, Account] = field(default_factory=dict)
    clients: Mapping[UUID, ClientCertificate] = field(default_factory=dict)
    applications: Mapping[UUID, Application] = field(default_factory=dict)
    requests: Mapping[UUID, Any] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)

    def compose(self, row: Any) -> Message | Sent:
        """The message to send by its channel, or why there is none."""
        if row["channel"] == Channel.EMAIL:
            return self._mail(row)
        if row["channel"] == Channel.SFTP:
            return self._file(row)
        if row["channel"] == Channel.REST:
            return self._appointment(row)
        if row["endpoint_id"] not in self.secrets:
            return Sent(Outcome.PERMANENT, "no-secret")
        body = self.checked(row)
        if isinstance(body, Sent):
            return body
        endpoint = row["endpoint_id"]
        return Outgoing(
            row["url"], webhook_id(row), body, self.secrets[endpoint], row["traceparent"],
            self.clients.get(endpoint), row["message"] != REQUESTED,
        )  # fmt: skip

    def _file(self, row: Any) -> OutgoingFile | Sent:
        account, body = self.accounts.get(row["endpoint_id"]), self.checked(row)
        if account is None:
            return Sent(Outcome.PERMANENT, "no-credentials")
        if isinstance(body, Sent):
            return body
        name = webhook_id(row)
        return OutgoingFile(account, f"{name}.csv", csvfile.written(body, name))

    def _appointment(self, row: Any) -> OutgoingAppointment | Sent:
        application = self.applications.get(row["endpoint_id"])
        request = self.requests.get(row["referral_id"])
        if why := self.kept_back(row):
            return Sent(Outcome.PERMANENT, why)
        if application is None or request is None:
            return Sent(Outcome.PERMANENT, "no-credentials")
        person = self.persons.get(row["person_id"])
        try:
            fields = _opened(request, person).fields if person else {}
            return appointments.compose(row, request, application, fields)
        except Exception as error:
            return _not_composed(error)

    def _mail(self, row: Any) -> OutgoingMail | Sent:
        """A mail with a link; ``links`` has to be kept before it leaves."""
        if why := self.kept_back(row):
            return Sent(Outcome.PERMANENT, why)
        letter = self._letter(row)
        name = f"<{webhook_id(row)}@{self.letterhead.host}>"
        to = row["url"].removeprefix("mailto:")
        return OutgoingMail(to, letter.subject, letter.text, name)

    def _letter(self, row: Any) -> Letter:
        event, reference = parse_event(row["event_type"], row["data"]), str(row["referral_id"])
        theirs = self.reference(row)
        if isinstance(event, ReferralCancelled):
            return letters.cancellation(reference, theirs)
        if isinstance(event, AgreementWithdrawn):
            return letters.withdrawal(reference, theirs)
        if isinstance(event, PersonErased):
            return letters.erasure(reference)
        link = new_link(row, self.now, self.letterhead.link_days)
        self.links.append(link)
        url, until = self.letterhead.base_url + link.path, local_day(link.expires_at)
        if isinstance(event, DeadlinePassed):
            return letters.reminder(event.requested_on, theirs, url, until)
        if isinstance(event, AppointmentSet | AppointmentExcused):
            moved_to = event.starts_at if isinstance(event, AppointmentSet) else None
            return letters.appointment(reference, theirs, moved_to, url, until)
        assert isinstance(event, ReferralRequested)
        asks = self.requester(event, self.disclosed(row))
        return letters.request(event, spoken(asks), url, until)

    def checked(self, row: Any) -> bytes | Sent:
        """The body, unless it may not leave any more, or cannot be made.

        One that fails must not hold up the others.
        """
        if why := self.kept_back(row):
            return Sent(Outcome.PERMANENT, why)
        try:
            return self.body(row)
        except Exception as error:
            return _not_composed(error)

    def kept_back(self, row: Any) -> str | None:
        """What says so was looked up with the message, in the transaction that leases it."""
        if row["withdrawn"]:
            return "agreement-withdrawn"
        if expired(row["agreed_until"], local_day(self.now)):
            return "agreement-expired"
        if row["message"] in WITHOUT_PERSON or row["person_id"] in self.persons:
            return None
        return "person-erased"

    def body(self, row: Any) -> bytes:
        """The message's JSON: the same bytes whenever it is made."""
        event, at = parse_event(row["event_type"], row["data"]), row["occurred_at"]
        answer_url = self.letterhead.answer_url
        if isinstance(event, ReferralRequested):
            told = self.disclosed(row)
            asks = self.requester(event, told)
            return compose_request(event, told.fields, asks, at, answer_url)
        about = About(
            row["referral_id"], row["partner_id"], row["service_id"], self.reference(row)
        )
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

    def disclosed(self, row: Any) -> Disclosure:
        """What the partner may learn of the person, and by which code who asks is known."""
        return _opened(row, self.persons[row["person_id"]])

    def reference(self, row: Any) -> str | None:
        """The partner's own number of the file, as known when the message was made."""
        if (person := self.persons.get(row["person_id"])) is None:
            return None
        return open_reference(person, row["referral_id"], row["partner_reference"])

    def requester(self, event: ReferralRequested, told: Disclosure) -> RequesterPart:
        """Who asks, as the partner may know it."""
        known = self.letterhead.requesters
        return shown(known, told.requester, event.partner_id, event.partner_kind)


def _not_composed(error: Exception) -> Sent:
    log.error("message not composed", error=type(error).__name__)
    return Sent(Outcome.PERMANENT, "not-composed")


def webhook_id(row: Any) -> str:
    """The message's id: the same over all attempts, channels and redeliveries."""
    return f"dlv_{row['delivery_id'].hex}"


def batch(files: Sequence[OutgoingFile]) -> OutgoingFile:
    """Several files as one; of the same ones it is the same, by the same name."""
    names = "".join(sorted(file.name for file in files))
    name = f"lot_{hashlib.sha256(names.encode()).hexdigest()[:32]}.csv"
    return OutgoingFile(files[0].account, name, csvfile.joined([f.content for f in files]))


def disclosure(
    event: ReferralRequested, row: Any, person: PersonKey, meta: EventMetadata
) -> Pending:
    """Which fields a request hands over, and to whom.

    The digest is of ciphertext: erasure leaves it meaningless.
    """
    disclosed = DisclosureMade(
        referral_id=event.referral_id,
        person_id=event.person_id,
        partner_id=event.partner_id,
        agreement_id=event.agreement_id,
        fields=sorted(_opened(row, person).fields),
        digest=hashlib.sha256(row["sealed"] or b"").hexdigest(),
    )
    return Pending(f"referral-{event.referral_id}", [disclosed], event.person_id, meta)


def disclosures(
    rows: Sequence[Any], alive: Mapping[UUID, PersonKey], meta: EventMetadata
) -> list[Pending]:
    """What requests disclose, where that was not written down before."""
    made = []
    for row in rows:
        if row["message"] == REQUESTED and not row["disclosed"] and row["person_id"] in alive:
            event = parse_event(row["event_type"], row["data"])
            assert isinstance(event, ReferralRequested)
            made.append(disclosure(event, row, alive[row["person_id"]], meta))
    return made


def about(row: Any) -> dict[str, Any]:
    """What every event of a delivery says."""
    return {n: row[n] for n in ("delivery_id", "referral_id", "partner_id", "message")}


def _opened(row: Any, person: PersonKey) -> Disclosure:
    if not row["sealed"]:
        return Disclosure(fields={})
    clear = person.unseal(row["event_id"], row["event_type"], row["sealed"])
    return Disclosure.model_validate_json(clear)
