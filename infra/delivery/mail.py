"""Sends one mail and says what became of it; never raises for what others do."""

import asyncio
import ipaddress
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from unicodedata import category
from urllib.parse import unquote, urlsplit

import aiosmtplib

from infra.base.clock import Clock, system_clock
from infra.delivery.webhook.sender import Outcome, Sent

DEADLINE_SECONDS = 20.0
FAREWELL_SECONDS = 1.0
MAX_HEADER_CHARS = 200
MAILBOX = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{3,190}")
"""One mailbox in its usual form: no quoted part, in which other headers could hide."""
MAX_AT_ONCE = 5
"""Connections to the mail server at the same time."""


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """A mail to one mailbox; ``message_id`` is the same over all attempts."""

    to: str
    subject: str
    text: str
    message_id: str


class MailSender:
    """One SMTP server: ``smtp://user:password@host:port``, or ``smtps:`` for TLS at once.

    STARTTLS is asked for, and needed unless the server is on this machine (RFC 3207).
    """

    def __init__(
        self,
        smtp_url: str,
        mail_from: str,
        *,
        clock: Clock = system_clock,
        deadline_seconds: float = DEADLINE_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._server = urlsplit(smtp_url)
        if self._server.scheme not in ("smtp", "smtps") or not self._server.hostname:
            raise ValueError("an SMTP server is smtp://host:port or smtps://host:port")
        self._from = mail_from
        self._clock = clock
        self._deadline = deadline_seconds
        self._tls = tls
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def send(self, mail: OutgoingMail) -> Sent:
        """Send once."""
        try:
            message = self._message(mail)
        except ValueError:  # a line break in a header, say: it stays there
            return Sent(Outcome.PERMANENT, "unsendable")
        client = self._client()
        try:
            async with asyncio.timeout(self._deadline), self._turns:
                await client.connect()
                await client.send_message(message)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return _failed(error)
        else:
            # the server has it: a farewell that fails must not have it sent a second time
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=FAREWELL_SECONDS)
            return Sent(Outcome.OK)
        finally:
            client.close()

    def _client(self) -> aiosmtplib.SMTP:
        server, secure = self._server, self._server.scheme == "smtps"
        assert server.hostname is not None
        return aiosmtplib.SMTP(
            hostname=server.hostname,
            port=server.port or (465 if secure else 587),
            username=unquote(server.username) if server.username else None,
            password=unquote(server.password) if server.password else None,
            use_tls=secure,
            start_tls=None if secure or _on_this_machine(server.hostname) else True,
            tls_context=self._tls,
            timeout=self._deadline,
        )

    def _message(self, mail: OutgoingMail) -> EmailMessage:
        if not MAILBOX.fullmatch(mail.to):
            raise ValueError("not one mailbox")
        message = EmailMessage()
        message["From"] = self._from
        message["To"] = mail.to
        message["Subject"] = plain_header(mail.subject)
        message["Date"] = format_datetime(self._clock())
        message["Message-ID"] = mail.message_id
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        message.set_content(mail.text)
        return message


def plain_header(text: str) -> str:
    """Return a text as one line of a header, without what acts by itself.

    CPython decodes encoded words in what it is given, line breaks in them too, and writes
    those as header lines (RFC 2047; seen with 3.11.7): the words are broken up.
    """
    kept = (" " if category(c)[0] in "CZ" else c for c in text)
    return " ".join("".join(kept).replace("=?", "= ?").split())[:MAX_HEADER_CHARS]


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _failed(error: Exception) -> Sent:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        code = error.recipients[0].code
        if code >= 500:
            return Sent(Outcome.PERMANENT, "mailbox-refused", code)
        return Sent(Outcome.RETRY, "mailbox-busy", code)
    if isinstance(error, aiosmtplib.SMTPDataError):
        outcome = Outcome.PERMANENT if error.code >= 500 else Outcome.RETRY
        return Sent(outcome, "smtp-refused", error.code)
    # what follows is between the server and us: no fault of the partner's mailbox
    if isinstance(error, aiosmtplib.SMTPResponseException):
        login = isinstance(error, aiosmtplib.SMTPAuthenticationError) or error.code == 530
        return Sent(Outcome.RETRY, "smtp-auth" if login else "smtp-refused", error.code)
    return Sent(Outcome.RETRY, _class_of(error))


def _class_of(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "smtp-timeout"
    causes = (error, error.__cause__, error.__context__)
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "smtp-tls"
    if isinstance(error, aiosmtplib.SMTPServerDisconnected):
        return "smtp-disconnected"
    return "smtp-connect" if isinstance(error, OSError) else "smtp-protocol"
