"""Every kind of wrong proof over the reference tree of RFC 6962, each with its verdict.

The cases are those that implementations of the format share as their vectors (98 inclusion
proofs, 98 consistency proofs), said again as what they are: five good proofs of each kind, each
spoilt in every way, and what no proof can show. One verdict is ours: values that are no hashes
prove nothing, even where both sides name the same.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from infra.tlog.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    ProofError,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.unit.infra.test_merkle import LEAVES, ROOTS, naive_consistency, naive_inclusion

ROOT = [bytes.fromhex(root) for root in ROOTS]
STRANGE = leaf_hash(b"of another tree")
MEMBERS = [(0, 1), (0, 8), (5, 8), (2, 3), (1, 5)]
GROWTHS = [(1, 1), (1, 8), (6, 8), (2, 5), (6, 7)]
NOTHING, SHORT, OTHER = b"", b"no hash", b"no hash either"


class Member(NamedTuple):
    """A claim that a leaf is in a tree."""

    why: str
    holds: bool
    leaf: bytes
    index: int
    size: int
    proof: Sequence[bytes]
    root: bytes


class Growth(NamedTuple):
    """A claim that a tree extends another."""

    why: str
    holds: bool
    old: int
    new: int
    proof: Sequence[bytes]
    old_root: bytes
    new_root: bytes


def flipped(value: bytes, bit: int) -> bytes:
    """One bit of the first byte changed."""
    return bytes([value[0] ^ bit]) + value[1:]


def spoilt_members(index: int, size: int) -> Iterator[Member]:
    """A good proof, and every way to spoil it."""
    proof = naive_inclusion(index, LEAVES[:size])
    good = Member("good", True, LEAVES[index], index, size, proof, ROOT[size])
    yield good
    bad = good._replace(holds=False)
    # a number below nought stands as the largest of 64 bits where numbers have no sign
    for why, at in (
        ("before", (index - 1) % 2**64),
        ("after", index + 1),
        ("aside", index ^ 2),
    ):
        yield bad._replace(why=f"the leaf {why}", index=at)
    for why, other in (("twice the tree", size * 2), ("half the tree", size // 2)):
        yield bad._replace(why=why, size=other)
    yield bad._replace(why="no leaf hash", leaf=SHORT)
    yield bad._replace(why="the empty tree's root", root=EMPTY_ROOT)
    yield bad._replace(why="another root", root=STRANGE)
    for why, extra in (("nothing", NOTHING), ("the root", ROOT[size])):
        yield bad._replace(why=f"{why} after the path", proof=[*proof, extra])
        yield bad._replace(why=f"{why} before the path", proof=[extra, *proof])
    for at, value in enumerate(proof):
        changed = [*proof[:at], flipped(value, 8), *proof[at + 1 :]]
        yield bad._replace(why=f"a bit of hash {at}", proof=changed)
    if proof:
        yield bad._replace(why="the last hash left out", proof=proof[:-1])
    if len(proof) > 1:
        put_in = [proof[0], STRANGE, *proof[1:]]
        yield bad._replace(why="a hash put in", proof=put_in)


def impossible_members() -> Iterator[Member]:
    """Leaves and trees that cannot be, and values that are no hashes."""
    for index, size in ((0, 0), (0, 1), (1, 0), (2, 1)):
        for leaf, root in ((STRANGE, NOTHING), (NOTHING, EMPTY_ROOT), (STRANGE, EMPTY_ROOT)):
            yield Member(f"leaf {index} of {size}", False, leaf, index, size, [], root)
    only = leaf_hash(b"data")
    for leaf in (only, NOTHING):
        for root in (only, NOTHING):
            yield Member("the only leaf", leaf == root == only, leaf, 0, 1, [], root)


def spoilt_growths(old: int, new: int) -> Iterator[Growth]:
    """A good proof, and every way to spoil it."""
    proof = naive_consistency(old, LEAVES[:new])
    good = Growth("good", True, old, new, proof, ROOT[old], ROOT[new])
    yield good
    if not proof:
        return
    bad = good._replace(holds=False)
    for why, size in (("smaller", old - 1), ("larger", old + 1), ("another", old ^ 2)):
        yield bad._replace(why=f"{why} old tree", old=size)
    for why, size in (("twice", new * 2), ("half", new // 2)):
        yield bad._replace(why=f"{why} the new tree", new=size)
    yield bad._replace(why="no old root", old_root=SHORT)
    yield bad._replace(why="no new root", new_root=SHORT)
    yield bad._replace(why="roots swapped", old_root=ROOT[new], new_root=ROOT[old])
    yield bad._replace(why="no proof", proof=[])
    for why, extra in (("nothing", NOTHING), ("old root", ROOT[old]), ("new root", ROOT[new])):
        yield bad._replace(why=f"{why} after the proof", proof=[*proof, extra])
        yield bad._replace(why=f"{why} before the proof", proof=[extra, *proof])
    yield bad._replace(why="the first hash twice", proof=[proof[0], *proof])
    yield bad._replace(why="the last hash left out", proof=proof[:-1])
    for at, value in enumerate(proof):
        changed = [*proof[:at], flipped(value, 16), *proof[at + 1 :]]
        yield bad._replace(why=f"a bit of hash {at}", proof=changed)


def impossible_growths() -> Iterator[Growth]:
    """Trees that shrink, empty trees, and values that are no hashes."""
    one = [EMPTY_ROOT]
    for old, new, proof, old_root, new_root in (
        (0, 0, [], SHORT, OTHER),
        (1, 1, [], SHORT, OTHER),
        (0, 0, [], SHORT, SHORT),
        (0, 1, [], SHORT, OTHER),
        (1, 1, [], OTHER, OTHER),  # shared vectors accept this one: equal is equal
        (1, 0, [], SHORT, OTHER),
        (2, 1, [], SHORT, OTHER),
        (1, 2, [], SHORT, OTHER),
        (0, 0, [], EMPTY_ROOT, OTHER),
        (1, 1, [], EMPTY_ROOT, OTHER),
        (0, 0, one, EMPTY_ROOT, EMPTY_ROOT),
        (1, 1, one, EMPTY_ROOT, EMPTY_ROOT),
        (0, 1, [], EMPTY_ROOT, OTHER),
        (0, 1, one, EMPTY_ROOT, EMPTY_ROOT),
    ):
        yield Growth(f"{old} to {new}", False, old, new, proof, old_root, new_root)


IN = [*(case for member in MEMBERS for case in spoilt_members(*member)), *impossible_members()]
ON = [*(case for growth in GROWTHS for case in spoilt_growths(*growth)), *impossible_growths()]


def name(case: Member | Growth) -> str:
    at = (case.index, case.size) if isinstance(case, Member) else (case.old, case.new)
    return f"{at[0]}-{at[1]} {case.why}"


@pytest.mark.parametrize("case", IN, ids=name)
def test_membership_has_the_verdict_that_is_shared(case: Member) -> None:
    if case.holds:
        verify_inclusion(case.leaf, case.index, case.size, case.proof, case.root)
        return
    with pytest.raises(ProofError):
        verify_inclusion(case.leaf, case.index, case.size, case.proof, case.root)


@pytest.mark.parametrize("case", ON, ids=name)
def test_growth_has_the_verdict_that_is_shared(case: Growth) -> None:
    roots = (case.old_root, case.new_root)
    if case.holds:
        verify_consistency(case.old, case.new, case.proof, *roots)
        return
    with pytest.raises(ProofError):
        verify_consistency(case.old, case.new, case.proof, *roots)


def test_every_shared_case_is_there_once() -> None:
    assert (len(IN), len(ON)) == (98, 98)
    assert (sum(case.holds for case in IN), sum(case.holds for case in ON)) == (6, 5)


def test_an_empty_log_may_grow_to_any_real_root_as_witnesses_need_it() -> None:
    """The shared vectors have no case of it: there every root after nothing is no hash."""
    verify_consistency(0, 8, [], EMPTY_ROOT, ROOT[8])
    assert all(len(case.new_root) != HASH_SIZE or case.proof for case in ON if case.old == 0)
