"""Which transport takes which message."""

from infra.channels.mail import MailSender, OutgoingMail
from infra.webhooks.sender import Outcome, Outgoing, Sender, Sent


class Transports:
    """Web and mail; without a mail server, what needs one goes on to the next channel."""

    def __init__(self, web: Sender, mail: MailSender | None) -> None:
        self._web = web
        self._mail = mail

    async def send(self, message: Outgoing | OutgoingMail) -> Sent:
        """Send once, by the message's own transport."""
        if isinstance(message, OutgoingMail):
            if self._mail is None:
                return Sent(Outcome.PERMANENT, "no-mail-server")
            return await self._mail.send(message)
        return await self._web.send(message)

    async def close(self) -> None:
        """Close every connection."""
        await self._web.close()
