"""Operator and partner learn by mail that an address is disabled: nobody watches a console."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
        letter = letters.disabled(partner["name"], str(event.endpoint_id), event.reason)
        told = [to for to in (self.operator, _mailbox(partner)) if to]
        for number, to in enumerate(told):
            name = f"<notice.{recorded.event_id.hex}.{number}@aiguillage>"
            sent = await self.mail.send(OutgoingMail(to, letter.subject, letter.text, name))
            if sent.outcome is Outcome.RETRY:
                raise MailAwayError(sent.error)
            if sent.outcome is not Outcome.OK:
                log.warning("notice not sent", error=sent.error)


def _mailbox(partner: Any) -> str | None:
    """What the directory says of the organisation (data·inclusion ``courriel``)."""
    found: str | None = orjson.loads(partner["structure"]).get("courriel")
    return found
