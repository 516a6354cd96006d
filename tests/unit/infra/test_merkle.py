"""RFC 6962 trees: known roots and proofs, and laws that hold for every size."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.tlog import merkle
from infra.tlog.merkle import EMPTY_ROOT, Frontier, Node, ProofError, leaf_hash, node_hash

# Reference tree of RFC 6962 implementations: leaf inputs and the roots for 0 to 8 leaves.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATH_OF_5_IN_8 = [
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
]
FROM_6_TO_8 = [
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
]
LEAVES = [leaf_hash(entry) for entry in INPUTS]
MANY = [leaf_hash(number.to_bytes(4, "big")) for number in range(700)]


def cut(leaves: Sequence[bytes]) -> int:
    """The largest power of two below the number of leaves, found by doubling."""
    power = 1
    while power * 2 < len(leaves):
        power *= 2
    return power


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """The root as RFC 9162 §2.1.1 defines it."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = cut(leaves)
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def naive_inclusion(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH as RFC 9162 §2.1.3.1 defines it."""
    if len(leaves) == 1:
        return []
    k = cut(leaves)
    if index < k:
        return [*naive_inclusion(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_inclusion(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(old: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF as RFC 9162 §2.1.4.1 defines it."""
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = cut(leaves)
    if old <= k:
        return [*naive_consistency(old, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_consistency(old - k, leaves[k:], False), naive_root(leaves[:k])]


def reader(leaves: Sequence[bytes]) -> Callable[[Sequence[Node]], list[bytes]]:
    """A node reader that refuses subtrees which are not complete."""

    def read(nodes: Sequence[Node]) -> list[bytes]:
        assert all((index + 1) << level <= len(leaves) for level, index in nodes)
        return [naive_root(leaves[i << level : (i + 1) << level]) for level, i in nodes]

    return read


def flipped(value: bytes, bit: int) -> bytes:
    """The same bytes with one bit changed."""
    return (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")


def hexes(values: Sequence[bytes]) -> list[str]:
    return [value.hex() for value in values]


sizes = st.integers(1, len(MANY))
bits = st.integers(0, 255)


@st.composite
def members(draw: st.DrawFn) -> tuple[int, int]:
    """(index, size) of a leaf in a tree."""
    size = draw(sizes)
    return draw(st.integers(0, size - 1)), size


@st.composite
def growths(draw: st.DrawFn) -> tuple[int, int]:
    """(old, new) sizes with 0 < old < new."""
    new = draw(st.integers(2, len(MANY)))
    return draw(st.integers(1, new - 1)), new


@pytest.mark.parametrize("size", range(9))
def test_the_reference_tree_has_the_published_roots(size: int) -> None:
    assert merkle.root_of(LEAVES[:size]).hex() == ROOTS[size]


def test_a_leaf_never_hashes_like_an_inner_node() -> None:
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


def test_the_reference_inclusion_proof_is_the_published_one() -> None:
    path = merkle.inclusion_path(5, 8, reader(LEAVES))
    assert hexes(path) == PATH_OF_5_IN_8
    merkle.verify_inclusion(LEAVES[5], 5, 8, path, bytes.fromhex(ROOTS[8]))


def test_the_reference_consistency_proof_is_the_published_one() -> None:
    path = merkle.consistency_path(6, 8, reader(LEAVES))
    assert hexes(path) == FROM_6_TO_8
    merkle.verify_consistency(6, 8, path, bytes.fromhex(ROOTS[6]), bytes.fromhex(ROOTS[8]))


def test_the_seven_leaf_example_of_c2sp_gives_the_expected_plans() -> None:
    assert merkle.node_ids_inclusion(0, 7) == [[(0, 1)], [(1, 1)], [(1, 2), (0, 6)]]
    assert merkle.node_ids_inclusion(6, 7) == [[(1, 2)], [(2, 0)]]
    assert merkle.node_ids_consistency(3, 7) == [
        [(0, 2)],
        [(0, 3)],
        [(1, 0)],
        [(1, 2), (0, 6)],
    ]
    assert merkle.node_ids_consistency(4, 7) == [[(1, 2), (0, 6)]]


def test_all_proofs_between_small_trees_match_the_definition() -> None:
    for new in range(1, 34):
        leaves = MANY[:new]
        for old in range(1, new + 1):
            proof = merkle.consistency_path(old, new, reader(leaves))
            assert proof == naive_consistency(old, leaves)
            path = merkle.inclusion_path(old - 1, new, reader(leaves))
            assert path == naive_inclusion(old - 1, leaves)


@given(st.integers(0, len(MANY)))
def test_a_frontier_has_the_root_of_the_definition(size: int) -> None:
    frontier = Frontier()
    frontier.extend(MANY[:size])
    assert (frontier.size, frontier.root()) == (size, naive_root(MANY[:size]))


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_frontier_continues_after_being_stored(before: int, after: int) -> None:
    frontier = Frontier()
    frontier.extend(MANY[:before])
    restored = Frontier.load(frontier.dump())
    assert restored == frontier
    restored.extend(MANY[before : before + after])
    assert restored.root() == merkle.root_of(MANY[: before + after])


@given(sizes)
def test_a_frontier_is_rebuilt_from_stored_nodes(size: int) -> None:
    nodes = reader(MANY)(merkle.node_ids_root(size))
    frontier = Frontier(size, nodes)
    assert frontier.root() == merkle.root_at(size, reader(MANY)) == naive_root(MANY[:size])


def test_the_root_of_no_leaves_needs_no_node() -> None:
    assert merkle.root_at(0, reader([])) == Frontier().root() == EMPTY_ROOT


@pytest.mark.parametrize(
    "data", [b"", bytes(7), bytes(9), bytes(39), bytes(7) + b"\x01", bytes(8) + bytes(32)]
)
def test_bytes_that_are_no_frontier_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"frontier|leaves"):
        Frontier.load(data)


def test_a_hash_of_another_length_is_not_appended() -> None:
    frontier = Frontier()
    with pytest.raises(ValueError, match="32 bytes"):
        frontier.append(b"short")
    assert frontier == Frontier()


@given(members())
def test_every_inclusion_proof_verifies_and_is_the_definition(member: tuple[int, int]) -> None:
    index, size = member
    path = merkle.inclusion_path(index, size, reader(MANY[:size]))
    assert path == naive_inclusion(index, MANY[:size])
    merkle.verify_inclusion(MANY[index], index, size, path, naive_root(MANY[:size]))


@given(members(), st.data())
def test_a_changed_bit_anywhere_breaks_an_inclusion_proof(
    member: tuple[int, int], data: st.DataObject
) -> None:
    index, size = member
    parts = [MANY[index], naive_root(MANY[:size]), *naive_inclusion(index, MANY[:size])]
    at = data.draw(st.integers(0, len(parts) - 1))
    parts[at] = flipped(parts[at], data.draw(bits))
    with pytest.raises(ProofError):
        merkle.verify_inclusion(parts[0], index, size, parts[2:], parts[1])


@given(members(), st.data())
def test_an_inclusion_proof_serves_no_other_index(
    member: tuple[int, int], data: st.DataObject
) -> None:
    index, size = member
    other = data.draw(st.integers(-1, size).filter(lambda value: value != index))
    path, root = naive_inclusion(index, MANY[:size]), naive_root(MANY[:size])
    with pytest.raises(ProofError):
        merkle.verify_inclusion(MANY[index], other, size, path, root)


@given(members(), st.data())
def test_an_inclusion_proof_fails_against_the_root_of_another_size(
    member: tuple[int, int], data: st.DataObject
) -> None:
    index, size = member
    other = data.draw(st.integers(0, len(MANY)).filter(lambda value: value != size))
    path = naive_inclusion(index, MANY[:size])
    with pytest.raises(ProofError):
        merkle.verify_inclusion(MANY[index], index, other, path, naive_root(MANY[:other]))


@given(members())
def test_an_inclusion_proof_of_another_length_is_refused(member: tuple[int, int]) -> None:
    index, size = member
    path, root = naive_inclusion(index, MANY[:size]), naive_root(MANY[:size])
    with pytest.raises(ProofError, match="should have"):
        merkle.verify_inclusion(MANY[index], index, size, [*path, root], root)
    with pytest.raises(ProofError):
        merkle.verify_inclusion(root, 0, 2, [], root)


def test_values_that_are_no_hashes_are_refused() -> None:
    with pytest.raises(ProofError, match="32 bytes"):
        merkle.verify_inclusion(b"", 0, 1, [], b"")
    with pytest.raises(ProofError, match="32 bytes"):
        merkle.verify_inclusion(LEAVES[0], 0, 2, [b"short"], LEAVES[0])
    with pytest.raises(ProofError, match="32 bytes"):
        merkle.verify_consistency(3, 3, [], b"same", b"same")


@given(growths())
def test_every_consistency_proof_verifies_and_is_the_definition(sizes: tuple[int, int]) -> None:
    old, new = sizes
    proof = merkle.consistency_path(old, new, reader(MANY[:new]))
    assert proof == naive_consistency(old, MANY[:new])
    roots = naive_root(MANY[:old]), naive_root(MANY[:new])
    merkle.verify_consistency(old, new, proof, *roots)


@given(growths(), st.data())
def test_a_changed_bit_anywhere_breaks_a_consistency_proof(
    sizes: tuple[int, int], data: st.DataObject
) -> None:
    old, new = sizes
    roots = naive_root(MANY[:old]), naive_root(MANY[:new])
    parts = [*roots, *naive_consistency(old, MANY[:new])]
    at = data.draw(st.integers(0, len(parts) - 1))
    parts[at] = flipped(parts[at], data.draw(bits))
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, new, parts[2:], parts[0], parts[1])


@given(growths(), st.data())
def test_a_log_that_rewrote_an_old_leaf_cannot_prove_consistency(
    sizes: tuple[int, int], data: st.DataObject
) -> None:
    old, new = sizes
    rewritten = list(MANY[:new])
    rewritten[data.draw(st.integers(0, old - 1))] = leaf_hash(b"rewritten")
    proof = naive_consistency(old, rewritten)
    with pytest.raises(ProofError, match=r"old root|new root"):
        merkle.verify_consistency(
            old, new, proof, naive_root(MANY[:old]), naive_root(rewritten)
        )


@given(growths(), st.data())
def test_a_consistency_proof_fails_against_the_root_of_another_size(
    sizes: tuple[int, int], data: st.DataObject
) -> None:
    old, new = sizes
    proof = naive_consistency(old, MANY[:new])
    other = data.draw(st.integers(0, len(MANY)).filter(lambda value: value not in sizes))
    root = naive_root(MANY[:other])
    with pytest.raises(ProofError):
        merkle.verify_consistency(other, new, proof, root, naive_root(MANY[:new]))
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, other, proof, naive_root(MANY[:old]), root)


def test_equal_trees_need_equal_roots_and_no_proof() -> None:
    assert merkle.consistency_path(5, 5, reader(LEAVES)) == []
    merkle.verify_consistency(5, 5, [], LEAVES[0], LEAVES[0])
    with pytest.raises(ProofError, match="different roots"):
        merkle.verify_consistency(5, 5, [], LEAVES[0], LEAVES[1])
    with pytest.raises(ProofError, match="should have 0"):
        merkle.verify_consistency(5, 5, [LEAVES[2]], LEAVES[0], LEAVES[0])


def test_an_empty_tree_extends_to_any_tree_but_only_under_its_own_root() -> None:
    assert merkle.consistency_path(0, 5, reader(LEAVES)) == []
    merkle.verify_consistency(0, 5, [], EMPTY_ROOT, LEAVES[0])
    merkle.verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    with pytest.raises(ProofError, match="empty"):
        merkle.verify_consistency(0, 5, [], LEAVES[1], LEAVES[0])
    with pytest.raises(ProofError, match="empty"):
        merkle.verify_consistency(0, 0, [], LEAVES[0], LEAVES[0])


def test_a_tree_never_shrinks() -> None:
    with pytest.raises(ProofError, match="cannot extend"):
        merkle.verify_consistency(5, 4, [], LEAVES[0], LEAVES[0])
    with pytest.raises(ValueError, match="cannot extend"):
        merkle.node_ids_consistency(5, 4)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (4, 4), (-1, 4)])
def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="is not in a tree"):
        merkle.node_ids_inclusion(index, size)


def test_a_tree_of_negative_size_has_no_root() -> None:
    with pytest.raises(ValueError, match="cannot have"):
        merkle.node_ids_root(-1)


def test_a_reader_that_returns_too_little_is_noticed() -> None:
    with pytest.raises(ValueError, match="needs 3 hashes, not 2"):
        merkle.inclusion_path(5, 8, lambda nodes: LEAVES[:2])


@settings(max_examples=25)
@given(st.integers(1, 2**62), st.data())
def test_plans_stay_short_for_huge_trees(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    plan = merkle.node_ids_inclusion(index, size)
    assert len(plan) <= (size - 1).bit_length()
    covered = sum(1 << level for level, _ in merkle.plan_nodes(plan))
    assert covered == size - 1
