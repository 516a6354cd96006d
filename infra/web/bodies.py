"""Bodies of requests and answers: never more of one than allowed, never waited for too long."""

import asyncio

import aiohttp
from starlette.requests import Request

from infra.web.problems import Problem


class BodyTooLargeError(Exception):
    """There is more of the body than allowed."""


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


async def bounded_answer(response: aiohttp.ClientResponse, most: int) -> bytes:
    """What somebody answered us, of at most so many bytes; raises ``BodyTooLargeError``.

    The session's timeout bounds how long it is waited for.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise BodyTooLargeError
    return bytes(body)


async def whole_body(request: Request, most: int, seconds: float, too_large: str) -> bytes:
    """The same, or the ``Problem`` (413 under the title given, 408) that says why not."""
    try:
        return await bounded_body(request, most, seconds)
    except BodyTooLargeError as error:
        raise Problem(413, "too-large", too_large) from error
    except TimeoutError as error:
        raise Problem(408, "too-slow", "The body did not arrive in time") from error
