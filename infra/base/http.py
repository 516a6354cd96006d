"""What a server answered us: never more of it than allowed."""

import aiohttp


class BodyTooLargeError(Exception):
    """There is more of the body than allowed."""


async def bounded_answer(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Read the body of an answer to us, of at most so many bytes.

    The session's timeout bounds the wait. Raises ``BodyTooLargeError``.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise BodyTooLargeError
    return bytes(body)
