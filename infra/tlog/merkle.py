"""RFC 6962 Merkle tree: hashes, a growing root, and proofs read from stored subtree hashes.

A *node* is ``(level, index)``: the root of the complete subtree over the leaves
``[index * 2**level, (index + 1) * 2**level)``; level 0 is a leaf hash.  A *plan* lists, for
each hash of a proof, the nodes whose right-to-left fold gives it, so that a caller may fetch
every node in one go (even asynchronously) and fold afterwards.  Nothing here does I/O.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, islice
from typing import NamedTuple, Self, TypeAlias

HASH_SIZE = 32
"""Bytes in a SHA-256 hash."""

EMPTY_ROOT = sha256(b"").digest()
"""Root of the tree without leaves (RFC 9162 §2.1.1)."""

Node: TypeAlias = tuple[int, int]
Plan: TypeAlias = list[list[Node]]
Read: TypeAlias = Callable[[Sequence[Node]], list[bytes]]


class ProofError(ValueError):
    """A proof that does not show what it claims; the message says why in plain words."""


class _Step(NamedTuple):
    """One sibling on the way from the root down: the leaves it covers and its side."""

    begin: int
    end: int
    is_left: bool


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one log entry (RFC 9162 §2.1.1: prefix byte 0x00)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node from its two children (RFC 9162 §2.1.1: prefix byte 0x01)."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """The complete subtrees of a tree of ``size`` leaves, largest (leftmost) first.

    That is all an append needs: at most 64 hashes whatever the size.  A frontier may be
    rebuilt from stored nodes with ``Frontier(size, read(node_ids_root(size)))``.
    Raises ValueError if the hashes cannot belong to a tree of that size.
    """

    size: int = 0
    hashes: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse a frontier whose number or length of hashes is wrong."""
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise ValueError(f"{len(self.hashes)} hashes cannot describe {self.size} leaves")
        for value in self.hashes:
            _require_hash(value)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash (32 bytes, see `leaf_hash`); ValueError on another length."""
        merged = _require_hash(leaf)
        remaining = self.size
        while remaining & 1:
            merged = node_hash(self.hashes.pop(), merged)
            remaining >>= 1
        self.hashes.append(merged)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes in order; those before a wrong one stay added (ValueError)."""
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """Root of the tree so far; `EMPTY_ROOT` without leaves."""
        return _fold(self.hashes)

    def dump(self) -> bytes:
        """Bytes to store: the size (8 bytes, big-endian), then the hashes."""
        return self.size.to_bytes(8, "big") + b"".join(self.hashes)

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Inverse of `dump`; ValueError if the bytes are not a dump."""
        if len(data) < 8 or len(data) % HASH_SIZE != 8:
            raise ValueError(f"a frontier cannot take {len(data)} bytes")
        hashes = [data[at : at + HASH_SIZE] for at in range(8, len(data), HASH_SIZE)]
        return cls(int.from_bytes(data[:8], "big"), hashes)


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Root over leaf hashes in order; `EMPTY_ROOT` for none, ValueError on a wrong length."""
    frontier = Frontier()
    frontier.extend(leaf_hashes)
    return frontier.root()


def node_ids_root(size: int) -> list[Node]:
    """Nodes whose fold is the root of the first ``size`` leaves; ValueError if negative."""
    if size < 0:
        raise ValueError(f"a tree cannot have {size} leaves")
    return _cover(0, size)


def node_ids_inclusion(index: int, size: int) -> Plan:
    """Plan of the proof that leaf ``index`` is in a tree of ``size`` (RFC 9162 §2.1.3.1).

    Raises ValueError unless ``0 <= index < size``.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    return [_cover(step.begin, step.end) for step in _steps_to_leaf(index, size)]


def node_ids_consistency(old: int, new: int) -> Plan:
    """Plan of the proof that ``new`` leaves extend ``old`` leaves (RFC 9162 §2.1.4.1).

    Empty when nothing needs proving (``old`` is 0 or equals ``new``).
    Raises ValueError unless ``0 <= old <= new``.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} cannot extend a tree of {old}")
    if old in (0, new):
        return []
    plan = [_cover(step.begin, step.end) for step in _steps_to_size(old, new)]
    # A verifier already holds the root of a complete old tree, so that one is not sent.
    return plan if _is_complete(old) else [_cover(old - _lowest_bit(old), old), *plan]


def plan_nodes(plan: Plan) -> list[Node]:
    """Every node of a plan, in the order in which `fold_plan` wants their hashes."""
    return list(chain.from_iterable(plan))


def fold_plan(plan: Plan, hashes: Sequence[bytes]) -> list[bytes]:
    """The proof, from the hashes of ``plan_nodes(plan)``; ValueError if too few or many."""
    wanted = sum(map(len, plan))
    if len(hashes) != wanted:
        raise ValueError(f"the plan needs {wanted} hashes, not {len(hashes)}")
    rest = iter(hashes)
    return [_fold(list(islice(rest, len(part)))) for part in plan]


def root_at(size: int, read: Read) -> bytes:
    """Root the log had at ``size`` leaves, from stored nodes; ValueError if negative."""
    nodes = node_ids_root(size)
    return fold_plan([nodes], read(nodes))[0]


def inclusion_path(index: int, size: int, read: Read) -> list[bytes]:
    """Inclusion proof, leaf upwards; errors as `node_ids_inclusion` and `fold_plan`."""
    plan = node_ids_inclusion(index, size)
    return fold_plan(plan, read(plan_nodes(plan)))


def consistency_path(old: int, new: int, read: Read) -> list[bytes]:
    """Consistency proof, bottom up; errors as `node_ids_consistency` and `fold_plan`."""
    plan = node_ids_consistency(old, new)
    return fold_plan(plan, read(plan_nodes(plan)))


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that leaf hash ``leaf`` is at ``index`` in the tree (``size``, ``root``).

    Size and root must come from one signed checkpoint: a proof does not tie them together.
    Raises ProofError if not (RFC 9162 §2.1.3.2).
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    steps = _steps_to_leaf(index, size)
    _require_proof(proof, len(steps), leaf, root)
    value = leaf
    for step, sibling in zip(steps, proof, strict=True):
        value = node_hash(sibling, value) if step.is_left else node_hash(value, sibling)
    if value != root:
        raise ProofError("the path does not lead to the root")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that the tree (``new``, ``new_root``) only appended to (``old``, ``old_root``).

    An empty old tree extends to any tree with an empty proof (C2SP merkle-tree).
    Each size and root must come from one signed checkpoint, as in `verify_inclusion`.
    Raises ProofError if not (RFC 9162 §2.1.4.2).
    """
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} cannot extend a tree of {old}")
    if old in (0, new):
        return _verify_trivial(old, new, proof, old_root, new_root)
    steps = _steps_to_size(old, new)
    _require_proof(proof, len(steps) + (not _is_complete(old)), old_root, new_root)
    seed, *siblings = [old_root, *proof] if _is_complete(old) else proof
    _compare(_climb(seed, steps, siblings), (old_root, new_root))


def _climb(seed: bytes, steps: list[_Step], siblings: Sequence[bytes]) -> tuple[bytes, bytes]:
    older = newer = seed
    for step, sibling in zip(steps, siblings, strict=True):
        if step.is_left:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
        else:
            newer = node_hash(newer, sibling)
    return older, newer


def _compare(computed: tuple[bytes, bytes], expected: tuple[bytes, bytes]) -> None:
    if computed[0] != expected[0]:
        raise ProofError("the proof does not lead to the old root")
    if computed[1] != expected[1]:
        raise ProofError("the proof does not lead to the new root")


def _verify_trivial(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    _require_proof(proof, 0, old_root, new_root)
    if old == new and old_root != new_root:
        raise ProofError("two trees of the same size have different roots")
    if old == 0 and old_root != EMPTY_ROOT:
        raise ProofError("the root of the empty old tree is not that of an empty tree")


def _steps_to_leaf(index: int, size: int) -> list[_Step]:
    return _steps(index + 1, size, width=1)


def _steps_to_size(old: int, new: int) -> list[_Step]:
    return _steps(old, new, width=_lowest_bit(old))


def _steps(stop: int, size: int, width: int) -> list[_Step]:
    """Siblings, bottom up, above the complete subtree of ``width`` leaves before ``stop``."""
    begin, end, steps = 0, size, []
    while end - begin > width:
        # RFC 9162 §2.1.1 cuts a tree at the largest power of two below its size
        middle = begin + (1 << (end - begin - 1).bit_length() - 1)
        if stop <= middle:
            steps.append(_Step(middle, end, is_left=False))
            end = middle
        else:
            steps.append(_Step(begin, middle, is_left=True))
            begin = middle
    return steps[::-1]


def _cover(begin: int, end: int) -> list[Node]:
    """Complete subtrees over ``[begin, end)``, largest first (RFC 9162 §2.1.1)."""
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append((level, begin >> level))
        begin += 1 << level
    return nodes


def _fold(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return EMPTY_ROOT
    value = hashes[-1]
    for left in reversed(hashes[:-1]):
        value = node_hash(left, value)
    return value


def _is_complete(size: int) -> bool:
    return size.bit_count() == 1


def _lowest_bit(size: int) -> int:
    return size & -size


def _require_hash(value: bytes) -> bytes:
    if len(value) != HASH_SIZE:
        raise ValueError(f"a hash has {HASH_SIZE} bytes, not {len(value)}")
    return value


def _require_proof(proof: Sequence[bytes], count: int, *ends: bytes) -> None:
    if len(proof) != count:
        raise ProofError(f"the proof should have {count} hashes, not {len(proof)}")
    if any(len(value) != HASH_SIZE for value in (*proof, *ends)):
        raise ProofError(f"hashes and roots have {HASH_SIZE} bytes")
