"""Write the signed log as plain files, for any web server: tiles first, then the checkpoint.

Tiles of hashes alone: entries are for auditors, who fetch them with a key (docs/adr/0007).
"""

import asyncio

from infra.base.files import AlreadyRunningError, locked
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.tlog import tiles
from infra.tlog.merkle import verify_consistency
from infra.tlog.note import Checkpoint, Note
from infra.tlog.tilefiles import TileFiles
from services.audit.handlers.proofs import consistency
from services.audit.tables import tree
from services.audit.tables.tree import Signed


class Publisher:
    """Brings the files up to the newest checkpoint; goes on where it was stopped."""

    def __init__(self, database: Database, files: TileFiles, origin: str) -> None:
        self._database = database
        self._files = files
        self._origin = origin

    async def step(self) -> int:
        """Publish what is new; return how many files were written."""
        try:
            with locked(self._files.lock):
                return await self._publish()
        except AlreadyRunningError:  # another process of this service is at it
            return 0

    async def _publish(self) -> int:
        async with self._database.reading() as tx:
            signed = await tree.last_signed(tx, self._origin)
            published = self._files.checkpoint()
            if signed is None or signed.note == published:
                return 0
            old = await _published_size(tx, published, signed)

            written = 0
            for tile in tiles.tiles_between(old, signed.size):
                if not self._files.has(tile):
                    data = tiles.encode(tile, await tree.tile_contents(tx, tile))
                    await asyncio.to_thread(self._files.write, tile, data)
                    written += 1
                self._files.drop_partials(tile)
            await asyncio.to_thread(self._files.publish, signed.note)
            return written + 1


async def _published_size(tx: Transaction, published: bytes | None, signed: Signed) -> int:
    """Return how many entries are out already; ProofError where the log does not extend them.

    What is out stays out: the signer says what is wrong.
    """
    if published is None:
        return 0
    out = Checkpoint.parse(Note.parse(published).text)
    proof = await consistency(tx, out.size, signed.size)
    verify_consistency(out.size, signed.size, proof, out.root, signed.root)
    return out.size
