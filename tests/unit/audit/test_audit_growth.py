"""A stored tree grows in steps of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.tlog import merkle
from infra.tlog.growth import TileHash, grow
from infra.tlog.merkle import Frontier

TOTAL = 66_500
LEAVES = [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(TOTAL)]


def grown_by(sizes: list[int], start: int = 0) -> tuple[Frontier, list[TileHash]]:
    frontier, made = Frontier(), []
    at = 0
    for size in [start, *sizes]:
        frontier, more = grow(frontier, LEAVES[at : at + size])
        at, made = at + size, [*made, *more]
    return frontier, made


@pytest.mark.slow
@given(st.lists(st.integers(0, 700), max_size=12), st.sampled_from([0, 250, 65_300]))
def test_any_steps_lead_to_the_frontier_of_one_append_after_the_other(
    sizes: list[int], start: int
) -> None:
    frontier, _ = grown_by(sizes, start)
    expected = Frontier()
    expected.extend(LEAVES[: frontier.size])
    assert frontier == expected


@pytest.mark.slow
@given(st.lists(st.integers(0, 700), max_size=12), st.sampled_from([0, 250, 65_300]))
def test_every_full_tile_is_hashed_exactly_once(sizes: list[int], start: int) -> None:
    frontier, made = grown_by(sizes, start)
    ones, twos = frontier.size // 256, frontier.size // 65_536
    expected = [(1, n) for n in range(ones)] + [(2, n) for n in range(twos)]
    assert sorted((tile.level, tile.idx) for tile in made) == expected


def test_a_tile_hash_is_the_root_over_its_leaves() -> None:
    _, made = grown_by([65_537])
    for tile in made:
        width = 256**tile.level
        leaves = LEAVES[tile.idx * width : (tile.idx + 1) * width]
        assert tile.hash == merkle.root_of(leaves)


def test_the_frontier_given_is_left_as_it_is() -> None:
    before, _ = grown_by([300])
    kept = before.dump()
    grow(before, LEAVES[300:900])
    assert before.dump() == kept
