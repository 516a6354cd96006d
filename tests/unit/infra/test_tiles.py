"""Tiles and entry bundles: names, contents, and proofs computed from tiles alone."""

from collections.abc import Mapping, Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.tlog import merkle, tiles
from infra.tlog.tiles import ENTRIES, Span, Tile

TOTAL = 66_000
LEAVES = [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(TOTAL)]


@cache
def level_hashes(level: int) -> list[bytes]:
    """Every hash of a tile level for the largest tree, by hashing 256 at a time."""
    if level == 0:
        return LEAVES
    below = level_hashes(level - 1)
    full = range(0, len(below) - 255, 256)
    return [tiles.tile_hash(below[at : at + 256]) for at in full]


def contents(tile: Tile) -> list[bytes]:
    start = tile.index * 256
    return level_hashes(tile.level)[start : start + tile.width]


@cache
def root_at(size: int) -> bytes:
    return merkle.root_of(LEAVES[:size])


sizes = st.one_of(
    st.integers(1, TOTAL),
    st.sampled_from([1, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537]),
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(1, 273, 17), "tile/1/273.p/17"),
        (Tile(63, 0, 1), "tile/63/000.p/1"),
        (Tile(ENTRIES, 0), "tile/entries/000"),
        (Tile(ENTRIES, 1234067, 255), "tile/entries/x001/x234/067.p/255"),
    ],
)
def test_a_tile_has_the_path_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert tiles.parse_path(path) == tile


@given(st.integers(ENTRIES, 63), st.integers(0, 10**18), st.integers(1, 256))
def test_every_path_leads_back_to_its_tile(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert tiles.parse_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/entry/000",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/000\n",
        "/tile/0/000",
        "tile/0/../000",
        "tile/0/\u0660\u0660\u0660",
        "tile/0/" + "x001/" * 50 + "000",
    ],
)
def test_any_other_spelling_of_a_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"path|level|tile"):
        tiles.parse_path(path)


@pytest.mark.parametrize("values", [(64, 0, 1), (-2, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)])
def test_a_tile_that_cannot_exist_has_no_name(values: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="tile"):
        Tile(*values)


def test_the_example_tree_of_70_000_has_the_tiles_of_the_specification() -> None:
    found = list(tiles.tiles_for(70_000))
    assert found[:273] == [Tile(0, index) for index in range(273)]
    assert found[273:] == [Tile(0, 273, 112), Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert tiles.tile_width(ENTRIES, 273, 70_000) == 112


def test_a_tree_of_256_has_a_full_tile_and_one_hash_above() -> None:
    assert list(tiles.tiles_for(256)) == [Tile(0, 0), Tile(1, 0, 1)]


def test_an_empty_log_has_no_tile() -> None:
    assert list(tiles.tiles_for(0)) == []


@given(st.integers(0, TOTAL), st.integers(0, TOTAL))
def test_growing_writes_exactly_the_tiles_that_are_new(one: int, two: int) -> None:
    old, new = sorted((one, two))
    written = set(tiles.tiles_between(old, new))
    assert written == set(tiles.tiles_for(new)) - set(tiles.tiles_for(old))


@given(sizes)
def test_tiles_of_level_0_cover_every_leaf_once(size: int) -> None:
    widths = [tile.width for tile in tiles.tiles_for(size) if tile.level == 0]
    assert sum(widths) == size


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_an_entry_bundle_comes_back(entries: list[bytes]) -> None:
    assert tiles.decode_bundle(tiles.encode_bundle(entries)) == entries


def test_an_entry_bundle_prefixes_each_entry_with_two_bytes() -> None:
    assert tiles.encode_bundle([b"ab", b"", b"c"]) == b"\x00\x02ab\x00\x00\x00\x01c"


def test_an_entry_of_65_535_bytes_fits_and_one_more_does_not() -> None:
    longest = bytes(65_535)
    assert tiles.decode_bundle(tiles.encode_bundle([longest])) == [longest]
    with pytest.raises(ValueError, match="65535"):
        tiles.encode_bundle([longest + b"\x00"])


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x02a", b"\x00\x01ab", b"\x00\x01a\x00"])
def test_a_bundle_that_is_cut_short_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="cut short"):
        tiles.decode_bundle(data)


def test_a_bundle_or_tile_is_neither_empty_nor_over_full() -> None:
    for count in (0, 257):
        with pytest.raises(ValueError, match="1 to 256"):
            tiles.encode_bundle([b""] * count)
        with pytest.raises(ValueError, match="1 to 256"):
            tiles.decode_bundle(b"\x00\x00" * count)
        with pytest.raises(ValueError, match="1 to 256"):
            tiles.encode_tile([bytes(32)] * count)
        with pytest.raises(ValueError, match="1 to 256"):
            tiles.decode_tile(bytes(32 * count))


@given(st.integers(1, 256))
def test_the_bytes_of_a_tile_are_its_hashes_in_a_row(width: int) -> None:
    data = tiles.encode_tile(LEAVES[:width])
    assert len(data) == 32 * width
    assert tiles.decode_tile(data) == LEAVES[:width]


def test_a_tile_cut_inside_a_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="inside a hash"):
        tiles.decode_tile(bytes(33))
    with pytest.raises(ValueError, match="32 bytes"):
        tiles.encode_tile([bytes(31)])


def test_a_full_tile_hashes_to_the_root_of_its_leaves_and_a_partial_one_not_at_all() -> None:
    assert tiles.tile_hash(LEAVES[:256]) == root_at(256)
    with pytest.raises(ValueError, match="full tile"):
        tiles.tile_hash(LEAVES[:255])


@pytest.mark.parametrize(
    ("node", "span"),
    [
        ((0, 0), Span(0, 0, 0, 1)),
        ((0, 300), Span(0, 1, 44, 45)),
        ((7, 1), Span(0, 0, 128, 256)),
        ((7, 2), Span(0, 1, 0, 128)),
        ((8, 5), Span(1, 0, 5, 6)),
        ((10, 64), Span(1, 1, 0, 4)),
        ((16, 0), Span(2, 0, 0, 1)),
    ],
)
def test_a_node_is_found_in_one_tile(node: tuple[int, int], span: Span) -> None:
    assert tiles.locate(node) == span


@pytest.mark.slow
@given(st.integers(0, 15), st.data())
def test_a_node_from_tiles_is_the_root_over_its_leaves(level: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, (TOTAL >> level) - 1))
    [found] = tiles.reader(TOTAL, contents)([(level, index)])
    assert found == merkle.root_of(LEAVES[index << level : (index + 1) << level])


@pytest.mark.slow
@settings(max_examples=60)
@given(sizes, st.data())
def test_inclusion_is_proven_from_tiles_alone(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_path(index, size, tiles.reader(size, contents))
    merkle.verify_inclusion(LEAVES[index], index, size, proof, root_at(size))


@pytest.mark.slow
@settings(max_examples=60)
@given(sizes, sizes)
def test_consistency_is_proven_from_tiles_alone(one: int, two: int) -> None:
    old, new = sorted((one, two))
    proof = merkle.consistency_path(old, new, tiles.reader(new, contents))
    merkle.verify_consistency(old, new, proof, root_at(old), root_at(new))


@settings(max_examples=30)
@given(sizes)
def test_the_root_of_any_size_is_read_from_tiles(size: int) -> None:
    assert merkle.root_at(size, tiles.reader(size, contents)) == root_at(size)


@given(sizes, st.data())
def test_a_proof_asks_only_for_tiles_that_exist_and_each_once(
    size: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    nodes = merkle.plan_nodes(merkle.node_ids_inclusion(index, size))
    wanted = tiles.tiles_of(nodes, size)
    assert len(wanted) == len(set(wanted))
    assert set(wanted) <= set(tiles.tiles_for(size))


def test_nodes_may_be_fetched_first_and_folded_afterwards() -> None:
    size, plan = 1000, merkle.node_ids_inclusion(700, 1000)
    nodes = merkle.plan_nodes(plan)
    fetched: Mapping[Tile, Sequence[bytes]] = {
        tile: contents(tile) for tile in tiles.tiles_of(nodes, size)
    }
    proof = merkle.fold_plan(plan, tiles.nodes_from_tiles(nodes, size, fetched))
    merkle.verify_inclusion(LEAVES[700], 700, size, proof, root_at(size))


def test_a_node_that_is_not_complete_yet_is_refused() -> None:
    with pytest.raises(ValueError, match="not complete"):
        tiles.tiles_of([(3, 1)], 15)


def test_a_tile_of_another_width_than_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="should have 15 hashes, not 14"):
        tiles.nodes_from_tiles([(0, 3)], 15, {Tile(0, 0, 15): LEAVES[:14]})
