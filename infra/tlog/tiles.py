"""Tiles and entry bundles of a log (C2SP tlog-tiles): names, contents, and nodes inside them.

A tile holds up to 256 consecutive hashes of one tile level; tile level ``l`` is binary level
``8 * l`` of the tree.  An entry bundle holds the entries under one tile of level 0.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct

from infra.tlog.merkle import HASH_SIZE, Node, Read, root_of

TILE_HEIGHT = 8
"""Binary tree levels between one tile level and the next."""

TILE_WIDTH = 1 << TILE_HEIGHT
"""Hashes in a full tile, entries in a full bundle."""

MAX_LEVEL = 63
"""Highest tile level a path may name."""

MAX_ENTRY_SIZE = 65_535
"""Bytes the 16-bit length prefix of a bundle leaves for one entry."""

ENTRIES = -1
"""The "level" under which a `Tile` names an entry bundle."""

_LENGTH = Struct(">H")
_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """Name of a tile (level 0 to 63) or, at level `ENTRIES`, of an entry bundle.

    ``width`` counts its hashes or entries: 256 if full, less if partial.
    Raises ValueError on a level, index or width no tile can have.
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        """Refuse a name that no path could spell."""
        if not ENTRIES <= self.level <= MAX_LEVEL:
            raise ValueError(f"there is no tile level {self.level}")
        if self.index < 0:
            raise ValueError(f"there is no tile index {self.index}")
        if not 1 <= self.width <= TILE_WIDTH:
            raise ValueError(f"a tile has 1 to {TILE_WIDTH} hashes, not {self.width}")

    @property
    def path(self) -> str:
        """Path under the log's URL prefix (tlog-tiles, "Merkle Tree" and "Log entries")."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{_index_path(self.index)}{partial}"


@dataclass(frozen=True, slots=True)
class Span:
    """Where a node lies: positions ``start`` to ``stop`` (excluded) of one tile.

    The node's hash is the root over those hashes; ``level`` is the tile level.
    """

    level: int
    index: int
    start: int
    stop: int


def parse_path(path: str) -> Tile:
    """Inverse of `Tile.path`; ValueError on any spelling but the one tlog-tiles gives."""
    parts = _PATH.fullmatch(path)
    if parts is None:
        raise ValueError("the path is not that of a tile")
    level = ENTRIES if parts[1] == "entries" else int(parts[1])
    index = int(parts[2].replace("/", "").replace("x", ""))
    tile = Tile(level, index, int(parts[3] or TILE_WIDTH))
    # One spelling per tile: caches and file stores must not see x000/001 or .p/256.
    if tile.path != path:
        raise ValueError("the path is not in its shortest form")
    return tile


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Entry bundle: each entry after its length in 2 bytes, big-endian ("Log entries").

    Raises ValueError on an entry above `MAX_ENTRY_SIZE`, or unless there are 1 to 256.
    """
    _require_width(len(entries))
    return b"".join(_prefixed(entry) for entry in entries)


def decode_bundle(data: bytes) -> list[bytes]:
    """Entries of a bundle; ValueError if it is cut short or has not 1 to 256 entries."""
    entries = split(data, _LENGTH)
    _require_width(len(entries))
    return entries


def split(data: bytes, length: Struct) -> list[bytes]:
    """Items that stand each after its length; ValueError if the last is cut short."""
    items, at, end, width, length_at = [], 0, len(data), length.size, length.unpack_from
    try:
        while at < end:
            (size,) = length_at(data, at)
            start = at + width
            at = start + size
            items.append(data[start:at])
    except struct.error:
        at = -1
    if at != end:
        raise ValueError("the last item is cut short")
    return items


def encode_tile(hashes: Sequence[bytes]) -> bytes:
    """Bytes of a tile; ValueError on a hash of another length or unless there are 1 to 256."""
    _require_width(len(hashes))
    if any(len(value) != HASH_SIZE for value in hashes):
        raise ValueError(f"a hash has {HASH_SIZE} bytes")
    return b"".join(hashes)


def decode_tile(data: bytes) -> list[bytes]:
    """Hashes of a tile; ValueError if cut inside a hash or unless there are 1 to 256."""
    if len(data) % HASH_SIZE:
        raise ValueError("the tile is cut inside a hash")
    _require_width(len(data) // HASH_SIZE)
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def encode(tile: Tile, contents: Sequence[bytes]) -> bytes:
    """Bytes of a tile or of an entry bundle, whichever it names."""
    return (encode_bundle if tile.level == ENTRIES else encode_tile)(contents)


def tile_hash(hashes: Sequence[bytes]) -> bytes:
    """Root of a full tile: its hash in the level above.

    Raises ValueError for a partial tile, which must not be hashed ("Partial Tiles").
    """
    if len(hashes) != TILE_WIDTH:
        raise ValueError(f"only a full tile is hashed, not one of {len(hashes)}")
    return root_of(hashes)


def tile_width(level: int, index: int, size: int) -> int:
    """Hashes (0 to 256) of a tile in a tree of ``size``; at `ENTRIES`, entries of a bundle."""
    total = size >> TILE_HEIGHT * max(level, 0)
    return min(max(total - index * TILE_WIDTH, 0), TILE_WIDTH)


def tiles_between(old: int, new: int) -> Iterator[Tile]:
    """Tiles of a tree of ``new`` that a tree of ``old`` has not, or has narrower.

    Bottom level first, then left to right: what a log writes after growing.
    """
    for level in range(MAX_LEVEL + 1):
        if not new >> TILE_HEIGHT * level:
            return
        yield from _level_between(level, old, new)


def tiles_for(size: int) -> Iterator[Tile]:
    """Every tile of a tree of ``size``: bottom level first, then left to right."""
    return tiles_between(0, size)


def locate(node: Node) -> Span:
    """Tile and positions that give a complete binary subtree ``(level, index)``."""
    level, index = node
    tile_level, depth = divmod(level, TILE_HEIGHT)
    tile_index, start = divmod(index << depth, TILE_WIDTH)
    return Span(tile_level, tile_index, start, start + (1 << depth))


def tiles_of(nodes: Sequence[Node], size: int) -> list[Tile]:
    """Tiles, each once, that hold ``nodes`` in a tree of ``size``, as wide as they are there.

    Raises ValueError if a node is not complete in that tree.
    """
    return list(dict.fromkeys(_tile_of(node, size) for node in nodes))


def nodes_from_tiles(
    nodes: Sequence[Node], size: int, tiles: Mapping[Tile, Sequence[bytes]]
) -> list[bytes]:
    """Hashes of ``nodes`` from the hashes of the tiles that `tiles_of` named.

    Raises ValueError as `tiles_of` or if a tile has not its width, KeyError if one is missing.
    """
    return [_node_in(tile := _tile_of(node, size), tiles[tile], node) for node in nodes]


def reader(size: int, fetch: Callable[[Tile], Sequence[bytes]]) -> Read:
    """A node reader for proofs in a tree of ``size``; ``fetch`` gives the hashes of a tile."""

    def read(nodes: Sequence[Node]) -> list[bytes]:
        tiles = {tile: fetch(tile) for tile in tiles_of(nodes, size)}
        return nodes_from_tiles(nodes, size, tiles)

    return read


def _level_between(level: int, old: int, new: int) -> Iterator[Tile]:
    shift = TILE_HEIGHT * max(level, 0)
    before, after = old >> shift, new >> shift
    if before >= after:
        return
    for index in range(before // TILE_WIDTH, -(-after // TILE_WIDTH)):
        yield Tile(level, index, tile_width(level, index, new))


def _tile_of(node: Node, size: int) -> Tile:
    span = locate(node)
    width = tile_width(span.level, span.index, size)
    if span.stop > width:
        raise ValueError(f"node {node} is not complete in a tree of {size}")
    return Tile(span.level, span.index, width)


def _node_in(tile: Tile, hashes: Sequence[bytes], node: Node) -> bytes:
    if len(hashes) != tile.width:
        raise ValueError(f"{tile.path} should have {tile.width} hashes, not {len(hashes)}")
    span = locate(node)
    return root_of(hashes[span.start : span.stop])


def _index_path(index: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03d}")
    return "/".join(groups)


def _prefixed(entry: bytes) -> bytes:
    if len(entry) > MAX_ENTRY_SIZE:
        raise ValueError(f"an entry has at most {MAX_ENTRY_SIZE} bytes, not {len(entry)}")
    return len(entry).to_bytes(2, "big") + entry


def _require_width(count: int) -> None:
    if not 1 <= count <= TILE_WIDTH:
        raise ValueError(f"a tile or bundle has 1 to {TILE_WIDTH} items, not {count}")
