"""A witness: cosigns what extends all that it has seen of a log (C2SP tlog-witness).

What it remembers of a log is one file, the last checkpoint that it cosigned, with the log's
signatures and its own: the same bytes that monitors fetch. It is written before the answer.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Self

import structlog

from infra.base.files import make_directory, write_whole
from infra.tlog.merkle import EMPTY_ROOT, HASH_SIZE, ProofError, verify_consistency
from infra.tlog.note import (
    Checkpoint,
    Note,
    NoteError,
    VKey,
    from_base64,
    open_checkpoint,
    to_base64,
)
from infra.tlog.signers import NoteSigner

log = structlog.get_logger()
MAX_BYTES = 1 << 19
"""Bytes of a submission: 63 hashes and a checkpoint with 128 signatures fit."""

MAX_PROOF = 63
MAX_EVIDENCE = 100
"""Files kept of a log that shows two histories: one is proof enough."""

SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


class MalformedError(ValueError):
    """A submission, or an answer to one, that is not in the form of the specification."""


class WitnessStateError(Exception):
    """What the witness remembers cannot be read or is not its own: it must not go on."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A checkpoint, and the proof that it extends the log of ``old`` entries."""

    old: int
    proof: Sequence[bytes]
    note: bytes

    def format(self) -> bytes:
        """The body of ``POST /add-checkpoint``."""
        lines = [f"old {self.old}", *map(to_base64, self.proof), "", ""]
        return "\n".join(lines).encode() + self.note

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Inverse of `format`; MalformedError says what is wrong with the form."""
        head, separator, note = data.partition(b"\n\n")
        try:
            first, *lines = head.decode().split("\n")
            proof = [from_base64(line) for line in lines]
        except ValueError as error:
            raise MalformedError("a line of the proof is not base64") from error
        old = _OLD.fullmatch(first)
        if not separator or old is None:
            raise MalformedError("a submission begins with the old size and holds a checkpoint")
        if len(proof) > MAX_PROOF or any(len(value) != HASH_SIZE for value in proof):
            raise MalformedError(f"a proof has at most {MAX_PROOF} hashes of {HASH_SIZE} bytes")
        return cls(int(old[1]), proof, note)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and what goes with it: signature lines, a size, or a reason."""

    status: int
    body: str
    content_type: str = TEXT_TYPE


class Witness:
    """Cosigns checkpoints of the logs it knows; its memory is a directory.

    ``logs``: their keys; several under one name are one log's. Only one process may write
    to the directory: see `infra.base.files.locked`.
    """

    def __init__(
        self, directory: Path, signers: Sequence[NoteSigner], logs: Iterable[VKey]
    ) -> None:
        make_directory(directory)
        self._directory = directory
        self._signers = signers
        self._logs: dict[str, list[VKey]] = {}
        for vkey in logs:
            self._logs.setdefault(vkey.name, []).append(vkey)
        self._turn = Lock()

    def add_checkpoint(self, body: bytes) -> Answer:
        """Cosign a submission, or answer why not, in the order of the specification.

        Raises WitnessStateError where nothing can be said.
        """
        try:
            given = Submission.parse(body)
            note = Note.parse(given.note)
            checkpoint = Checkpoint.parse(note.text)
        except (MalformedError, NoteError) as error:
            return Answer(400, f"{error}\n")
        known = self._logs.get(checkpoint.origin)
        if known is None:
            return Answer(404, "the log is not known here\n")
        try:
            open_checkpoint(given.note, known, checkpoint.origin)
        except NoteError as error:
            return Answer(403, f"{error}\n")
        with self._turn:  # compared and kept in one go: else an older one could come last
            return self._decide(given, checkpoint, note)

    def latest(self, origin_hash: str) -> bytes | None:
        """The last checkpoint cosigned of the log whose origin has this SHA-256, in hex."""
        if not re.fullmatch(r"[0-9a-f]{64}", origin_hash):
            return None
        path = self._directory / origin_hash / "checkpoint"
        return path.read_bytes() if path.exists() else None

    def _decide(self, given: Submission, new: Checkpoint, note: Note) -> Answer:
        if given.old > new.size:
            return Answer(400, "the old size is above the checkpoint's\n")
        last = self._last(new.origin)
        if given.old != last.size:
            return Answer(409, f"{last.size}\n", SIZE_TYPE)

        refused = None
        if new.size == 0 and new.root != EMPTY_ROOT:
            refused = "the root is not that of an empty log"
        else:
            try:
                verify_consistency(given.old, new.size, given.proof, last.root, new.root)
            except ProofError as error:
                refused = str(error)
        if refused is not None:
            log.warning("cosignature refused", origin=new.origin, size=new.size, why=refused)
            # two signed roots of one size prove that a log showed two histories
            if last.size == new.size and last.root != new.root:
                evidence = self._home(new.origin) / f"fork-{new.size}-{new.root.hex()}"
                kept = len(list(evidence.parent.glob("fork-*")))
                if not evidence.exists() and kept < MAX_EVIDENCE:
                    write_whole(evidence, given.note)
            return Answer(422, f"{refused}\n")
        return Answer(200, self._cosign(new.origin, note))

    def _cosign(self, origin: str, note: Note) -> str:
        ours = [signer.signature(note.text) for signer in self._signers]
        known = self._logs[origin]
        theirs = [s for s in note.signatures if any(vkey.made(s) for vkey in known)]
        kept = Note(note.text, (*theirs, *ours)).format()
        write_whole(self._home(origin) / "checkpoint", kept)
        return "".join(signature.line() for signature in ours)

    def _last(self, origin: str) -> Checkpoint:
        path = self._home(origin) / "checkpoint"
        if not path.exists():
            return Checkpoint(origin, 0, EMPTY_ROOT)
        try:
            ours = [signer.vkey for signer in self._signers]
            return open_checkpoint(path.read_bytes(), ours, origin)
        except NoteError as error:
            raise WitnessStateError(f"{path.name} of {origin}: {error}") from error

    def _home(self, origin: str) -> Path:
        return self._directory / sha256(origin.encode()).hexdigest()
