"""An export as it lies in a directory: its files, read and taken apart, not checked further."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from infra.tlog import tiles
from infra.tlog.checks import BrokenLogError, IncompleteLogError
from infra.tlog.commitment import Opening
from infra.tlog.export.layout import (
    CHECKPOINT,
    FOLDERS,
    FRAMES,
    MANIFEST,
    MAX_FILE_BYTES,
    LayoutError,
    Manifest,
    Selection,
    TooLargeError,
    payload_path,
    read_frames,
)
from infra.tlog.merkle import HASH_SIZE, root_at
from infra.tlog.note import Checkpoint, Note
from infra.tlog.tiles import ENTRIES, TILE_HEIGHT, Tile, tile_width

KEPT_TILES = 64
"""Tiles in memory: those on the way from an entry to the root are read again and again."""


class Row(NamedTuple):
    """An entry with what it commits to."""

    at: int
    entry: bytes
    opening: Opening


class Exported:
    """The files of an export of a log of ``size`` entries.

    Whatever is read raises ``IncompleteLogError`` if it is missing, and ``BrokenLogError`` if
    it is not of the form that an export has.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self.tile = lru_cache(KEPT_TILES)(self._tile)

    @classmethod
    def open(cls, folder: Path) -> "Exported":
        """The export in a directory, of the size that its checkpoint states."""
        try:
            note = Note.parse(cls(folder, 0).read(CHECKPOINT))
            return cls(folder, Checkpoint.parse(note.text).size)
        except ValueError as error:
            raise does_not_hold(CHECKPOINT) from error

    def read(self, path: str, at: int | None = None) -> bytes:
        """A file; ``at``: the first entry that it is about."""
        with self._opened(path, at) as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise IncompleteLogError(at, f"{path} is too large to be read")
            return file.read()

    @contextmanager
    def _opened(self, path: str, at: int | None) -> Iterator[BinaryIO]:
        try:
            with (self.folder / path).open("rb") as file:
                yield file
        except FileNotFoundError as error:
            raise IncompleteLogError(at, f"{path} is missing") from error
        except OSError as error:
            raise IncompleteLogError(at, f"{path} cannot be read") from error

    def manifest(self) -> Manifest:
        """Return what the export says that it holds."""
        try:
            return Manifest.parse(self.read(MANIFEST))
        except LayoutError as error:
            raise does_not_hold(MANIFEST) from error

    def named(self, level: int, index: int) -> Tile:
        """A tile or bundle as wide as it is in this log; ValueError where there is none."""
        return Tile(level, index, tile_width(level, index, self.size))

    def find(self, level: int, index: int) -> Tile | None:
        """A tile or bundle of the log, if it is there."""
        tile = self.named(level, index)
        return tile if (self.folder / tile.path).exists() else None

    def top(self, size: int) -> bytes:
        """The root of the first ``size`` entries, by the tiles."""

        def hashes(tile: Tile) -> list[bytes]:
            return tiles.decode_tile(self.tile(tile.level, tile.index))

        return root_at(size, tiles.reader(self.size, hashes))

    def items(self, path: str, at: int | None = None) -> Iterator[bytes]:
        """The items of a payload or checkpoints file, one at a time."""
        with self._opened(path, at) as file:
            try:
                yield from read_frames(file)
            except TooLargeError as error:
                raise IncompleteLogError(
                    at, f"{path} has an item too large to be read"
                ) from error
            except LayoutError as error:
                raise does_not_hold(path, at) from error

    def entries(self, bundle: Tile) -> list[bytes]:
        """The entries of a bundle, as many as it is wide; empty where one is left out."""
        at = bundle.index << TILE_HEIGHT
        try:
            entries = tiles.decode_bundle(self.read(bundle.path, at))
        except ValueError as error:
            raise does_not_hold(bundle.path, at) from error
        if len(entries) != bundle.width:
            raise does_not_hold(bundle.path, at)
        return entries

    def openings(self, bundle: Tile) -> Iterator[Opening]:
        """Yield what the entries of a bundle commit to, one at a time."""
        path, at = payload_path(bundle), bundle.index << TILE_HEIGHT
        items = self.items(path, at)
        for _ in range(bundle.width):
            four = list(islice(items, FRAMES))
            if len(four) < FRAMES:
                raise does_not_hold(path, at)
            yield Opening(*four)
        if next(items, None) is not None:
            raise does_not_hold(path, at)

    def files(self) -> Iterator[str]:
        """Every file that lies where evidence does; hidden ones are somebody's system's."""
        for folder in FOLDERS:
            for place, _, names in os.walk(self.folder / folder):
                base = Path(place).relative_to(self.folder)
                yield from ((base / n).as_posix() for n in names if not n.startswith("."))

    def rows(self, start: int = 0) -> Iterator[Row]:
        """The entries that are there, with their data, in order, from an index on."""
        for bundle in self._bundles(start):
            pairs = zip(self.entries(bundle), self.openings(bundle), strict=True)
            for at, (entry, opening) in enumerate(pairs, bundle.index << TILE_HEIGHT):
                if opening.data and at >= start:
                    yield Row(at, entry, opening)

    def _bundles(self, start: int) -> Iterator[Tile]:
        manifest = self.manifest()
        if manifest.is_range:
            start = max(start, manifest.start)
            yield from Selection(self.size, start, manifest.stop).bundles()
            return
        for index in range(start >> TILE_HEIGHT, -(-self.size >> TILE_HEIGHT)):
            if bundle := self.find(ENTRIES, index):
                yield bundle

    def _tile(self, level: int, index: int) -> bytes:
        tile = self.named(level, index)
        at = index << TILE_HEIGHT * (level + 1)
        data = self.read(tile.path, at)
        if len(data) != HASH_SIZE * tile.width:
            raise does_not_hold(tile.path, at)
        return data


def does_not_hold(path: str, at: int | None = None) -> BrokenLogError:
    """A file that is not what it must be."""
    return BrokenLogError(at, f"{path} does not hold")
