"""Small logs in memory, their keys, and witnesses of them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from infra.tlog import merkle
from infra.tlog.merkle import Node
from infra.tlog.note import COSIGNATURE, Checkpoint, Note, Signer
from infra.tlog.signers import Cosigner, NoteSigner

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ORIGIN = "hub.example/log"
LOG = Signer(ORIGIN, bytes(range(32)))
ENTRIES = [b"entry %d" % number for number in range(400)]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


def witness_key(number: int, kind: int = COSIGNATURE) -> Cosigner:
    """The key of witness ``number``."""
    seed = number.to_bytes(32, "big")
    return Cosigner(f"town{number}.example/witness", seed, kind, lambda: NOW)


def checkpoint(size: int, leaves: Sequence[bytes] = LEAVES, origin: str = ORIGIN) -> Checkpoint:
    """What a log of the first ``size`` leaves says of itself."""
    return Checkpoint(origin, size, merkle.root_of(leaves[:size]))


def signed(text: str, *signers: NoteSigner) -> bytes:
    """A text with the signature of each."""
    return Note(text, tuple(signer.signature(text) for signer in signers)).format()


def note_at(size: int, *witnesses: NoteSigner, leaves: Sequence[bytes] = LEAVES) -> bytes:
    """The log's checkpoint, cosigned."""
    return signed(checkpoint(size, leaves).body(), LOG, *witnesses)


def inclusion(index: int, size: int, leaves: Sequence[bytes] = LEAVES) -> list[bytes]:
    """The path of a leaf."""
    return merkle.inclusion_path(index, size, lambda nodes: _read(leaves, nodes))


def consistency(old: int, new: int, leaves: Sequence[bytes] = LEAVES) -> list[bytes]:
    """The proof that the log of ``new`` extends that of ``old``."""
    return merkle.consistency_path(old, new, lambda nodes: _read(leaves, nodes))


def _read(leaves: Sequence[bytes], nodes: Sequence[Node]) -> list[bytes]:
    return [merkle.root_of(leaves[i << level : (i + 1) << level]) for level, i in nodes]
