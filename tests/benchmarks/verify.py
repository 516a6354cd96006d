"""Checking an export: every leaf, digest, version and tile, on all processors."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.tlog.audit import Outcome
from infra.tlog.export import Export, Wanted
from infra.tlog.layout import Selection
from infra.tlog.offline import verify_export
from tests.benchmarks.measure import Run, compare
from tests.support.exports import VKEY, Logged, MemoryLog, logged

ENTRIES = 6 * 65_536
"""Six parts, so that every process has some."""


class HashedLog(MemoryLog):
    """A log that is hashed once."""

    def __init__(self, entries: list[Logged]) -> None:
        super().__init__(entries)
        self._hashes = super().leaves(len(entries))

    def leaves(self, size: int) -> list[bytes]:
        """Leaf hashes."""
        return self._hashes[:size]


async def main() -> None:
    """verify."""
    log = HashedLog([logged(n, f"case-{n // 4}", n % 4 + 1, n // 4) for n in range(ENTRIES)])
    hashing = _hashing([each.entry for each in log.entries])
    with TemporaryDirectory(prefix="aiguillage-bench-") as directory:
        folder = Path(directory) / "export"
        await Export(log, folder, Wanted({}, _everything)).run([VKEY])
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
