"""One file that proves one entry to be in the log (C2SP tlog-proof): ``….tlog-proof``.

It holds the entry's index, its inclusion path, and the checkpoint with all its signatures. The
``extra`` line holds the entry itself, so that the file needs nothing beside it but trusted
keys: the entry is believed only because its hash leads to the signed root.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from infra.tlog.merkle import HASH_SIZE, ProofError, leaf_hash, verify_inclusion
from infra.tlog.note import Checkpoint, NoteError, from_base64, to_base64
from infra.tlog.policy import Policy

HEADER = "c2sp.org/tlog-proof@v1"
MAX_BYTES = 1 << 20
"""Bytes of a proof file; an entry has at most 64 KiB and a checkpoint 128 signatures."""

MAX_PATH = 63
"""Hashes in the longest inclusion path that a checkpoint's size allows."""

_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Proof:
    """What a proof file says; nothing of it is checked yet."""

    index: int
    path: Sequence[bytes]
    note: bytes
    extra: bytes | None = None

    def format(self) -> bytes:
        """The file."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {to_base64(self.extra)}")
        lines += [f"index {self.index}", *map(to_base64, self.path), "", ""]
        return "\n".join(lines).encode() + self.note

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a file; ProofError says what is wrong with its form."""
        if len(data) > MAX_BYTES:
            raise ProofError(f"a proof has at most {MAX_BYTES} bytes")
        head, separator, note = data.partition(b"\n\n")
        try:
            lines = head.decode().split("\n")
            if not separator or lines.pop(0) != HEADER:
                raise ProofError(f"a proof begins with {HEADER} and holds a checkpoint")
            extra = None
            if lines and lines[0].startswith("extra "):
                extra = from_base64(lines.pop(0).removeprefix("extra "))
            index = _INDEX.fullmatch(lines.pop(0)) if lines else None
            if index is None:
                raise ProofError("the index is missing or no plain decimal number")
            return cls(int(index[1]), _path(lines), note, extra)
        except UnicodeDecodeError:
            raise ProofError("the proof is not UTF-8") from None
        except NoteError as error:
            raise ProofError(str(error)) from error

    def check(self, entry: bytes, policy: Policy) -> str:
        """Check that ``entry`` is in a log that the policy trusts; return why it is.

        Raises ProofError with the reason why not.
        """
        assessment = policy.assess(self.note)
        if not assessment.met or assessment.checkpoint is None:
            raise ProofError(f"the checkpoint does not count: {assessment.reason}")
        signed: Checkpoint = assessment.checkpoint
        verify_inclusion(leaf_hash(entry), self.index, signed.size, self.path, signed.root)
        return f"entry {self.index} of {signed.size} in {signed.origin}: {assessment.reason}"


def _path(lines: list[str]) -> list[bytes]:
    if len(lines) > MAX_PATH:
        raise ProofError(f"an inclusion path has at most {MAX_PATH} hashes")
    path = [from_base64(line) for line in lines]
    if any(len(value) != HASH_SIZE for value in path):
        raise ProofError(f"a hash has {HASH_SIZE} bytes")
    return path
