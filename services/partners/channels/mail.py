"""Mails with a link, for partners without a system; no word about the person."""

from contracts.days import local_day
from contracts.erasure import PersonErased
from contracts.intake import AgreementWithdrawn
from contracts.referrals import (
    AppointmentExcused,
    AppointmentSet,
    DeadlinePassed,
    ReferralCancelled,
    ReferralRequested,
)
from contracts.registry import parse_event
from contracts.values import Channel
from infra.delivery.mail import MAILBOX, OutgoingMail
from infra.delivery.webhook.sender import Outcome, Sent
from services.partners.channels.base import Address, DeliveryChannel, InvalidEndpointError
from services.partners.handlers.compose import Composer, LeasedRow, webhook_id
from services.partners.handlers.tokens import Link, expiry, new_token
from services.partners.model import letters
from services.partners.model.letters import Letter
from services.partners.model.requesters import spoken

MAILTO = "mailto:"


class MailChannel(DeliveryChannel[OutgoingMail]):
    """One mailbox as ``mailto:``; what may be answered is behind a link."""

    name = "email"
    published = Channel.EMAIL

    async def check(self, address: Address) -> None:
        """Raise ``InvalidEndpointError`` unless it is one mailbox, and mail can be sent."""
        if self.context.mail is None:
            raise InvalidEndpointError("channel", "no mail server is set (smtp_url)")
        mailbox = address.url.removeprefix(MAILTO)
        if mailbox == address.url or not MAILBOX.fullmatch(mailbox):
            raise InvalidEndpointError("url", "give mailto: and one mailbox")

    def compose(self, row: LeasedRow, composer: Composer) -> OutgoingMail | Sent:
        """Return a letter; its link, if it has one, goes to ``composer.links``."""
        if why := composer.kept_back(row):
            return Sent(Outcome.PERMANENT, why)
        letter = self._letter(row, composer)
        name = f"<{webhook_id(row.delivery_id)}@{composer.letterhead.host}>"
        return OutgoingMail(row.url.removeprefix(MAILTO), letter.subject, letter.text, name)

    async def send(self, message: OutgoingMail) -> Sent:
        """Mail once."""
        if self.context.mail is None:
            return Sent(Outcome.PERMANENT, "no-mail-server")
        return await self.context.mail.send(message)

    def _letter(self, row: LeasedRow, composer: Composer) -> Letter:
        event, reference = parse_event(row.event_type, row.data), str(row.referral_id)
        theirs = composer.reference(row)
        if isinstance(event, ReferralCancelled):
            return letters.cancellation(reference, theirs)
        if isinstance(event, AgreementWithdrawn):
            return letters.withdrawal(reference, theirs)
        if isinstance(event, PersonErased):
            return letters.erasure(reference)

        link = Link(
            token=new_token(),
            referral_id=row.referral_id,
            partner_id=row.partner_id,
            person_id=row.person_id,
            endpoint_id=row.endpoint_id,
            expires_at=expiry(composer.now, composer.letterhead.link_days),
        )
        composer.links.append(link)
        url, until = composer.letterhead.base_url + link.path, local_day(link.expires_at)
        if isinstance(event, DeadlinePassed):
            return letters.reminder(event.requested_on, theirs, url, until)
        if isinstance(event, AppointmentSet | AppointmentExcused):
            moved_to = event.starts_at if isinstance(event, AppointmentSet) else None
            return letters.appointment(reference, theirs, moved_to, url, until)
        assert isinstance(event, ReferralRequested)
        requester = composer.requester(event, composer.disclosed(row))
        return letters.request(event, spoken(requester), url, until)


CHANNEL = MailChannel
