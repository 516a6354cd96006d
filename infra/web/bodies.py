"""Bodies of requests: never more of one than allowed, never waited for too long."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Receive, Scope

from infra.base.http import BodyTooLargeError
from infra.web.problems import Problem, RequestTimeout, TooLarge

KIB = 1024


@dataclass(frozen=True, slots=True)
class Body:
    """What a route takes: so many bytes, within so many seconds, from whom.

    ``roles``: of the keys that may send one; none given: any key. ``open``: no key is needed.
    ``unread``: the route reads it by itself, by ``bounded_body``.
    """

    most: int = 64 * KIB
    seconds: float = 15
    roles: tuple[str, ...] = ()
    open: bool = False
    unread: bool = False


Bodies = Mapping[str, Body]
"""By path; a path that ends with a slash stands for all below it. Others take ``USUAL``."""
USUAL = Body()


def body_at(path: str, bodies: Bodies) -> Body:
    """What the route at a path takes."""
    if path in bodies:
        return bodies[path]
    below = (b for p, b in bodies.items() if p.endswith("/") and path.startswith(p))
    return next(below, USUAL)


def has_body(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request says that a body comes (RFC 9112 §6)."""
    length = headers.get(b"content-length", b"0")
    return length.strip(b"0") != b"" or b"transfer-encoding" in headers


async def whole_body(scope: Scope, receive: Receive, body: Body) -> bytes | None:
    """The body; None if the caller left. Raises ``Problem`` 413 and 408."""
    declared = dict(scope["headers"]).get(b"content-length", b"")
    if declared.isdigit() and int(declared) > body.most:
        raise _too_large(body.most)
    parts, size = [], 0
    try:
        async with asyncio.timeout(body.seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                size += len(part)
                if size > body.most:
                    raise _too_large(body.most)
                parts.append(part)
                if not message.get("more_body", False):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError as error:
        raise RequestTimeout("The body did not come in time") from error


async def bounded_body(request: Request, most: int, seconds: float) -> bytes:
    """The body, of at most so many bytes, within so many seconds.

    Raises ``BodyTooLargeError`` and ``TimeoutError``.
    """
    body = bytearray()
    async with asyncio.timeout(seconds):
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise BodyTooLargeError
    return bytes(body)


def _too_large(most: int) -> Problem:
    return TooLarge(f"A body has at most {most} bytes here")
