"""Bodies of messages, made from the stored event at each send.

The sealed part is opened then and not before: what is kept of a message dies with the person's
key, and an agreement that has ended meanwhile keeps it from leaving.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog

from contracts.days import local_day
from contracts.erasure import PersonErased
from contracts.intake import AgreementWithdrawn
from contracts.partners import DisclosureMade
from contracts.referrals import DeadlinePassed, ReferralCancelled, ReferralRequested
from contracts.registry import parse_event
from contracts.values import Channel
from infra.channels.mail import OutgoingMail
from infra.channels.sftp import Account, OutgoingFile
from infra.eventstore.events import Meta
from infra.eventstore.writer import Pending
from infra.vault import PersonKey
from infra.webhooks.sender import ClientCertificate, Outcome, Outgoing, Sent
from infra.webhooks.signature import SigningKey
from services.partners.adapters import csvfile
from services.partners.adapters.france_travail_clients import Application, OutgoingAppointment
from services.partners.handlers import appointments
from services.partners.handlers.tokens import Link, new_link
from services.partners.handlers.transports import Message
from services.partners.model import (
    WITHOUT_PERSON,
    compose_cancellation,
    compose_erasure,
    compose_reminder,
    compose_request,
    compose_withdrawal,
    expired,
    letters,
)
from services.partners.model.letters import Letter

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Composer:
    """What one set of messages is made with: keys of persons, secrets of endpoints, today."""

    answer_url: str
    persons: Mapping[UUID, PersonKey]
    secrets: Mapping[UUID, list[SigningKey]]
    now: datetime
    base_url: str = ""
    link_days: int = 8
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
            self.clients.get(endpoint),
        )  # fmt: skip

    def _file(self, row: Any) -> OutgoingFile | Sent:
        account, body = self.accounts.get(row["endpoint_id"]), self.checked(row)
        if account is None:
            return Sent(Outcome.PERMANENT, "no-credentials")
        if isinstance(body, Sent):
            return body
        return OutgoingFile(account, f"{webhook_id(row)}.csv", csvfile.written(body))

    def _appointment(self, row: Any) -> OutgoingAppointment | Sent:
        application = self.applications.get(row["endpoint_id"])
        request = self.requests.get(row["referral_id"])
        if why := self.kept_back(row):
            return Sent(Outcome.PERMANENT, why)
        if application is None or request is None:
            return Sent(Outcome.PERMANENT, "no-credentials")
        person = self.persons.get(row["person_id"])
        try:
            fields = _opened(request, person) if person else {}
            return appointments.compose(row, request, application, fields)
        except Exception as error:
            return _not_composed(error)

    def _mail(self, row: Any) -> OutgoingMail | Sent:
        """A mail with a link; ``links`` has to be kept before it leaves."""
        if why := self.kept_back(row):
            return Sent(Outcome.PERMANENT, why)
        letter = self._letter(row)
        name = f"<{webhook_id(row)}@{self.base_url.partition('//')[2].partition('/')[0]}>"
        to = row["url"].removeprefix("mailto:")
        return OutgoingMail(to, letter.subject, letter.text, name)

    def _letter(self, row: Any) -> Letter:
        event, reference = parse_event(row["event_type"], row["data"]), str(row["referral_id"])
        if isinstance(event, ReferralCancelled):
            return letters.cancellation(reference)
        if isinstance(event, AgreementWithdrawn):
            return letters.withdrawal(reference)
        if isinstance(event, PersonErased):
            return letters.erasure(reference)
        link = new_link(row, self.now, self.link_days)
        self.links.append(link)
        url, until = self.base_url + link.path, local_day(link.expires_at)
        if isinstance(event, DeadlinePassed):
            return letters.reminder(event.requested_on, url, until)
        assert isinstance(event, ReferralRequested)
        at = event.appointment_at
        return letters.request(event.thematique, event.urgent, url, until, at)

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
        if expired(row["agreed_until"], self.now.date()):
            return "agreement-expired"
        if row["message"] in WITHOUT_PERSON or row["person_id"] in self.persons:
            return None
        return "person-erased"

    def body(self, row: Any) -> bytes:
        """The message's JSON: the same bytes whenever it is made."""
        event, at = parse_event(row["event_type"], row["data"]), row["occurred_at"]
        if isinstance(event, ReferralRequested):
            return compose_request(event, self.fields(row), at, self.answer_url)
        if isinstance(event, DeadlinePassed):
            return compose_reminder(event, at, self.answer_url)
        about = row["referral_id"], row["partner_id"], row["service_id"], at
        if isinstance(event, AgreementWithdrawn):
            return compose_withdrawal(*about)
        if isinstance(event, PersonErased):
            return compose_erasure(*about)
        assert isinstance(event, ReferralCancelled)
        return compose_cancellation(event, row["partner_id"], row["service_id"], at)

    def fields(self, row: Any) -> dict[str, Any]:
        """What the partner may learn of the person."""
        return _opened(row, self.persons[row["person_id"]])


def _not_composed(error: Exception) -> Sent:
    log.error("message not composed", error=type(error).__name__)
    return Sent(Outcome.PERMANENT, "not-composed")


def webhook_id(row: Any) -> str:
    """The message's id: the same over all attempts, channels and redeliveries."""
    return f"dlv_{row['delivery_id'].hex}"


def disclosure(event: ReferralRequested, row: Any, person: PersonKey, meta: Meta) -> Pending:
    """Which fields a request hands over, and to whom.

    The digest is of ciphertext: erasure leaves it meaningless.
    """
    disclosed = DisclosureMade(
        referral_id=event.referral_id,
        person_id=event.person_id,
        partner_id=event.partner_id,
        agreement_id=event.agreement_id,
        fields=sorted(_opened(row, person)),
        digest=hashlib.sha256(row["sealed"] or b"").hexdigest(),
    )
    return Pending(f"referral-{event.referral_id}", [disclosed], event.person_id, meta)


def _opened(row: Any, person: PersonKey) -> dict[str, Any]:
    if not row["sealed"]:
        return {}
    clear = person.unseal(row["event_id"], row["event_type"], row["sealed"])
    fields: dict[str, Any] = orjson.loads(clear)["fields"]
    return fields
