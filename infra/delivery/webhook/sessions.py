"""Sessions whose every dial passes the guard, and that take nothing on trust."""

import ssl
from typing import Any

import aiohttp

from infra.delivery.ssrf_guard import Guard


def open_session(
    guard: Guard,
    scheme: str,
    deadline_seconds: float,
    tls: ssl.SSLContext | None = None,
    **connector: Any,
) -> aiohttp.ClientSession:
    """For ``https``, or for ``http`` to networks opened on purpose.

    No proxy of the environment, no cookies, no unpacking; one deadline over a whole request.
    ``connector``: how connections are kept (aiohttp's ``TCPConnector``).
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            socket_factory=guard.dial if scheme == "https" else guard.dial_plain,
            ssl=tls or True,
            **connector,
        ),
        timeout=aiohttp.ClientTimeout(total=deadline_seconds),
        trust_env=False,
        auto_decompress=False,  # a small answer must not unpack into a large one
        cookie_jar=aiohttp.DummyCookieJar(),
    )
