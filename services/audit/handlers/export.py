"""The log as exports read it, from its own tables; and what of it was asked for."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import BinaryIO

from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.tlog import tiles
from infra.tlog.commitment import Opening
from infra.tlog.export.layout import encode_frames
from infra.tlog.export.writer import ExportRefusedError
from infra.tlog.tiles import TILE_WIDTH, Tile
from services.audit.handlers.replay import AsOf, Log, Replay
from services.audit.model.replay import Subject
from services.audit.tables import queries, statements, tree
from services.audit.tables.tree import LogDamagedError

CHECKPOINTS_AT_ONCE = 1000
PIECE_BYTES = 16 * 1024 * 1024
"""Up to so much, what a bundle's entries commit to is read in one piece."""

ENTRIES_AT_ONCE = 8
"""Entries in a piece where it is more: few of the largest events."""


class StoredExport:
    """A source of exports: the audit service's own tables.

    Raises ``LogDamagedError`` where rows of the log are missing.
    """

    def __init__(self, database: Database, origin: str) -> None:
        self._database = database
        self._origin = origin

    async def checkpoint(self) -> bytes:
        """The newest one; raises ``ExportRefusedError`` before the first."""
        async with self._database.reading() as tx:
            signed = await tree.last_signed(tx, self._origin)
        if signed is None:
            raise ExportRefusedError("nothing is signed yet")
        return signed.note

    async def checkpoints(self, after: int, to: int) -> AsyncIterator[bytes]:
        """Those of more than ``after`` and at most ``to`` entries, oldest first."""
        while after < to:
            values = after, to, CHECKPOINTS_AT_ONCE, self._origin, PIECE_BYTES
            async with self._database.reading() as tx:
                rows = await tx.fetch(statements.CHECKPOINTS, *values)
            for _, note in rows:
                yield note
            after = rows[-1][0] if rows else to

    async def tile(self, tile: Tile) -> bytes:
        """A tile or an entry bundle."""
        async with self._database.reading() as tx:
            return tiles.encode(tile, await tree.tile_contents(tx, tile))

    async def payload(self, bundle: Tile, file: BinaryIO) -> None:
        """Write what each entry of a bundle commits to."""
        pieces = await payload_of(self._database, bundle)
        async for piece in pieces:
            file.write(piece)


async def payload_of(database: Database, bundle: Tile) -> AsyncGenerator[bytes, None]:
    """What the entries of a bundle commit to, in pieces; raises ``LogDamagedError`` at once."""
    start = bundle.index * TILE_WIDTH
    stop = start + bundle.width
    async with database.reading() as tx:
        ((count, size),) = await tx.fetch(statements.PAYLOAD_SIZE, start, stop)
    if count != bundle.width:
        raise LogDamagedError(f"{bundle.path} has {count} of {bundle.width} payloads")
    return _pieces(database, start, stop, size)


async def _pieces(
    database: Database, start: int, stop: int, size: int
) -> AsyncGenerator[bytes, None]:
    step = stop - start if size <= PIECE_BYTES else ENTRIES_AT_ONCE
    for first in range(start, stop, step):
        async with database.reading() as tx:
            rows = await tx.fetch(statements.PAYLOAD, first, min(first + step, stop))
        parts = (part for row in rows for part in opening_of(*row))
        yield await asyncio.to_thread(encode_frames, parts)


def opening_of(
    salt: bytes, sealed_salt: bytes | None, header: bytes, data: str, sealed: bytes | None
) -> Opening:
    """Return what an entry commits to, from columns of its row."""
    salts = salt + sealed_salt if sealed and sealed_salt else salt
    return Opening(salts, header, data.encode(), sealed or b"")


async def indices_of(log: Log, subject: Subject, size: int) -> tuple[int, ...]:
    """Which entries concern a person or a case; raises ``UnknownSubjectError``."""
    replay = Replay(log, subject, AsOf(size))
    indices: list[int] = []
    async for page in log.pages(await replay.span()):
        indices += [seen.row.at for seen in await replay.seen(page)]
    return tuple(indices)


async def span_between(
    tx: Transaction, since: datetime, until: datetime, size: int
) -> tuple[int, int]:
    """First and last (excluded) index of what was recorded in a time; 0 and 0 for nothing."""
    (span,) = await tx.select(queries.span_between(since, until, size))
    return span.start, span.stop
