"""Proving that an entry is in the log: from the service's table, and from an export's files."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.tlog import merkle, tiles
from infra.tlog.export.layout import Selection
from infra.tlog.export.reader import Exported
from infra.tlog.export.writer import Export, Wanted
from infra.tlog.tiles import Tile
from services.audit.handlers.proofs import inclusion
from services.audit.tables import queries
from tests.benchmarks.hub_log import EVENTS_OF_A_CASE, HubLog, hub_log
from tests.benchmarks.measure import Run, bench, compare
from tests.benchmarks.verify import HashedLog
from tests.support.exports import VKEY, log_of

CASES, STORED_PROOFS = 2000, 500
ENTRIES, FILE_PROOFS = 20_000, 1000


def stored(hub: HubLog, size: int) -> Run:
    """From rows, as the service answers them."""

    async def run() -> int:
        for index in random.sample(range(size), STORED_PROOFS):
            async with hub.database.reading() as tx:
                await inclusion(tx, index, size)
        return STORED_PROOFS

    return run


def looked_up(hub: HubLog, size: int) -> Run:
    """One row by its key: what any answer from the table costs."""

    async def run() -> int:
        for index in random.sample(range(size), STORED_PROOFS):
            async with hub.database.reading() as tx:
                await tx.select(queries.leaf_hash_at(index))
        return STORED_PROOFS

    return run


def from_files(export: Exported) -> Run:
    """From tiles that lie in a directory, by whoever holds them."""

    def contents(tile: Tile) -> list[bytes]:
        return tiles.decode_tile(export.tile(tile.level, tile.index))

    async def run() -> int:
        read = tiles.reader(export.size, contents)
        for index in random.sample(range(export.size), FILE_PROOFS):
            merkle.fold_plan(
                plan := merkle.node_ids_inclusion(index, export.size),
                read(merkle.plan_nodes(plan)),
            )
        return FILE_PROOFS

    return run


def opened(export: Exported) -> Run:
    """One tile of hashes, opened and read."""

    async def run() -> int:
        for index in random.sample(range(export.size), FILE_PROOFS):
            (export.folder / export.named(0, index >> 8).path).read_bytes()
        return FILE_PROOFS

    return run


async def main() -> None:
    """proof, proof.files."""
    async with bench() as place, hub_log(place) as hub:
        size = CASES * EVENTS_OF_A_CASE
        await hub.happen(CASES)
        await hub.sequence()
        peer = looked_up(hub, size)
        await compare("proof", stored(hub, size), "one row by its key", peer, "proofs/s")
    with TemporaryDirectory(prefix="aiguillage-bench-") as directory:
        folder = Path(directory) / "export"
        await Export(HashedLog(log_of(ENTRIES)), folder, Wanted({}, _everything)).run([VKEY])
        export = Exported.open(folder)
        peer = opened(export)
        await compare(
            "proof.files", from_files(export), "reading one tile's file", peer, "proofs/s"
        )


async def _everything(size: int) -> Selection:
    return Selection(size, 0, size)
