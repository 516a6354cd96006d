"""CSV files on a partner's own SFTP server, one for each message or one for all that waits."""

import hashlib
from collections.abc import Sequence

import asyncssh

from contracts.values import Channel
from infra.delivery.sftp import OutgoingFile, SftpSender
from infra.delivery.ssrf_guard import split_url
from infra.delivery.webhook.sender import Sent
from services.partners.adapters import csvfile
from services.partners.channels.base import (
    LOST,
    Address,
    ChannelContext,
    DeliveryChannel,
    InvalidEndpointError,
)
from services.partners.handlers.compose import Composer, LeasedRow, webhook_id


class SftpChannel(DeliveryChannel[OutgoingFile]):
    """``sftp://user@host:port/directory``; answers lie there too (``handlers/files.py``)."""

    name = "sftp"
    published = Channel.SFTP
    batches = True

    def __init__(self, context: ChannelContext) -> None:
        super().__init__(context)
        self.sender = SftpSender(context.guard)

    async def check(self, address: Address) -> None:
        """Raise ``InvalidEndpointError`` unless we can log in to what we know the key of."""
        parts = split_url(address.url)
        if parts.scheme != "sftp" or not parts.hostname or not parts.username or parts.password:
            raise InvalidEndpointError("url", "give sftp://user@host:port/directory")
        if address.account is None:
            raise InvalidEndpointError("credentials", "say how to log in, and the host key")
        try:
            asyncssh.import_public_key(address.account.host_key)
        except asyncssh.KeyImportError as error:
            raise InvalidEndpointError("credentials.host_key", "is no public key") from error
        try:
            if address.account.private_key:
                asyncssh.import_private_key(address.account.private_key)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            detail = "give a private key without a password, as OpenSSH writes it"
            raise InvalidEndpointError("credentials.private_key", detail) from error
        await self.context.guard.check_host(parts.hostname, parts.port or 22)

    def compose(self, row: LeasedRow, composer: Composer) -> OutgoingFile | Sent:
        """Return a file of one line."""
        account, body = composer.secrets_of(row).account, composer.checked(row)
        if account is None:
            return LOST
        if isinstance(body, Sent):
            return body
        name = webhook_id(row.delivery_id)
        return OutgoingFile(account, f"{name}.csv", csvfile.written(body, name))

    async def send(self, message: OutgoingFile) -> Sent:
        """Lay a file down once."""
        return await self.sender.send(message)

    def join(self, messages: Sequence[OutgoingFile]) -> OutgoingFile:
        """Return several files as one; of the same ones it is the same, by the same name."""
        names = "".join(sorted(file.name for file in messages))
        name = f"lot_{hashlib.sha256(names.encode()).hexdigest()[:32]}.csv"
        content = csvfile.joined([file.content for file in messages])
        return OutgoingFile(messages[0].account, name, content)

    def file_of(self, message: OutgoingFile) -> str:
        """Return its name."""
        return message.name


CHANNEL = SftpChannel
