"""A log that a service hands out over HTTP: fetched by an auditor, page by page."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import aiohttp
import orjson

from infra.tlog.checks import (
    IncompleteLogError,
    LoggedEntry,
    Progress,
    UnsoundLogError,
    Verdict,
    Verification,
    trusting,
    unsound,
)
from infra.tlog.export.layout import payload_path
from infra.tlog.tiles import Tile

PAGE = 1000
MAX_PAGE_BYTES = 64 * 1024 * 1024
"""Bytes of an answer that is kept in memory: a page of entries or checkpoints, a tile."""

TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5, sock_read=60)
"""No limit for all of an answer: a payload may be hundreds of megabytes."""

ATTEMPTS = 4
FIRST_RETRY_SECONDS = 0.2


class RemoteLog:
    """The audit service at an address, asked with an auditor's key.

    Whatever is asked raises ``IncompleteLogError`` if it cannot be had; what the other side
    fails to answer for a moment is asked again.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._base = url.rstrip("/")

    async def get(self, path: str) -> bytes:
        """The body of an answer."""
        body = bytearray()

        def add(chunk: bytes) -> None:
            body.extend(chunk)
            if len(body) > MAX_PAGE_BYTES:
                raise IncompleteLogError(None, "the service answered more than a page")

        await self._read(path, body.clear, add)
        return bytes(body)

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of an answer, which may be more than fits into memory."""
        with TemporaryFile() as file:
            await self._save(path, file)
            file.seek(0)
            for line in file:
                yield line

    async def _save(self, path: str, file: BinaryIO) -> None:
        start = file.tell()

        def again() -> None:
            file.seek(start)
            file.truncate()

        await self._read(path, again, file.write)

    async def _read(
        self, path: str, begin: Callable[[], object], take: Callable[[bytes], object]
    ) -> None:
        """Hand over an answer's body; ``begin``: forget what was handed over of it before."""
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(FIRST_RETRY_SECONDS * 2**attempt)
            begin()
            try:
                async with self._session.get(f"{self._base}{path}") as response:
                    if response.status == 200:
                        async for chunk in response.content.iter_any():
                            take(chunk)
                        return
                    reason = f"the service answered {response.status}"
                    if response.status < 500:
                        break
            except (aiohttp.ClientError, TimeoutError) as error:
                reason = f"the service did not answer ({type(error).__name__})"
        raise IncompleteLogError(None, reason)

    async def json(self, path: str) -> Any:
        """An answer in JSON; ValueError if it is none."""
        return orjson.loads(await self.get(path))

    async def checkpoint(self) -> bytes:
        """The newest checkpoint."""
        return await self.get("/checkpoint")

    async def tile(self, tile: Tile) -> bytes:
        """A tile or an entry bundle."""
        return await self.get(f"/{tile.path}")

    async def payload(self, bundle: Tile, file: BinaryIO) -> None:
        """Write what each entry of a bundle commits to."""
        await self._save(f"/v1/{payload_path(bundle)}", file)

    async def checkpoints(self, after: int, to: int) -> AsyncIterator[bytes]:
        """The checkpoints of more than ``after`` and at most ``to`` entries, oldest first."""
        while after < to:
            signed = f"/v1/checkpoints?after={after}&to={to}&limit={PAGE}"
            page = (await self.json(signed))["checkpoints"]
            for item in page:
                yield str(item["note"]).encode()
            after = int(page[-1]["size"]) if page else to


@asynccontextmanager
async def remote_log(url: str, key: str) -> AsyncIterator[RemoteLog]:
    """The audit service at ``url``; ``key`` is an auditor's API key."""
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers, timeout=TIMEOUT) as session:
        yield RemoteLog(session, url)


async def verify_remote(
    url: str,
    key: str,
    vkeys: Sequence[str],
    progress: Progress | None = None,
    policy: Path | None = None,
) -> Verdict:
    """Check the log of the audit service at ``url``, page by page.

    ``key`` is an auditor's API key; ``vkeys`` the log's public keys, obtained from elsewhere
    than the log, ``policy`` a file that names more, and witnesses. ``progress`` is told how
    many entries are checked, out of how many.
    """
    check: Verification | None = None
    try:
        trusted = trusting(vkeys, policy)
        async with remote_log(url, key) as log:
            check = Verification(await log.checkpoint(), trusted)
            while not check.done:
                start = check.checked
                page = (await log.json(f"/v1/entries?from={start}&limit={PAGE}"))["entries"]
                if not page:
                    break
                async for note in log.checkpoints(start, start + len(page)):
                    check.expect(note)
                for item in page:
                    check.add(LoggedEntry.parse(item))
                if progress:
                    progress(check.checked, check.target.size)
    except UnsoundLogError as error:
        return unsound(check, error)
    except (KeyError, TypeError, ValueError):
        reason = "the service answered something that is not a log"
        return unsound(check, IncompleteLogError(None, reason))
    return check.verdict()
