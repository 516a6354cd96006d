"""Checking an export: every leaf, digest, version and tile, on all processors."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.tlog import tiles
from infra.tlog.checks import Outcome
from infra.tlog.export.layout import Selection
from infra.tlog.export.writer import Export, Wanted
from infra.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, tile_hash
from infra.tlog.verify.offline import verify_export
from infra.workers.event_loop import settle_memory
from tests.benchmarks.measure import Run, compare
from tests.support.exports import VKEY, Logged, MemoryLog, logged

ENTRIES = 16 * 65_536
"""Sixteen parts: the processes' start counts, as it does for a log of some years."""


class HashedLog(MemoryLog):
    """A log that is hashed once."""

    def __init__(self, entries: list[Logged]) -> None:
        super().__init__(entries)
        self._levels = [super().leaves(len(entries))]
        while full := len(below := self._levels[-1]) >> TILE_HEIGHT:
            starts = range(0, full << TILE_HEIGHT, TILE_WIDTH)
            self._levels.append([tile_hash(below[n : n + TILE_WIDTH]) for n in starts])

    def leaves(self, size: int) -> list[bytes]:
        """Leaf hashes."""
        return self._levels[0][:size]

    async def tile(self, tile: Tile) -> bytes:
        if tile.level == tiles.ENTRIES:
            return await super().tile(tile)
        start = tile.index << TILE_HEIGHT
        return tiles.encode_tile(self._levels[tile.level][start : start + tile.width])


async def main() -> None:
    """verify."""
    log = HashedLog([logged(n, f"case-{n // 4}", n % 4 + 1, n // 4) for n in range(ENTRIES)])
    hashing = _hashing([each.entry for each in log.entries])
    with TemporaryDirectory(prefix="aiguillage-bench-") as directory:
        folder = Path(directory) / "export"
        await Export(log, folder, Wanted({}, _everything)).run([VKEY])
        settle_memory()  # whoever checks an export does not hold its log in memory as well
        peer = "sha256 of each entry alone"
        await compare("verify", _verifying(folder), peer, hashing, "leaves/s")


async def _everything(size: int) -> Selection:
    return Selection(size, 0, size)


def _verifying(folder: Path) -> Run:
    async def run() -> int:
        verdict = verify_export(folder, [VKEY])
        assert verdict.outcome is Outcome.INTACT, str(verdict)
        return verdict.checked

    return run


def _hashing(entries: Sequence[bytes]) -> Run:
    async def run() -> int:
        for entry in entries:
            hashlib.sha256(b"\0" + entry).digest()
        return len(entries)

    return run
