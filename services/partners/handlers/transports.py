"""Which transport takes which message."""

from infra.delivery.mail import MailSender, OutgoingMail
from infra.delivery.sftp import OutgoingFile, SftpSender
from infra.delivery.webhook.sender import Outcome, Outgoing, Sender, Sent
from services.partners.adapters.france_travail_clients import Clients, OutgoingAppointment

Message = Outgoing | OutgoingMail | OutgoingFile | OutgoingAppointment


class Transports:
    """Web, mail, files, API; what needs what is not there goes on to the next channel."""

    def __init__(
        self,
        web: Sender,
        mail: MailSender | None,
        files: SftpSender | None = None,
        clients: Clients | None = None,
    ) -> None:
        self._web = web
        self._mail = mail
        self._files = files
        self._clients = clients

    async def send(self, message: Message) -> Sent:
        """Send once, by the message's own transport."""
        if isinstance(message, OutgoingMail):
            if self._mail is None:
                return Sent(Outcome.PERMANENT, "no-mail-server")
            return await self._mail.send(message)
        if isinstance(message, OutgoingFile):
            if self._files is None:
                return Sent(Outcome.PERMANENT, "no-file-transport")
            return await self._files.send(message)
        if isinstance(message, OutgoingAppointment):
            if self._clients is None:
                return Sent(Outcome.PERMANENT, "no-api-client")
            return await self._clients.send(message)
        return await self._web.send(message)

    async def close(self) -> None:
        """Close every connection."""
        await self._web.close()
        if self._clients:
            await self._clients.close()
