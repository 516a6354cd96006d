"""Calls to France Travail over HTTP, bounded in time, size and rate.

What fails is a class of errors: texts of the other side may repeat what we sent.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import aiohttp
import orjson

from infra.base.clock import Clock, system_clock
from infra.delivery.ssrf_guard import Guard, UnsafeUrlError, parse_url
from infra.delivery.webhook.sender import USER_AGENT, Outcome, Sent, failed, retry_after
from infra.delivery.webhook.sessions import open_session

DEADLINE_SECONDS = 15.0
MAX_BODY = 64 * 1024
MAX_PER_SECOND = 10
"""What France Travail allows an application (offers of employment, v2)."""
WINDOW_SECONDS = 1.05
"""A second as the other side may measure it."""
MAX_HEADER = 8192
HEADERS = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": USER_AGENT,
}
_FOR_GOOD = {302: "headers-missing", 401: "token-refused", 403: "not-authorised"}


class CallError(Exception):
    """A call that came to nothing; ``sent`` says why, in a class and no other word."""

    def __init__(self, sent: Sent) -> None:
        super().__init__(sent.error)
        self.sent = sent


def for_good(error: str, status: int | None = None) -> CallError:
    """Return an error that no repetition mends."""
    return CallError(Sent(Outcome.PERMANENT, error, status))


def for_now(error: str, status: int | None = None, wait: float | None = None) -> CallError:
    """Return an error that may pass; ``wait``: seconds that they ask for."""
    return CallError(Sent(Outcome.RETRY, error, status, wait))


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask; ``json`` and ``form`` exclude each other."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Any = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    query: Mapping[str, str] | None = None
    max_body: int = MAX_BODY

    def bearing(self, token: str) -> "Request":
        """Return the same request with an access token."""
        return replace(self, headers=dict(self.headers) | {"authorization": f"Bearer {token}"})


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """Return whether they took it."""
        return 200 <= self.status < 300

    def object(self) -> dict[str, Any]:
        """Return the JSON object of the body; empty if it holds none."""
        try:
            parsed = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return parsed if isinstance(parsed, dict) else {}


class Pace:
    """At most so many calls within any second, in this process."""

    def __init__(
        self, most: int = MAX_PER_SECOND, window_seconds: float = WINDOW_SECONDS
    ) -> None:
        self._starts: deque[float] = deque(maxlen=most)
        self._window = window_seconds

    async def turn(self) -> None:
        """Wait for a place; places go in the order in which they are asked for."""
        now = asyncio.get_running_loop().time()
        start = now
        if len(self._starts) == self._starts.maxlen:
            start = max(now, self._starts[0] + self._window)
        self._starts.append(start)
        if start > now:
            await asyncio.sleep(start - now)


class Http:
    """Keeps connections alive; ``https``, or ``http`` to networks opened on purpose."""

    def __init__(
        self,
        guard: Guard,
        *,
        clock: Clock = system_clock,
        deadline_seconds: float = DEADLINE_SECONDS,
        pace: Pace | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.deadline_seconds = deadline_seconds
        self.clock = clock
        self._guard = guard
        self._pace = pace or Pace()
        self._tls = tls
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def call(self, request: Request) -> Reply:
        """Ask once, in turn. Raises ``CallError`` for what is no answer."""
        await self._pace.turn()
        try:
            return await self._call(request)
        except UnsafeUrlError:
            came_to = Sent(Outcome.PERMANENT, "unsafe-url")
        except TimeoutError:
            came_to = Sent(Outcome.RETRY, "timeout")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            came_to = _failed(error)
        # outside of the handlers: their errors may hold texts of the other side
        raise CallError(came_to)

    async def _call(self, request: Request) -> Reply:
        scheme = parse_url(request.url).scheme
        if scheme not in self._sessions:
            self._sessions[scheme] = open_session(
                self._guard, scheme, self.deadline_seconds, self._tls
            )
        body = None if request.json is None else orjson.dumps(request.json)
        typed = {} if body is None else {"content-type": "application/json"}
        async with self._sessions[scheme].request(
            request.method,
            request.url,
            data=request.form if body is None else body,
            params=request.query,
            headers=HEADERS | typed | dict(request.headers),
            allow_redirects=False,
        ) as response:
            content = await _read(response, request.max_body)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, headers, content)

    async def close(self) -> None:
        """Close every connection; whoever calls meanwhile opens one of its own."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()


def refused(reply: Reply, now: datetime) -> CallError:
    """Return what a status that is no success means, where the call has no reading of its own.

    A 302 is how the agents' realm says that headers are missing (rechercher-usager v2).
    """
    status = reply.status
    if status in _FOR_GOOD:
        return for_good(_FOR_GOOD[status], status)
    if status in (408, 429) or not 400 <= status < 500:
        wait = retry_after(reply.headers.get("retry-after"), now)
        return for_now(f"http-{status}", status, wait)
    return for_good(f"http-{status}", status)


def header_safe(value: object) -> str | None:
    """Return a text that others gave us if it may go into a header, else None."""
    fits = isinstance(value, str) and 0 < len(value) <= MAX_HEADER and value.isascii()
    return str(value) if fits and all(" " < c <= "~" for c in str(value)) else None


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body; one that is too long loses its connection."""
    parts, size = [], 0
    async for part in response.content.iter_chunked(16 * 1024):
        parts.append(part)
        size += len(part)
        if size > most:
            response.close()
            raise for_now("answer-too-long", response.status)
    return b"".join(parts)


def _failed(error: Exception) -> Sent:
    """As for webhooks, but for a certificate and an answer cut short: those may mend."""
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Sent(Outcome.RETRY, "tls")
    if isinstance(error, aiohttp.ClientPayloadError):
        return Sent(Outcome.RETRY, "disconnected")
    return failed(error)
