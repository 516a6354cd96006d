"""What an export of a log is made of: its files, their names, and what its manifest says.

The layout is that of C2SP tlog-tiles (``checkpoint``, ``tile/…``, ``tile/entries/…``), cut to
what was asked for, with two kinds of files that it has no name for: ``payload/…`` beside each
entry bundle, and ``checkpoints/…``, earlier checkpoints. An export of single entries (a
person, a case) has ``entries/…`` instead of bundles, so that it says nothing of other people.
See docs/adr/0016.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from struct import Struct
from typing import Any, Self

from infra.tlog.tiles import ENTRIES, TILE_HEIGHT, Tile, tile_width

FORMAT = "aiguillage-export/1"
MANIFEST = "manifest.json"
CHECKPOINT = "checkpoint"
EXTENDS = "extends"
"""An older checkpoint that the export shows its own to be an extension of, where asked for."""

UNFINISHED = "unfinished.json"
"""Stands in a directory until all of its export is there."""

FOLDERS = ("tile", "payload", "checkpoints", "entries")
"""Where evidence lies; a file of another name in there is none of the export's."""

NOT_EVIDENCE = ("LISEZMOI.md", "README.md", "verify.py", "vkey.txt")
"""For people: whoever checks an export has its key, and its verifier, from elsewhere."""

GROUP_HEIGHT = 2 * TILE_HEIGHT
"""Entries whose earlier checkpoints share a file: as many as one tile of level 1 covers."""

MAX_FILE_BYTES = 256 * 1024 * 1024
_LENGTH = Struct(">I")
_ABSENT = 0xFFFFFFFF


class LayoutError(ValueError):
    """A manifest, or a file, that is not what an export is made of."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export holds of a log of ``size`` entries.

    Entries ``start`` to ``stop`` (excluded), or the single ``indices`` of a person (known by
    the ids ``persons``) or of a ``case``. ``extends``: the size of the older checkpoint.
    ``checkpoints`` and ``erased`` count earlier checkpoints, and sealed parts that are gone.
    """

    origin: str
    size: int
    start: int
    stop: int
    indices: tuple[int, ...] | None = None
    persons: tuple[str, ...] | None = None
    case: str | None = None
    extends: int | None = None
    checkpoints: int = 0
    erased: int = 0

    def format(self) -> bytes:
        """The file; the same manifest always gives the same bytes."""
        said = {"format": FORMAT, **asdict(self)}
        return (json.dumps(said, ensure_ascii=False, indent=1) + "\n").encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Inverse of ``format``; raises ``LayoutError``."""
        try:
            found = cls(**_fields(json.loads(data.decode())))
            if found.format() == data:
                return found
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise LayoutError("it cannot be read") from error
        raise LayoutError("it is not written as an export writes it")

    @property
    def held(self) -> int:
        """How many entries are there."""
        return self.stop - self.start if self.indices is None else len(self.indices)

    @property
    def shown(self) -> str:
        """What is there, in words."""
        if self.indices is not None:
            of = f"case {self.case}" if self.case else f"person {', '.join(self.persons or ())}"
            return f"{self.held} entries of {of}"
        if self.held == self.size:
            return f"all {self.size} entries"
        return f"entries {self.start} to {self.stop - 1}"

    def bundles(self) -> Iterator[Tile]:
        """The entry bundles in which entries of the export stand."""
        if self.indices is None:
            for index in _blocks(self.start, self.stop, TILE_HEIGHT):
                yield Tile(ENTRIES, index, tile_width(ENTRIES, index, self.size))

    def groups(self) -> range:
        """The numbers of the files of earlier checkpoints."""
        single = self.indices is not None
        return range(0) if single else _blocks(self.start, self.stop, GROUP_HEIGHT)

    def tiles(self) -> Iterator[Tile]:
        """The hash tiles: over the entries, up to the root, and along the tree's right edge.

        Each full tile is vouched for by its hash in the tile above, which is here too, and the
        partial ones by the signed root: so every hash in every tile counts.
        """
        level = 0
        while self.size >> TILE_HEIGHT * level:
            for index in self._indices(TILE_HEIGHT * (level + 1)):
                if width := tile_width(level, index, self.size):
                    yield Tile(level, index, width)
            level += 1

    def paths(self) -> Iterator[str]:
        """Every file in ``FOLDERS`` but single entries."""
        yield from (tile.path for tile in self.tiles())
        for bundle in self.bundles():
            yield bundle.path
            yield payload_path(bundle)
        yield from map(checkpoints_path, self.groups())

    def _indices(self, shift: int) -> Iterable[int]:
        single = {self.size >> shift}
        if self.extends is not None:
            single.add(self.extends >> shift)
        if self.indices is not None:
            return sorted(single | {index >> shift for index in self.indices})
        span = _blocks(self.start, self.stop, shift)
        return chain(sorted(index for index in single if index not in span), span)


def payload_path(bundle: Tile) -> str:
    """Where the data and sealed parts of a bundle's entries stand."""
    return "payload" + bundle.path.removeprefix("tile/entries")


def checkpoints_path(group: int) -> str:
    """Where checkpoints of more than ``group << GROUP_HEIGHT`` entries stand, to the next."""
    return "checkpoints" + Tile(ENTRIES, group).path.removeprefix("tile/entries")


def entry_path(index: int, part: str) -> str:
    """Where one part (``entry.json``, ``data.json`` or ``sealed``) of one entry stands."""
    return f"entries/{index}.{part}"


def encode_frames(items: Iterable[bytes | None]) -> bytes:
    """Each item after its length in 4 bytes, big-endian; 0xFFFFFFFF for one that is absent.

    A payload file holds two items an entry, data and sealed; a checkpoints file a note each.
    """
    return b"".join(_frame(item) for item in items)


def decode_frames(data: bytes) -> list[bytes | None]:
    """Inverse of ``encode_frames``; raises ``LayoutError`` if it is cut short."""
    items: list[bytes | None] = []
    at, end = 0, len(data)
    while at + 4 <= end:
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4
        if length == _ABSENT:
            items.append(None)
        else:
            items.append(data[at : at + length])
            at += length
    if at != end:
        raise LayoutError("the file is cut short")
    return items


def _frame(item: bytes | None) -> bytes:
    if item is None:
        return _LENGTH.pack(_ABSENT)
    return _LENGTH.pack(len(item)) + item


def _blocks(start: int, stop: int, shift: int) -> range:
    """The blocks of ``2**shift`` entries that entries of a span lie in."""
    return range(start >> shift, (stop - 1 >> shift) + 1) if start < stop else range(0)


def _fields(said: Any) -> dict[str, Any]:
    """What a manifest says, each what it must be; raises as nonsense does."""
    if said.pop("format") != FORMAT:
        raise ValueError("another format")
    for name in ("indices", "persons"):
        said[name] = None if said[name] is None else tuple(said[name])
    indices, size = said["indices"] or (), said["size"]
    extends = 0 if said["extends"] is None else said["extends"]
    counts = (*indices, extends, said["start"], said["stop"], said["checkpoints"], said["erased"])
    if any(type(count) is not int or count < 0 for count in (size, *counts)):
        raise ValueError("a count is no whole number")
    if not said["start"] <= said["stop"] <= size or extends > size:
        raise ValueError("more than the log has")
    if list(indices) != sorted(set(indices)) or any(index >= size for index in indices):
        raise ValueError("indices do not rise, or are beyond the log")
    return dict(said)
