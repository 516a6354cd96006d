"""What an export of a log is made of: its files, their names, and what its manifest says.

The layout is that of C2SP tlog-tiles (``checkpoint``, ``tile/…``, ``tile/entries/…``), cut to
what was asked for, with ``payload/…`` beside each entry bundle and ``checkpoints/…`` for what
was signed earlier. Where only a person's or a case's entries were asked for, the others of a
bundle are left out: they have the length 0. Nothing else differs. See docs/adr/0016.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from heapq import merge
from struct import Struct
from typing import BinaryIO, Self

from infra.tlog.tiles import ENTRIES, TILE_HEIGHT, Tile, tile_width

FORMAT = "aiguillage-export/1"
MANIFEST = "manifest.json"
CHECKPOINT = "checkpoint"
UNFINISHED = "unfinished.json"
"""Stands in a directory until all of its export is there."""

FOLDERS = ("checkpoints", "payload", "tile")
"""Where evidence lies; a file of another name in there is none of the export's."""

NOT_EVIDENCE = ("LISEZMOI.md", "README.md", "verify.py", "vkey.txt")
"""For people: whoever checks an export has its key, and its verifier, from elsewhere."""

GROUP_HEIGHT = 2 * TILE_HEIGHT
"""Entries whose earlier checkpoints share a file: as many as one tile of level 1 covers."""

MAX_FILE_BYTES = 32 * 1024 * 1024
"""Bytes of a file that is read at once: the largest is a bundle of 256 entries of 64 KiB."""

MAX_ITEM_BYTES = 16 * 1024 * 1024
"""Bytes of an item of a payload or checkpoints file; the number of items is not limited."""

FRAMES = 4
"""Items that a payload file holds of each entry: those of a `commitment.Opening`."""

_LENGTH = Struct(">I")


class LayoutError(ValueError):
    """A file that is not what an export is made of."""


class TooLargeError(ValueError):
    """What nobody who checks an export will read: nothing is said of it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Statement of what an export holds.

    All of the entries ``start`` to ``stop`` (excluded), or, where both are 0, single
    ``entries`` of a person or a case. ``checkpoints`` counts those signed earlier,
    ``erased`` the entries whose sealed part is gone.
    """

    start: int
    stop: int
    entries: int
    checkpoints: int = 0
    erased: int = 0

    def format(self) -> bytes:
        """The file; the same manifest always gives the same bytes."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Inverse of ``format``; raises ``LayoutError``."""
        try:
            stated = json.loads(data)
            manifest = cls(*(stated[name] for name in cls.__slots__))
            if manifest.format() == data and manifest._makes_sense():
                return manifest
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise LayoutError("the manifest cannot be read") from error
        raise LayoutError("the manifest is not one that an export writes")

    @property
    def is_range(self) -> bool:
        """Whether it is every entry of a span, rather than some."""
        return self.stop > 0

    def _makes_sense(self) -> bool:
        counts = [getattr(self, name) for name in self.__slots__]
        if any(type(count) is not int or count < 0 for count in counts):
            return False
        return self.entries == self.stop - self.start or self.start == self.stop == 0


@dataclass(frozen=True, slots=True)
class Selection:
    """Entries asked of a log of ``size`` entries: those of a span, or some, by their indices.

    ``also``: a smaller size, whose root can then be computed from the export as well.
    """

    size: int
    start: int = 0
    stop: int = 0
    indices: tuple[int, ...] = ()
    also: int = 0

    @property
    def held(self) -> int:
        """How many entries were asked for."""
        return len(self.indices) or self.stop - self.start

    def holds(self, index: int) -> bool:
        """Whether an entry was asked for; ``indices`` rise."""
        place = bisect_left(self.indices, index)
        return self.start <= index < self.stop or index in self.indices[place : place + 1]

    def bundles(self) -> Iterator[Tile]:
        """The entry bundles in which entries asked for stand, in order."""
        for index in self._blocks(TILE_HEIGHT):
            yield Tile(ENTRIES, index, tile_width(ENTRIES, index, self.size))

    def groups(self) -> range:
        """The numbers of the files of earlier checkpoints."""
        return _blocks(self.start, self.stop, GROUP_HEIGHT)

    def tiles(self) -> Iterator[Tile]:
        """The hash tiles: over the entries, up to the root, and along the tree's right edge.

        Each full tile is vouched for by its hash in the tile above, which is here too, and the
        partial ones by the signed root: so every hash in every tile counts.
        """
        level = 0
        while self.size >> TILE_HEIGHT * level:
            shift = TILE_HEIGHT * (level + 1)
            blocks = self._blocks(shift)
            edges = {self.size >> shift, (self.also or self.size) >> shift}
            for index in merge(sorted(edge for edge in edges if edge not in blocks), blocks):
                if width := tile_width(level, index, self.size):
                    yield Tile(level, index, width)
            level += 1

    def _blocks(self, shift: int) -> Sequence[int]:
        if self.indices:
            return sorted({index >> shift for index in self.indices})
        return _blocks(self.start, self.stop, shift)


def payload_path(bundle: Tile) -> str:
    """Where stands what a bundle's entries commit to, and the salts that show it."""
    return "payload" + bundle.path.removeprefix("tile/entries")


def checkpoints_path(group: int) -> str:
    """Where checkpoints of more than ``group << GROUP_HEIGHT`` entries stand, to the next."""
    return f"checkpoints/{group}"


def encode_frames(items: Iterable[bytes]) -> bytes:
    """Each item after its length in 4 bytes, big-endian; the length 0 stands for none.

    A payload file holds four items an entry (salts, header, data, sealed part), which are
    never empty; a checkpoints file one a note.
    """
    return b"".join(map(frame, items))


def frame(item: bytes) -> bytes:
    """One item after its length."""
    return _LENGTH.pack(len(item)) + item


def read_frames(file: BinaryIO) -> Iterator[bytes]:
    """Inverse of ``encode_frames``, an item at a time.

    Raises ``TooLargeError`` at an item beyond ``MAX_ITEM_BYTES``, ``LayoutError`` if the file
    is cut short.
    """
    while head := file.read(_LENGTH.size):
        size = int.from_bytes(head)
        if size > MAX_ITEM_BYTES:
            raise TooLargeError
        item = file.read(size)
        if len(head) < _LENGTH.size or len(item) < size:
            raise LayoutError("the file is cut short")
        yield item


def _blocks(start: int, stop: int, shift: int) -> range:
    """The blocks of ``2**shift`` entries that entries of a span lie in."""
    return range(start >> shift, (stop - 1 >> shift) + 1) if start < stop else range(0)
