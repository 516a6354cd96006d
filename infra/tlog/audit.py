"""Check a log without trusting who keeps it: only its public key, and the bytes it hands out.

Everything is recomputed from the entries: leaf hashes, the root under each signed checkpoint,
the digests of what each entry vouches for, and the versions of every stream.
"""

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Any, Self

import aiohttp
import orjson

from infra.tlog.merkle import Frontier, leaf_hash
from infra.tlog.note import Checkpoint, NoteError, VKey, open_checkpoint

PAGE = 1000
MAX_PAGE_BYTES = 256 * 1024 * 1024
TIMEOUT = aiohttp.ClientTimeout(total=60, connect=5)
ATTEMPTS = 4
FIRST_RETRY_SECONDS = 0.2
HEADER = (
    "service", "id", "stream", "version", "type", "person", "occurred_at", "recorded_at",
    "actor",
)  # fmt: skip
"""What an entry says in clear, and what pathways are read from."""
Progress = Callable[[int, int], None]


class Outcome(IntEnum):
    """What a verification found; the value is the exit code of the command."""

    INTACT = 0
    BROKEN = 1
    INCOMPLETE = 2


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """One entry as a log hands it out, with what it vouches for.

    ``data`` is the clear part's JSON text (None: not handed out, not checked), ``sealed`` the
    ciphertext (None: there is none, or it was erased). ``header`` and ``leaf_hash`` are what
    the log says about the entry: they are compared with the entry itself.
    """

    index: int
    entry: bytes
    data: bytes | None = None
    sealed: bytes | None = None
    leaf_hash: bytes | None = None
    header: Mapping[str, Any] | None = None

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Self:
        """An item of ``GET /v1/entries``; KeyError or ValueError if it is not one."""
        sealed = item["sealed"]
        return cls(
            int(item["idx"]),
            base64.b64decode(item["entry"]),
            str(item["data"]).encode(),
            base64.b64decode(sealed) if sealed is not None else None,
            base64.b64decode(item["leaf_hash"]),
            item["event"],
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; ``at`` is the index of the first entry that does not hold, if known.

    ``checked`` entries were recomputed out of the ``size`` that the checkpoint states;
    ``erased`` of them lack their sealed part.
    """

    outcome: Outcome
    reason: str
    at: int | None = None
    checked: int = 0
    size: int = 0
    erased: int = 0
    root: bytes = b""

    @property
    def exit_code(self) -> int:
        """0 intact, 1 broken, 2 incomplete."""
        return int(self.outcome)

    def __str__(self) -> str:
        """One line for people."""
        place = f" at entry {self.at}" if self.at is not None else ""
        return f"{self.outcome.name.lower()}{place}: {self.reason}"


class BrokenLogError(Exception):
    """An entry that does not hold, and why."""

    def __init__(self, at: int | None, reason: str) -> None:
        super().__init__(reason)
        self.at = at
        self.reason = reason


class IncompleteLogError(Exception):
    """The log, or its keeper, did not hand out all that is needed to judge."""


class Verification:
    """A running check against one checkpoint; memory grows only with the number of streams.

    Raises ``BrokenLogError`` if the checkpoint is not signed by the key, and
    ``IncompleteLogError`` if the key is not one.
    """

    def __init__(self, note: bytes, vkey: str) -> None:
        self._vkey = _parse_vkey(vkey)
        self.target = self._open(note)
        self.erased = 0
        self._expected = deque([self.target])
        self._versions: dict[bytes, int] = {}
        self._frontier = Frontier()
        self._proven = 0
        self._compare_roots()

    @property
    def checked(self) -> int:
        """Entries added so far."""
        return self._frontier.size

    @property
    def done(self) -> bool:
        """Whether every entry under the checkpoint was added."""
        return self._frontier.size >= self.target.size

    def expect(self, note: bytes) -> None:
        """An earlier checkpoint: it narrows down where a log was changed.

        One that comes too late, or out of order, is passed over.
        """
        checkpoint = self._open(note)
        before = self._expected[-2].size if len(self._expected) > 1 else self.checked
        if before < checkpoint.size < self.target.size:
            self._expected.insert(len(self._expected) - 1, checkpoint)

    def add(self, entry: LoggedEntry) -> None:
        """Check the next entry; entries that no checkpoint covers yet are passed over.

        Raises ``BrokenLogError``.
        """
        if self.done:
            return
        self._check_place(entry)
        computed = leaf_hash(entry.entry)
        if entry.leaf_hash is not None and entry.leaf_hash != computed:
            raise BrokenLogError(entry.index, "the entry is not the one that was hashed")
        self._check_contents(entry)
        self._frontier.append(computed)
        self._compare_roots()

    def verdict(self) -> Verdict:
        """What was found, once all entries were added."""
        if not self.done:
            reason = f"only {self.checked} of {self.target.size} entries were handed out"
            return self.verdict_of(Outcome.INCOMPLETE, reason)
        reason = f"{self.checked} entries lead to the signed root"
        return self.verdict_of(Outcome.INTACT, reason)

    def verdict_of(self, outcome: Outcome, reason: str, at: int | None = None) -> Verdict:
        """A verdict with the counts so far."""
        return Verdict(
            outcome, reason, at, self.checked, self.target.size, self.erased, self.target.root
        )

    def _open(self, note: bytes) -> Checkpoint:
        try:
            return open_checkpoint(note, [self._vkey], self._vkey.name)
        except NoteError as error:
            raise BrokenLogError(None, f"the checkpoint does not hold: {error}") from error

    def _check_place(self, entry: LoggedEntry) -> None:
        if entry.index > self.checked:
            raise BrokenLogError(self.checked, "the entry is missing")
        if entry.index < self.checked:
            raise BrokenLogError(entry.index, "the entry comes a second time")

    def _check_contents(self, entry: LoggedEntry) -> None:
        try:
            header = orjson.loads(entry.entry)
            self._check_version(entry.index, header)
            if entry.header is not None:
                _check_header(entry.index, header, entry.header)
            _check_data(entry, header["data_sha256"])
            self.erased += _check_sealed(entry, header["sealed_sha256"])
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenLogError(entry.index, "the entry cannot be read") from error

    def _check_version(self, index: int, header: Mapping[str, Any]) -> None:
        # 16 bytes instead of the names: a log has as many streams as people and cases.
        name = f"{header['service']}\n{header['stream']}"
        stream = sha256(name.encode()).digest()[:16]
        last, version = self._versions.get(stream, 0), header["version"]
        if version != last + 1:
            named = f"version {version} of {header['stream']} follows version {last}"
            raise BrokenLogError(index, named)
        self._versions[stream] = version

    def _compare_roots(self) -> None:
        while self._expected and self._expected[0].size == self._frontier.size:
            checkpoint = self._expected.popleft()
            if checkpoint.root != self._frontier.root():
                last = max(checkpoint.size - 1, 0)
                raise BrokenLogError(
                    self._proven,
                    f"entries {self._proven} to {last} are not those that were signed",
                )
            self._proven = checkpoint.size


def verify_log(
    entries: Iterable[LoggedEntry], note: bytes, vkey: str, earlier: Iterable[bytes] = ()
) -> Verdict:
    """Check a whole log, in order from entry 0, against its newest checkpoint.

    ``earlier`` checkpoints, in rising order, narrow down where a log was changed.
    """
    check: Verification | None = None
    try:
        check = Verification(note, vkey)
        for signed in earlier:
            check.expect(signed)
        for entry in entries:
            check.add(entry)
    except BrokenLogError as error:
        return _broken(check, error)
    except IncompleteLogError as error:
        return _incomplete(check, str(error))
    return check.verdict()


async def verify_remote(
    url: str, key: str, vkey: str, progress: Progress | None = None
) -> Verdict:
    """Check the log of the audit service at ``url``, page by page.

    ``key`` is an auditor's API key; ``vkey`` the log's public key, obtained from elsewhere
    than the log. ``progress`` is told how many entries are checked, out of how many.
    """
    check: Verification | None = None
    try:
        headers = {"authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(headers=headers, timeout=TIMEOUT) as session:
            base = url.rstrip("/")
            check = Verification(await _get(session, f"{base}/checkpoint"), vkey)
            async for _ in _pages(session, base, check):
                if progress:
                    progress(check.checked, check.target.size)
    except BrokenLogError as error:
        return _broken(check, error)
    except IncompleteLogError as error:
        return _incomplete(check, str(error))
    except (KeyError, TypeError, ValueError):
        return _incomplete(check, "the service answered something that is not a log")
    return check.verdict()


async def _pages(
    session: aiohttp.ClientSession, base: str, check: Verification
) -> AsyncIterator[None]:
    """Fetch and check page after page, until the checkpoint is reached or nothing comes."""
    while not check.done:
        start = check.checked
        page = await _json(session, f"{base}/v1/entries?from={start}&limit={PAGE}")
        if not page["entries"]:
            return
        reach = start + len(page["entries"])
        signed = f"{base}/v1/checkpoints?after={start}&to={reach}&limit={PAGE}"
        for item in (await _json(session, signed))["checkpoints"]:
            check.expect(str(item["note"]).encode())
        for item in page["entries"]:
            check.add(LoggedEntry.parse(item))
        yield


async def _json(session: aiohttp.ClientSession, url: str) -> Any:
    return orjson.loads(await _get(session, url))


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    """The body of an answer; tries again when the other side is away for a moment.

    Raises ``IncompleteLogError``.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(FIRST_RETRY_SECONDS * 2**attempt)
        try:
            async with session.get(url) as response:
                if response.status == 200:
                    return await _body(response)
                reason = f"the service answered {response.status}"
                if response.status < 500:
                    break
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = f"the service did not answer ({type(error).__name__})"
    raise IncompleteLogError(reason)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_PAGE_BYTES:
            raise IncompleteLogError("the service answered more than a page")
        chunks.append(chunk)
    return b"".join(chunks)


def _broken(check: Verification | None, error: BrokenLogError) -> Verdict:
    if check is None:
        return Verdict(Outcome.BROKEN, error.reason, error.at)
    return check.verdict_of(Outcome.BROKEN, error.reason, error.at)


def _incomplete(check: Verification | None, reason: str) -> Verdict:
    if check is None:
        return Verdict(Outcome.INCOMPLETE, reason)
    return check.verdict_of(Outcome.INCOMPLETE, reason)


def _parse_vkey(vkey: str) -> VKey:
    try:
        return VKey.parse(vkey)
    except NoteError as error:
        raise IncompleteLogError(f"the public key cannot be used: {error}") from error


def _check_header(index: int, entry: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    for name in HEADER:
        if entry[name] != said[name]:
            raise BrokenLogError(index, f"the {name} beside the entry is not the entry's")


def _check_data(entry: LoggedEntry, digest: str) -> None:
    if entry.data is not None and sha256(entry.data).hexdigest() != digest:
        raise BrokenLogError(entry.index, "the data are not those of the entry")


def _check_sealed(entry: LoggedEntry, digest: str | None) -> bool:
    """Whether the sealed part that the entry vouches for is gone (erased)."""
    if entry.sealed is None:
        return digest is not None
    if sha256(entry.sealed).hexdigest() != digest:
        raise BrokenLogError(entry.index, "the sealed part is not that of the entry")
    return False
