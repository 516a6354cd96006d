"""Growing a stored tree: the new frontier, and the tile hashes that became final on the way.

The frontier of a tree holds, bit by bit of its size, the complete subtrees; eight bits of the
size are the frontier of one tile level's last, partial tile. So nothing has to be read back.
"""

from collections.abc import Sequence
from typing import NamedTuple

from infra.tlog.merkle import Frontier
from infra.tlog.tiles import TILE_HEIGHT, TILE_WIDTH


class TileHash(NamedTuple):
    """Hash ``idx`` of tile level ``level`` (≥ 1): the root of a full tile one level below."""

    level: int
    idx: int
    hash: bytes


def grow(frontier: Frontier, leaves: Sequence[bytes]) -> tuple[Frontier, list[TileHash]]:
    """Return the frontier after appending leaf hashes, and the tile hashes now final.

    The frontier given is left as it is. Raises ValueError on a hash of another length.
    """
    tails, made, added = _tails(frontier), list[TileHash](), list(leaves)
    level = 0
    while added:
        if level == len(tails):
            tails.append(Frontier())
        first = frontier.size >> TILE_HEIGHT * (level + 1)
        tail, full = tails[level], list[bytes]()
        for value in added:
            tail.append(value)
            if tail.size == TILE_WIDTH:
                full.append(tail.root())
                tail = Frontier()
        tails[level] = tail
        level += 1
        made += [TileHash(level, first + n, value) for n, value in enumerate(full)]
        added = full
    hashes = [value for tail in reversed(tails) for value in tail.hashes]
    return Frontier(frontier.size + len(leaves), hashes), made


def _tails(frontier: Frontier) -> list[Frontier]:
    """The frontier of each level's partial last tile, lowest level first."""
    tails, rest, size = [], list(frontier.hashes), frontier.size
    while size:
        width = size % TILE_WIDTH
        kept = len(rest) - width.bit_count()
        tails.append(Frontier(width, rest[kept:]))
        rest, size = rest[:kept], size >> TILE_HEIGHT
    return tails
