"""Mail to operator and partner about a disabled address: nobody watches a console."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import structlog

from contracts.partners import EndpointDisabled
from contracts.registry import parse_event
from infra.delivery.mail import MailSender, OutgoingMail
from infra.delivery.webhook.sender import Outcome
from infra.eventstore.events import StoredEvent
from infra.postgres.transaction import Transaction
from services.partners.model import letters
from services.partners.tables import directory as tables

SUPERSEDED = "superseded"
log = structlog.get_logger()


class MailAwayError(OSError):
    """The mail server is away: the notice is tried again, later."""


@dataclass(frozen=True)
class Notices:
    """Mails, at least once each. ``operator``: none if nobody is to be told here."""

    mail: MailSender
    operator: str | None

    async def handle(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Tell of each address that was disabled, other than for a newer one."""
        for recorded in messages:
            if recorded.type != EndpointDisabled.type:
                continue
            event = parse_event(recorded.type, recorded.data)
            assert isinstance(event, EndpointDisabled)
            if event.reason != SUPERSEDED:
                await self._tell(recorded, event, tx)

    async def _tell(
        self, recorded: StoredEvent, event: EndpointDisabled, tx: Transaction
    ) -> None:
        partner = await tx.fetchrow(tables.PARTNER, event.partner_id)
        assert partner is not None  # an endpoint is a known partner's
        name, structure = partner
        letter = letters.disabled(name, str(event.endpoint_id), event.reason)
        mailbox = orjson.loads(structure).get("courriel")  # the directory's, of data·inclusion
        recipients = [to for to in (self.operator, mailbox) if to]
        for number, to in enumerate(recipients):
            message_id = f"<notice.{recorded.event_id.hex}.{number}@aiguillage>"
            letter_to = OutgoingMail(to, letter.subject, letter.text, message_id)
            sent = await self.mail.send(letter_to)
            if sent.outcome is Outcome.RETRY:
                raise MailAwayError(sent.error)
            if sent.outcome is not Outcome.OK:
                log.warning("notice not sent", error=sent.error)
