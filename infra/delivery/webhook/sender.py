"""Sends one signed message and says what became of it; never raises for what others do.

One deadline spans name resolution to the last byte of the answer; of the answer at most 16 KiB
are read, and none is kept: it may repeat what we sent.
"""

import email.utils
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import aiohttp

from infra.base.clock import Clock, system_clock
from infra.base.telemetry import next_hop
from infra.delivery.ssrf_guard import BLOCKED_ERRNO, Guard, UnsafeUrlError, parse_url
from infra.delivery.webhook.replies import says_failed, says_gone_already
from infra.delivery.webhook.sessions import open_session
from infra.delivery.webhook.signature import SigningKey, sign

DEADLINE_SECONDS = 15.0
MAX_ANSWER_BYTES = 16 * 1024
MAX_RETRY_AFTER_SECONDS = 36_000
KEEPALIVE_SECONDS = 30
DNS_CACHE_SECONDS = 10
USER_AGENT = "Aiguillage/1"
MAX_SESSIONS = 100
"""Partners with certificates whose connections are kept at the same time."""
X509_V_ERR_CERT_HAS_EXPIRED = 10  # of OpenSSL


class Outcome(StrEnum):
    """What a send came to."""

    OK = "ok"
    RETRY = "retry"
    PERMANENT = "permanent"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Our client certificate and key (PEM) for mutual TLS."""

    certificate: bytes
    private_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send. ``webhook_id`` is the same over all attempts; ``keys`` all sign.

    ``may_be_over``: what it is about may have ended at the other side, which is as good.
    """

    url: str
    webhook_id: str
    body: bytes
    keys: Sequence[SigningKey] = field(repr=False)
    traceparent: str | None = None
    client: ClientCertificate | None = None
    may_be_over: bool = False


@dataclass(frozen=True, slots=True)
class Consent:
    """An address's answer to the handshake: whether it wants messages, how many a minute."""

    given: bool
    per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a send; ``error`` is a class of errors, never a text of somebody else.

    ``retry_after``: seconds that the other side asked us to wait, capped at ten hours.
    ``external_id``: under which it keeps what we sent, where it said so.
    """

    outcome: Outcome
    error: str | None = None
    status: int | None = None
    retry_after: float | None = None
    external_id: str | None = None


_Key = tuple[str, ClientCertificate | None]


class Sender:
    """Keeps connections alive; a session for https, one for plain http to opened networks."""

    def __init__(
        self,
        guard: Guard,
        *,
        clock: Clock = system_clock,
        deadline_seconds: float = DEADLINE_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._deadline = deadline_seconds
        self._tls = tls
        self._sessions: dict[_Key, aiohttp.ClientSession] = {}

    async def send(self, message: Outgoing) -> Sent:
        """Deliver once."""
        try:
            session = await self._session(parse_url(message.url).scheme, message.client)
            signed = sign(message.keys, message.webhook_id, self._clock(), message.body)
            headers = signed | {
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": USER_AGENT,
                "traceparent": next_hop(message.traceparent),
            }
            async with session.post(
                message.url, data=message.body, headers=headers, allow_redirects=False
            ) as response:
                return await self._answered(response, message.may_be_over)
        except UnsafeUrlError:
            return Sent(Outcome.PERMANENT, "unsafe-url")
        except TimeoutError:
            return Sent(Outcome.RETRY, "timeout")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return failed(error)

    async def ask(
        self, url: str, origin: str, client: ClientCertificate | None = None
    ) -> Consent:
        """Ask an address whether it wants messages from us (CloudEvents HTTP webhook §4)."""
        asking = {"webhook-request-origin": origin, "user-agent": USER_AGENT}
        try:
            session = await self._session(parse_url(url).scheme, client)
            async with session.options(url, headers=asking, allow_redirects=False) as response:
                await _drain(response)
                headers = response.headers
                if headers.get("webhook-allowed-origin", "").strip() not in ("*", origin):
                    return Consent(False)
                rate = headers.get("webhook-allowed-rate", "").strip()
                known = rate.isascii() and rate.isdigit() and len(rate) < 7 and int(rate) > 0
                return Consent(True, int(rate) if known else None)
        except (aiohttp.ClientError, OSError, ValueError):
            return Consent(False)

    async def close(self) -> None:
        """Close every connection; whoever sends meanwhile opens one of its own."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    async def _session(
        self, scheme: str, client: ClientCertificate | None
    ) -> aiohttp.ClientSession:
        """Of a scheme, and of one partner where it knows us by a certificate."""
        key = scheme, client
        if key not in self._sessions:
            if len(self._sessions) >= MAX_SESSIONS:
                oldest = next(k for k in self._sessions if k[1] is not None)
                await self._sessions.pop(oldest).close()
            self._sessions[key] = open_session(
                self._guard,
                scheme,
                self._deadline,
                client_context(client, self._tls) if client else self._tls,
                limit=0,  # the worker bounds what is in flight; a wait would eat the deadline
                ttl_dns_cache=DNS_CACHE_SECONDS,
                keepalive_timeout=KEEPALIVE_SECONDS,
            )
        return self._sessions[key]

    async def _answered(self, response: aiohttp.ClientResponse, may_be_over: bool) -> Sent:
        body = await _drain(response)
        status, control = response.status, response.headers.get("webhook-delivery", "")
        if control.strip().lower() == "abort-message":
            return Sent(Outcome.PERMANENT, "aborted-by-receiver", status)
        if control.strip().lower() == "disable":
            return Sent(Outcome.GONE, "disabled-by-receiver", status)
        if status == 410:
            return Sent(Outcome.GONE, "http-410", status)
        if 200 <= status < 300:
            return _received(response, body)
        if may_be_over and says_gone_already(status, body):
            return Sent(Outcome.OK, None, status)
        wait = retry_after(response.headers.get("retry-after"), self._clock())
        return Sent(Outcome.RETRY, f"http-{status}", status, wait)


def _received(response: aiohttp.ClientResponse, body: bytes) -> Sent:
    """A status of success is no receipt if what comes with it says otherwise."""
    # a firewall's error page comes with 200: nobody at the partner has the message
    beginning = body[:64].lstrip().lower()
    if response.content_type == "text/html" and beginning.startswith(
        (b"<!doctype html", b"<html")
    ):
        return Sent(Outcome.RETRY, "html-page", response.status)
    if says_failed(body):
        return Sent(Outcome.RETRY, "error-in-200", response.status)
    return Sent(Outcome.OK, None, response.status)


def client_context(
    client: ClientCertificate, trusted: ssl.SSLContext | None = None
) -> ssl.SSLContext:
    """Return a context that shows a certificate; ``trusted``: its authorities count, too.

    Raises ``ValueError`` for what is no certificate with its key, and for an encrypted key.
    """
    context = ssl.create_default_context()
    for authority in trusted.get_ca_certs(binary_form=True) if trusted else ():
        context.load_verify_locations(cadata=authority)
    # the library reads files only: one that only we can read, gone at once
    with tempfile.NamedTemporaryFile(prefix="aiguillage-") as file:
        file.write(client.certificate + b"\n" + client.private_key)
        file.flush()
        try:
            # without a password OpenSSL would ask for one on the terminal, and wait for ever
            context.load_cert_chain(file.name, password=b"")
        except (ssl.SSLError, OSError) as error:
            raise ValueError("no certificate with its private key") from error
    return context


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds in a ``Retry-After`` header (a number or a date), capped.

    None if it is malformed.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:12]), MAX_RETRY_AFTER_SECONDS))
    try:
        until = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(0.0, (until - now).total_seconds()), MAX_RETRY_AFTER_SECONDS)


async def _drain(response: aiohttp.ClientResponse) -> bytes:
    """The answer, as far as it is read; one that is too long loses its connection."""
    body = bytearray()
    while len(body) < MAX_ANSWER_BYTES:
        chunk = await response.content.read(MAX_ANSWER_BYTES - len(body))
        if not chunk:
            return bytes(body)
        body += chunk
    response.close()
    return bytes(body)


def failed(error: Exception) -> Sent:
    """Return what an exception of a request means, in a class of errors and no other word."""
    if isinstance(error, aiohttp.InvalidURL):
        return Sent(Outcome.PERMANENT, "unsafe-url")
    if getattr(error, "errno", None) == BLOCKED_ERRNO:
        return Sent(Outcome.PERMANENT, "blocked-target")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Sent(Outcome.RETRY, "dns")
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        # an expired certificate does not mend itself within our schedule: somebody has to act
        cause = getattr(error, "certificate_error", None) or error
        if getattr(cause, "verify_code", None) == X509_V_ERR_CERT_HAS_EXPIRED:
            return Sent(Outcome.PERMANENT, "tls-certificate-expired")
        return Sent(Outcome.RETRY, "tls")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Sent(Outcome.RETRY, "connect")
    if isinstance(error, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError | OSError):
        return Sent(Outcome.RETRY, "disconnected")
    return Sent(Outcome.RETRY, "protocol")
