"""Check a log without trusting who keeps it: only its public key, and the bytes it hands out.

Everything is recomputed from the entries: leaf hashes, the root under each signed checkpoint,
the commitments to what each entry vouches for, and the versions of every stream. Here: what is
checked of entries that come one after the other; ``remote`` fetches them from a service,
``offline`` reads them from an export.
"""

import base64
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import orjson

from infra.tlog.commitment import Opening
from infra.tlog.merkle import Frontier, leaf_hash
from infra.tlog.note import Checkpoint, NoteError, VKey, open_checkpoint
from infra.tlog.policy import Policy

MAX_VERSION = 2**31 - 1
Progress = Callable[[int, int], None]


class Outcome(IntEnum):
    """Result of a verification; the value is the exit code of the command."""

    INTACT = 0
    BROKEN = 1
    INCOMPLETE = 2


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """One entry as a log hands it out, with what it commits to.

    ``leaf_hash`` is what the log says about the entry: it is compared with the entry itself.
    """

    index: int
    entry: bytes
    opening: Opening
    leaf_hash: bytes | None = None

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Self:
        """An item of ``GET /v1/entries``; KeyError or ValueError if it is not one."""
        salts = [base64.b64decode(item[name] or "") for name in ("salt", "sealed_salt")]
        opening = Opening(
            b"".join(salts),
            str(item["header"]).encode(),
            str(item["data"]).encode(),
            base64.b64decode(item["sealed"] or ""),
        )
        entry, leaf = base64.b64decode(item["entry"]), base64.b64decode(item["leaf_hash"])
        return cls(int(item["idx"]), entry, opening, leaf)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result with its reason; ``at``: index of the first entry that does not hold, if known.

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


class Vouched(NamedTuple):
    """Contents of an entry, and whether the sealed part that it vouches for is gone (erased).

    ``stream``: service and name of the stream, in two lines.
    """

    header: dict[str, Any]
    stream: str
    version: int
    erased: bool


class UnsoundLogError(Exception):
    """Reason why a log is not found intact; ``at``: the first entry concerned, if known."""

    outcome: ClassVar[Outcome]

    def __init__(self, at: int | None, reason: str) -> None:
        super().__init__(at, reason)
        self.at = at
        self.reason = reason

    def __str__(self) -> str:
        """The reason."""
        return self.reason


class BrokenLogError(UnsoundLogError):
    """An entry, or a signature, that does not hold, and why."""

    outcome = Outcome.BROKEN


class IncompleteLogError(UnsoundLogError):
    """The log, or its keeper, did not hand out all that is needed to judge."""

    outcome = Outcome.INCOMPLETE


class Verification:
    """A running check against one checkpoint; memory grows only with the number of streams.

    Raises what ``open_newest`` raises.
    """

    def __init__(self, note: bytes, trusted: Policy) -> None:
        self.target, self._keys = open_newest("the checkpoint", note, trusted)
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
        checkpoint = open_earlier("a checkpoint", note, self._keys)
        before = self._expected[-2].size if len(self._expected) > 1 else self.checked
        if before < checkpoint.size < self.target.size:
            self._expected.insert(len(self._expected) - 1, checkpoint)

    def add(self, entry: LoggedEntry) -> None:
        """Check the next entry; entries that no checkpoint covers yet are passed over.

        Raises ``BrokenLogError``.
        """
        if self.done:
            return
        if entry.index > self.checked:
            raise BrokenLogError(self.checked, "the entry is missing")
        if entry.index < self.checked:
            raise BrokenLogError(entry.index, "the entry comes a second time")
        computed = leaf_hash(entry.entry)
        if entry.leaf_hash is not None and entry.leaf_hash != computed:
            raise BrokenLogError(entry.index, "the entry is not the one that was hashed")

        vouch = vouched(entry.index, entry.entry, entry.opening)
        self.erased += vouch.erased
        # 16 bytes instead of the names: a log has as many streams as people and cases
        stream = sha256(vouch.stream.encode()).digest()[:16]
        last = self._versions.get(stream, 0)
        if vouch.version != last + 1:
            raise gap(entry.index, vouch.header["stream"], vouch.version, last)
        self._versions[stream] = vouch.version
        self._frontier.append(computed)
        self._compare_roots()

    def verdict(self) -> Verdict:
        """Return the result, once all entries were added."""
        if not self.done:
            reason = f"only {self.checked} of {self.target.size} entries were handed out"
            return self.verdict_of(Outcome.INCOMPLETE, reason)
        reason = f"{self.checked} entries lead to the signed root"
        return self.verdict_of(Outcome.INTACT, reason)

    def verdict_of(self, outcome: Outcome, reason: str, at: int | None = None) -> Verdict:
        """A verdict with the counts so far."""
        return Verdict(
            outcome,
            reason,
            at,
            checked=self.checked,
            size=self.target.size,
            erased=self.erased,
            root=self.target.root,
        )

    def _compare_roots(self) -> None:
        while self._expected and self._expected[0].size == self._frontier.size:
            checkpoint = self._expected.popleft()
            if checkpoint.root != self._frontier.root():
                raise other_entries(self._proven, checkpoint.size)
            self._proven = checkpoint.size


def verify_log(
    entries: Iterable[LoggedEntry],
    note: bytes,
    vkeys: Sequence[str],
    earlier: Iterable[bytes] = (),
) -> Verdict:
    """Check a whole log, in order from entry 0, against its newest checkpoint.

    ``earlier`` checkpoints, in rising order, narrow down where a log was changed.
    """
    check: Verification | None = None
    try:
        check = Verification(note, trusting(vkeys))
        for signed in earlier:
            check.expect(signed)
        for entry in entries:
            check.add(entry)
    except UnsoundLogError as error:
        return unsound(check, error)
    return check.verdict()


def unsound(check: Verification | None, error: UnsoundLogError) -> Verdict:
    """Return the verdict of a check that ended with an error, if it had begun."""
    if check is None:
        return Verdict(error.outcome, error.reason, error.at)
    return check.verdict_of(error.outcome, error.reason, error.at)


def trusting(vkeys: Iterable[str], policy: Path | None = None) -> Policy:
    """Return whom to trust: these keys of a log, and the logs and witnesses of a policy file.

    Raises ``IncompleteLogError``.
    """
    try:
        named = Policy.read(policy) if policy else Policy()
        trusted = named.with_logs([VKey.parse(vkey) for vkey in vkeys])
    except (ValueError, OSError) as error:
        raise IncompleteLogError(None, f"whom to trust cannot be read: {error}") from error
    if not trusted.logs:
        raise IncompleteLogError(None, "no public key of the log is given")
    return trusted


def open_newest(name: str, note: bytes, trusted: Policy) -> tuple[Checkpoint, Sequence[VKey]]:
    """Return what the newest checkpoint states, and the keys that may have signed earlier ones.

    Raises ``BrokenLogError`` unless the log signed it, ``IncompleteLogError`` unless as many
    witnesses cosigned it as the policy asks for.
    """
    assessment = trusted.assess(note)
    checkpoint = assessment.checkpoint
    if checkpoint is None:
        raise BrokenLogError(None, f"{name} is not signed by the key: {assessment.reason}")
    if not assessment.met:
        raise IncompleteLogError(None, f"{name} is not cosigned: {assessment.reason}")
    keys = [log.vkey for log in trusted.logs if log.vkey.name == checkpoint.origin]
    return checkpoint, keys


def open_earlier(name: str, note: bytes, keys: Sequence[VKey]) -> Checkpoint:
    """Return what an earlier checkpoint of the same log states; raises ``BrokenLogError``."""
    try:
        return open_checkpoint(note, keys, keys[0].name)
    except NoteError as error:
        raise BrokenLogError(None, f"{name} is not signed by the key: {error}") from error


def vouched(index: int, entry: bytes, opening: Opening) -> Vouched:
    """Return what an entry vouches for, with its opening.

    Raises ``BrokenLogError`` if header, data or sealed part are not those it commits to.
    """
    try:
        stated = orjson.loads(entry)
        if (part := opening.differs(stated)) is not None:
            raise BrokenLogError(index, f"its {part} differs")
        header = orjson.loads(opening.header)
        stream, version = header["service"] + "\n" + header["stream"], header["version"]
        if type(version) is not int or not 0 < version <= MAX_VERSION:
            raise BrokenLogError(index, f"{version} is no version")
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenLogError(index, "the entry cannot be read") from error
    return Vouched(header, stream, version, not opening.sealed and stated["sealed"] is not None)


def gap(at: int, stream: str, version: int, last: int) -> BrokenLogError:
    """A version that does not follow the last one of its stream."""
    return BrokenLogError(at, f"version {version} of {stream} follows version {last}")


def other_entries(start: int, stop: int) -> BrokenLogError:
    """The entries between two checkpoints are others than those that were signed."""
    last = max(stop - 1, 0)
    return BrokenLogError(start, f"entries {start} to {last} are not those that were signed")
