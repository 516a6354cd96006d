"""The check of one part of an export, and the processes that check many at a time."""

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self, TypeVar

import orjson

from infra.tlog.checks import (
    BrokenLogError,
    IncompleteLogError,
    LoggedEntry,
    UnsoundLogError,
    gap,
    open_earlier,
    vouched,
)
from infra.tlog.commitment import Opening
from infra.tlog.export.layout import Manifest, checkpoints_path
from infra.tlog.export.reader import Exported, does_not_hold
from infra.tlog.merkle import HASH_SIZE
from infra.tlog.note import Checkpoint, VKey
from infra.tlog.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile
from infra.tlog.verify.bulk import all_vouched, leaf_hashes, tile_root
from infra.tlog.verify.streams import Gap, Runs, first_gap

T = TypeVar("T")
AT_ONCE_BYTES = 4 * 1024 * 1024
"""Bytes of a bundle's contents that are checked at a time: an export of any size is checked in
the same memory. A bundle of ordinary events is less."""

AHEAD = 2
"""Items per process that are begun before the oldest one's result is taken."""


@dataclass(frozen=True, slots=True)
class Part:
    """A tile and all that lies under it; ``above``: its hash in the tile above, if any."""

    level: int
    index: int
    above: bytes | None


@dataclass(slots=True)
class Findings:
    """Counts and runs of a part, up to the first thing that does not hold."""

    held: int = 0
    erased: int = 0
    checkpoints: int = 0
    runs: list[bytes] = field(default_factory=list)
    error: UnsoundLogError | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Export to check, keys of its log; ``buckets``: for the runs of its streams."""

    folder: Path
    size: int
    manifest: Manifest
    keys: Sequence[VKey]
    buckets: int


class Checker:
    """Checks parts of one export, whose checkpoint and manifest were read before."""

    def __init__(self, task: Task) -> None:
        self.export = Exported(task.folder, task.size)
        self._task = task
        self._from_start = task.manifest.start == 0 < task.manifest.stop

    def part(self, part: Part | UnsoundLogError) -> Findings:
        """Check every entry under a tile; an error instead of a part is what is found there."""
        findings, runs = Findings(), Runs(self._from_start)
        try:
            if isinstance(part, UnsoundLogError):
                raise part
            self._walk(part, findings, runs)
        except UnsoundLogError as error:
            findings.error = error
        findings.runs = runs.packed(self._task.buckets)
        return findings

    def notes(self, group: int) -> Findings:
        """The earlier checkpoints of one file: each must be of this log's history."""
        findings, path = Findings(), checkpoints_path(group)
        try:
            for note in self.export.items(path):
                self.extends(path, note)
                findings.checkpoints += 1
        except UnsoundLogError as error:
            findings.error = error
        return findings

    def gap(self, runs: bytes) -> Gap | None:
        """The first gap in the runs of one bucket."""
        return first_gap(runs, self._from_start)

    def broken(self, missing: Gap) -> BrokenLogError:
        """Return the error of a gap, with the name of its stream."""
        bundle = self.export.named(ENTRIES, missing.at >> TILE_HEIGHT)
        openings = islice(self.export.openings(bundle), missing.at % TILE_WIDTH, None)
        stream = orjson.loads(next(openings).header)["stream"]
        return gap(missing.at, stream, missing.version, missing.last)

    def extends(self, path: str, note: bytes) -> None:
        """Raise unless the log extends what a checkpoint states."""
        self._extends(open_earlier(path, note, self._task.keys))

    def extends_kept(self, path: str) -> None:
        """Raise unless the log extends the checkpoint in a file of whoever checks it.

        ``IncompleteLogError`` where the file says nothing: that is no fault of the log.
        """
        try:
            signed = open_earlier(path, self.export.read(path), self._task.keys)
        except BrokenLogError as error:
            raise IncompleteLogError(None, f"nothing can be told by {error}") from error
        self._extends(signed)

    def _extends(self, signed: Checkpoint) -> None:
        if signed.size > self.export.size:
            then, now = signed.size, self.export.size
            raise BrokenLogError(None, f"it had {then} entries before, and now {now}")
        if self.export.top(signed.size) != signed.root:
            raise BrokenLogError(None, f"another history of {signed.size} entries was signed")

    def below(self, part: Part) -> Iterator[Part]:
        """The tiles under a tile that are there; raises if it is not the one above's."""
        data = self.export.tile(part.level, part.index)
        if part.above is not None and tile_root(data) != part.above:
            tile = self.export.named(part.level, part.index)
            raise does_not_hold(tile.path, part.index << TILE_HEIGHT * (part.level + 1))
        first = part.index << TILE_HEIGHT
        for n in range(len(data) // HASH_SIZE if part.level else 0):
            if self._there(part.level - 1, first + n):
                above = data[n * HASH_SIZE : (n + 1) * HASH_SIZE]
                yield Part(part.level - 1, first + n, above)

    def _walk(self, part: Part, findings: Findings, runs: Runs) -> None:
        for child in self.below(part):
            self._walk(child, findings, runs)
        if part.level == 0 and self._there(ENTRIES, part.index):
            self._entries(self.export.named(ENTRIES, part.index), findings, runs)

    def _there(self, level: int, index: int) -> bool:
        """Whether a tile or bundle is there, or has to be."""
        shift, manifest = TILE_HEIGHT * (max(level, 0) + 1), self._task.manifest
        asked = index << shift < manifest.stop and index + 1 << shift > manifest.start
        return asked or self.export.find(level, index) is not None

    def _entries(self, bundle: Tile, findings: Findings, runs: Runs) -> None:
        start, leaves = bundle.index << TILE_HEIGHT, self.export.tile(0, bundle.index)
        entries = self.export.entries(bundle)
        other = _first_other(entries, leaves, start)
        for openings in _some(self.export.openings(bundle)):
            some = entries[: len(openings)]
            del entries[: len(openings)]
            if other is None and (vouch := all_vouched(some, openings)):
                self._follow(start, vouch.versions, runs)
                findings.held += len(some)
                findings.erased += vouch.erased
            else:
                self._one_by_one(start, other, zip(some, openings, strict=True), findings, runs)
            start += len(openings)

    def _one_by_one(
        self,
        start: int,
        other: int | None,
        pairs: Iterable[tuple[bytes, Opening]],
        findings: Findings,
        runs: Runs,
    ) -> None:
        for at, (entry, opening) in enumerate(pairs, start):
            if at == other:
                raise BrokenLogError(at, "another was signed")
            self._entry(LoggedEntry(at, entry, opening), findings, runs)

    def _entry(self, entry: LoggedEntry, findings: Findings, runs: Runs) -> None:
        """One entry, where not all of a bundle is there, or does not hold."""
        if not entry.opening.data:
            if self._task.manifest.start <= entry.index < self._task.manifest.stop:
                raise IncompleteLogError(entry.index, "its data were not handed out")
            if any(entry.opening):
                raise BrokenLogError(entry.index, "it is only left out in part")
            return
        vouch = vouched(entry.index, entry.entry, entry.opening)
        self._follow(entry.index, [(vouch.stream, vouch.version)], runs)
        findings.held += 1
        findings.erased += vouch.erased

    def _follow(self, start: int, versions: Iterable[tuple[str, int]], runs: Runs) -> None:
        if missing := runs.follow(start, versions):
            raise self.broken(missing)


class Workers:
    """Processes that check items of one export; with one, it is this process itself."""

    def __init__(self, task: Task, count: int) -> None:
        self.checker = Checker(task)
        self._ahead = AHEAD * count
        self._pool: ProcessPoolExecutor | None = None
        if count > 1:
            # Not forked: this process may have threads, such as that of a progress bar.
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(count, context, _start, (task,))

    def __enter__(self) -> Self:
        """The processes; ``with`` ends them."""
        return self

    def __exit__(self, *_: object) -> None:
        """End them; what was not begun is given up."""
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, method: Callable[[Checker, Any], T], items: Iterable[Any]) -> Iterator[T]:
        """The method's result for each item, in order; few are begun ahead."""
        if self._pool is None:
            yield from (method(self.checker, item) for item in items)
            return
        begun = deque[Future[T]]()
        try:
            for item in items:
                begun.append(self._pool.submit(_call, method, item))
                if len(begun) > self._ahead:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        except BrokenProcessPool as error:
            raise IncompleteLogError(None, "a process of the check was ended") from error


def _some(openings: Iterator[Opening]) -> Iterator[list[Opening]]:
    """Some at a time, as many as fit into memory; what fails comes after those before it."""
    some, size = list[Opening](), 0
    try:
        for opening in openings:
            some.append(opening)
            size += sum(map(len, opening))
            if size > AT_ONCE_BYTES:
                yield some
                some, size = [], 0
    except UnsoundLogError as error:
        if some:
            yield some
        raise error
    if some:
        yield some


def _first_other(entries: Sequence[bytes], leaves: bytes, start: int) -> int | None:
    """The index of the first entry that is there and has not the hash that was signed."""
    hashes = leaf_hashes(entries)
    if hashes == leaves:
        return None
    for n, entry in enumerate(entries):
        span = slice(n * HASH_SIZE, (n + 1) * HASH_SIZE)
        if entry and hashes[span] != leaves[span]:
            return start + n
    return None


_checker: Checker | None = None


def _start(task: Task) -> None:
    global _checker
    gc.disable()  # nothing here refers to itself, and looking for it takes a tenth of the time
    _checker = Checker(task)


def _call(method: Callable[[Checker, Any], T], item: Any) -> T:
    assert _checker is not None
    return method(_checker, item)
