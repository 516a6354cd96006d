"""Check an export in a directory, with the log's public key alone, on all processors.

The tree is walked from the root down: each full tile is compared with its hash in the tile
above, the entries with the tiles of level 0. What lies under one tile of level 1 (65,536
entries) is one part, checked by one process; parts are taken in the log's order, so that what
is reported is what one process alone would have found first. Memory is flat.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.tlog.checks import (
    BrokenLogError,
    IncompleteLogError,
    Outcome,
    Progress,
    UnsoundLogError,
    Verdict,
    open_earlier,
    open_newest,
    other_entries,
    trusting,
)
from infra.tlog.export.layout import (
    CHECKPOINT,
    GROUP_HEIGHT,
    MANIFEST,
    Manifest,
    Selection,
    checkpoints_path,
)
from infra.tlog.export.reader import Exported, does_not_hold
from infra.tlog.policy import Policy
from infra.tlog.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, parse_path
from infra.tlog.verify.parts import Checker, Part, Task, Workers
from infra.tlog.verify.streams import Buckets, bucket_count, earliest

PART_LEVEL = 1


def verify_export(
    folder: Path,
    vkeys: Sequence[str],
    *,
    last: Path | None = None,
    policy: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Check the export in a directory.

    ``last``: a checkpoint kept from before, which the log must extend; ``policy``: a file
    of further keys, and of witnesses that must have cosigned its checkpoint; ``workers``:
    processes, one a processor by default. ``progress`` is told how many entries are checked,
    out of how many.
    """
    check: Check | None = None
    try:
        check = Check(folder, trusting(vkeys, policy))
        with Workers(check.task, check.processes(workers)) as running:
            check.run(running, last, progress)
    except UnsoundLogError as error:
        return _verdict(check, error.outcome, error.reason, error.at)
    held, size = check.manifest.entries, check.signed.size
    reason = f"{held} of {size} entries are as signed, {check.erased} sealed parts erased"
    return _verdict(check, Outcome.INTACT, reason)


class Check:
    """A running check; every step raises ``UnsoundLogError`` at what does not hold."""

    def __init__(self, folder: Path, trusted: Policy) -> None:
        note = Exported(folder, 0).read(CHECKPOINT)
        self.signed, keys = open_newest(CHECKPOINT, note, trusted)
        self.manifest: Manifest = Exported(folder, 0).manifest()
        if max(self.manifest.stop, self.manifest.entries) > self.signed.size:
            raise does_not_hold(MANIFEST)
        buckets = bucket_count(self.manifest.entries)
        self.task = Task(
            folder, self.signed.size, manifest=self.manifest, keys=keys, buckets=buckets
        )
        self.held = self.erased = 0

    def processes(self, wanted: int | None) -> int:
        """How many are worth starting."""
        parts = -(-self.manifest.entries >> GROUP_HEIGHT)
        return max(1, min(wanted or os.cpu_count() or 1, parts))

    def run(self, workers: Workers, last: Path | None, progress: Progress | None) -> None:
        """All of it."""
        checker = workers.checker
        if checker.export.top(self.signed.size) != self.signed.root:
            self._narrow_down(checker)
        self._check_entries(workers, progress)

        count = 0
        for findings in workers.map(Checker.notes, self._span().groups()):
            if findings.error:
                raise findings.error
            count += findings.checkpoints
        if count != self.manifest.checkpoints:
            raise does_not_hold(MANIFEST)

        if last:
            checker.extends_kept(str(last.resolve()))
        if self.erased != self.manifest.erased:
            raise does_not_hold(MANIFEST)

        groups = {checkpoints_path(group) for group in self._span().groups()}
        known = (path for path in checker.export.files() if path not in groups)
        if others := [path for path in known if not _belongs(checker.export, path)]:
            named = checker.export.folder / min(others)
            raise BrokenLogError(None, f"{named} is not part of the export")

    def _check_entries(self, workers: Workers, progress: Progress | None) -> None:
        error: UnsoundLogError | None = None
        with Buckets(self.task.buckets) as buckets:
            for findings in workers.map(Checker.part, self._parts(workers.checker)):
                self.held += findings.held
                self.erased += findings.erased
                buckets.add(findings.runs)
                if progress:
                    progress(self.held, self.manifest.entries)
                if error := findings.error:
                    break
            first = earliest(workers.map(Checker.gap, buckets))
        if first and (error is None or error.at is None or first.at < error.at):
            raise workers.checker.broken(first)
        if error:
            raise error
        if self.held != self.manifest.entries:
            reason = f"{self.held} of {self.manifest.entries} entries are here"
            raise IncompleteLogError(None, reason)

    def _parts(self, checker: Checker) -> Iterator[Part | UnsoundLogError]:
        """The parts, in the log's order; what does not hold above them takes their place."""
        try:
            level = self.signed.size.bit_length() // TILE_HEIGHT
            while level >= 0:
                if self.signed.size >> TILE_HEIGHT * level & TILE_WIDTH - 1:
                    edge = self.signed.size >> TILE_HEIGHT * (level + 1)
                    yield from self._parts_below(checker, Part(level, edge, None))
                level -= 1
        except UnsoundLogError as error:
            yield error

    def _parts_below(self, checker: Checker, part: Part) -> Iterator[Part]:
        if part.level <= PART_LEVEL:
            yield part
            return
        for child in checker.below(part):
            yield from self._parts_below(checker, child)

    def _narrow_down(self, checker: Checker) -> None:
        """Raise, naming the entries between the last checkpoint that holds and the next."""
        proven, export = 0, checker.export
        for group in self._span().groups():
            path = checkpoints_path(group)
            for note in export.items(path):
                signed = open_earlier(path, note, self.task.keys)
                if export.top(signed.size) != signed.root:
                    raise other_entries(proven, signed.size)
                proven = signed.size
        raise other_entries(proven, self.signed.size)

    def _span(self) -> Selection:
        return Selection(self.signed.size, self.manifest.start, self.manifest.stop)


def _belongs(export: Exported, path: str) -> bool:
    """Whether a file is a tile that the one above vouches for, or stands beside such a tile."""
    try:
        tile = parse_path(path.replace("payload/", "tile/entries/", 1))
        level, index = (0, tile.index) if tile.level == ENTRIES else (tile.level, tile.index)
        if tile.width != export.named(level, index).width:
            return False
    except ValueError:
        return False
    if tile.level == ENTRIES or tile.width < TILE_WIDTH:
        return export.find(level, index) is not None
    return export.find(level + 1, index >> TILE_HEIGHT) is not None


def _verdict(
    check: Check | None, outcome: Outcome, reason: str, at: int | None = None
) -> Verdict:
    if check is None:
        return Verdict(outcome, reason, at)
    signed = check.signed
    return Verdict(
        outcome,
        reason,
        at,
        checked=check.held,
        size=signed.size,
        erased=check.erased,
        root=signed.root,
    )
