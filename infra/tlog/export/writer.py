"""Write an export: the log's files as they are served, cut to what is asked for.

Every file is written whole or not at all, and one that is there is not fetched again, so an
export that was interrupted goes on where it stopped. ``manifest.json`` comes last: without it
a directory is recognisably unfinished, and is found incomplete by whoever checks it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from infra.tlog import tiles
from infra.tlog.checks import Progress
from infra.tlog.export.layout import (
    CHECKPOINT,
    FRAMES,
    GROUP_HEIGHT,
    MANIFEST,
    UNFINISHED,
    Manifest,
    Selection,
    TooLargeError,
    checkpoints_path,
    frame,
    payload_path,
    read_frames,
)
from infra.tlog.note import Checkpoint, Note
from infra.tlog.tiles import TILE_HEIGHT, Tile

AT_ONCE = 8
"""Bundles that are fetched at a time."""

NOTHING_SEALED = b'"sealed":null}'
"""How the canonical entry of an event ends that never had a sealed part."""

BUNDLED = Path(__file__).with_name("bundled")
VERIFIER = Path(__file__).parents[1] / "verify" / "standalone.py"


class LogSource(Protocol):
    """Where a log is read from: its own database, or the service's HTTP interface.

    The newest checkpoint; those of more than ``after`` and at most ``to`` entries, oldest
    first; a tile or entry bundle; and beside a bundle what each entry commits to, as
    ``layout.encode_frames`` writes it, into a file: it may be more than fits into memory.
    """

    async def checkpoint(self) -> bytes: ...
    def checkpoints(self, after: int, to: int) -> AsyncIterator[bytes]: ...
    async def tile(self, tile: Tile) -> bytes: ...
    async def payload(self, bundle: Tile, file: BinaryIO) -> None: ...


class ExportRefusedError(Exception):
    """The directory holds something else, or nothing fits what was asked; the text says it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Terms of what was asked for, and how to find it in a log of some size.

    The terms are compared when an unfinished export is taken up again.
    """

    terms: Mapping[str, Any]
    find: Callable[[int], Awaitable[Selection]]


class Export:
    """An export into one directory."""

    def __init__(self, source: LogSource, folder: Path, wanted: Wanted) -> None:
        self._source = source
        self._folder = folder
        self._wanted = wanted
        self._entries = self._erased = self._checkpoints = 0

    async def run(self, vkeys: Sequence[str], progress: Progress | None = None) -> Manifest:
        """Write all of it, or what is still missing; raises ``ExportRefusedError``.

        ``progress`` is told how many entries stand there, out of how many.
        """
        note, selection = await self._begin()
        for tile in selection.tiles():
            await self._kept(tile.path, partial(self._source.tile, tile))
        async for done in self._bundles(selection):
            if progress:
                progress(done, selection.held)
        for group in selection.groups():
            await self._checkpoints_of(group, selection)
        for page in sorted(BUNDLED.iterdir()):
            self._write(page.name, page.read_bytes())
        self._write("verify.py", VERIFIER.read_bytes())
        self._write("vkey.txt", "".join(f"{vkey}\n" for vkey in vkeys).encode())
        self._write(CHECKPOINT, note)

        counts = (self._entries, self._checkpoints, self._erased)
        manifest = Manifest(selection.start, selection.stop, *counts)
        os.sync()  # the manifest says that the rest is there: also after a power cut
        self._write(MANIFEST, manifest.format())
        (self._folder / UNFINISHED).unlink()
        return manifest

    async def _begin(self) -> tuple[bytes, Selection]:
        """The checkpoint and the selection: those that were begun with, or new ones."""
        unfinished = self._folder / UNFINISHED
        there = self._folder.exists() and any(self._folder.iterdir())
        if (self._folder / MANIFEST).exists() or (there and not unfinished.exists()):
            raise ExportRefusedError(f"{self._folder} is not empty")
        if unfinished.exists():
            begun = orjson.loads(unfinished.read_bytes())
            terms, signed = begun.pop("words"), begun.pop("checkpoint")
            if terms != self._wanted.terms:
                raise ExportRefusedError(f"{self._folder} holds another export, unfinished")
            return signed.encode(), Selection(**{**begun, "indices": tuple(begun["indices"])})
        note = await self._source.checkpoint()
        selection = await self._wanted.find(Checkpoint.parse(Note.parse(note).text).size)
        begun = {"words": self._wanted.terms, "checkpoint": note.decode(), **asdict(selection)}
        self._write(UNFINISHED, orjson.dumps(begun))
        return note, selection

    async def _bundles(self, selection: Selection) -> AsyncIterator[int]:
        """Write bundles and payloads, some at a time; yields how many entries stand there."""
        bundles = selection.bundles()
        while some := list(islice(bundles, AT_ONCE)):
            await asyncio.gather(*(self._bundle(bundle, selection) for bundle in some))
            yield self._entries

    async def _bundle(self, bundle: Tile, selection: Selection) -> None:
        start = bundle.index << TILE_HEIGHT
        asked = [selection.holds(start + n) for n in range(bundle.width)]
        fetch = partial(self._cut_bundle, bundle, None if selection.stop else asked)
        entries = tiles.decode_bundle(await self._kept(bundle.path, fetch))
        target = self._folder / payload_path(bundle)
        if not target.exists():
            whole = _draft(target)
            with whole.open("wb") as file:
                await self._source.payload(bundle, file)
            if not all(asked):
                await asyncio.to_thread(_cut, whole, _draft(whole), asked)
            whole.replace(target)
        sealed = (await asyncio.to_thread(_sizes, target))[FRAMES - 1 :: FRAMES]
        for entry, size, held in zip(entries, sealed, asked, strict=True):
            self._entries += held
            self._erased += held and not size and not entry.endswith(NOTHING_SEALED)

    async def _cut_bundle(self, bundle: Tile, asked: Sequence[bool] | None) -> bytes:
        whole = await self._source.tile(bundle)
        if asked is None:
            return whole
        entries = zip(tiles.decode_bundle(whole), asked, strict=True)
        return tiles.encode_bundle([entry if held else b"" for entry, held in entries])

    async def _checkpoints_of(self, group: int, selection: Selection) -> None:
        after = max(group << GROUP_HEIGHT, selection.start)
        to = min(group + 1 << GROUP_HEIGHT, selection.stop, selection.size - 1)
        target = self._folder / checkpoints_path(group)
        if not target.exists():
            draft = _draft(target)
            with draft.open("wb") as file:
                async for note in self._source.checkpoints(after, to):
                    file.write(frame(note))
            draft.replace(target)
        self._checkpoints += len(_sizes(target))

    async def _kept(self, path: str, fetch: Callable[[], Awaitable[bytes]]) -> bytes:
        """A file's bytes: those that stand there, or else fetched and written."""
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError:
            data = await fetch()
            self._write(path, data)
            return data

    def _write(self, path: str, data: bytes) -> None:
        target = self._folder / path
        draft = _draft(target)
        draft.write_bytes(data)
        draft.replace(target)


def _draft(target: Path) -> Path:
    """Where a file stands until all of it is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.new")


def _cut(whole: Path, draft: Path, asked: Sequence[bool]) -> None:
    """Leave out what is not asked for."""
    with whole.open("rb") as old, draft.open("wb") as new:
        for n, item in enumerate(read_frames(old)):
            new.write(frame(item if asked[n // FRAMES] else b""))
    draft.replace(whole)


def _sizes(path: Path) -> list[int]:
    """The size of each item; raises ``ExportRefusedError`` for what no verifier would read."""
    try:
        with path.open("rb") as file:
            return [len(item) for item in read_frames(file)]
    except TooLargeError:
        path.unlink()
        raise ExportRefusedError(f"{path.name} has an item too large to be read") from None
