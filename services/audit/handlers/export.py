"""The log as exports read it, from its own tables; and what of it was asked for."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from datetime import datetime
from typing import Any, BinaryIO

from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.tlog import tiles
from infra.tlog.commitment import Opening
from infra.tlog.export.layout import encode_frames
from infra.tlog.export.writer import ExportRefusedError
from infra.tlog.tiles import TILE_WIDTH, Tile
from services.audit import tables
from services.audit.handlers.replay import AsOf, Log, Replay
from services.audit.model.replay import Subject
from services.audit.tables import LogDamagedError

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
            signed = await tables.last_signed(tx, self._origin)
        if signed is None:
            raise ExportRefusedError("nothing is signed yet")
        return signed.note

    async def checkpoints(self, after: int, to: int) -> AsyncIterator[bytes]:
        """Those of more than ``after`` and at most ``to`` entries, oldest first."""
        while after < to:
            values = after, to, CHECKPOINTS_AT_ONCE, self._origin, PIECE_BYTES
            rows = await self._database.rows(tables.CHECKPOINTS, *values)
            for row in rows:
                yield row["note"]
            after = rows[-1]["size"] if rows else to

    async def tile(self, tile: Tile) -> bytes:
        """A tile or an entry bundle."""
        async with self._database.reading() as tx:
            return tiles.encode(tile, await tables.tile_contents(tx, tile))

    async def payload(self, bundle: Tile, file: BinaryIO) -> None:
        """Write what each entry of a bundle commits to."""
        pieces = await payload_of(self._database, bundle)
        async for piece in pieces:
            file.write(piece)


async def payload_of(database: Database, bundle: Tile) -> AsyncGenerator[bytes, None]:
    """What the entries of a bundle commit to, in pieces; raises ``LogDamagedError`` at once."""
    start = bundle.index * TILE_WIDTH
    stop = start + bundle.width
    (found,) = await database.rows(tables.PAYLOAD_SIZE, start, stop)
    if found["count"] != bundle.width:
        raise LogDamagedError(f"{bundle.path} has {found['count']} of {bundle.width} payloads")
    return _pieces(database, start, stop, found["bytes"])


async def _pieces(
    database: Database, start: int, stop: int, size: int
) -> AsyncGenerator[bytes, None]:
    step = stop - start if size <= PIECE_BYTES else ENTRIES_AT_ONCE
    for first in range(start, stop, step):
        rows = await database.rows(tables.PAYLOAD, first, min(first + step, stop))
        yield await asyncio.to_thread(_frames, rows)


def _frames(rows: Iterable[Any]) -> bytes:
    return encode_frames(part for row in rows for part in opening_of(row))


def opening_of(row: Any) -> Opening:
    """What an entry commits to, from its row."""
    sealed = row["sealed"] or b""
    salts = row["salt"] + (row["sealed_salt"] if sealed else b"")
    return Opening(salts, row["header"], row["data"].encode(), sealed)


async def indices_of(log: Log, subject: Subject, size: int) -> tuple[int, ...]:
    """Which entries concern a person or a case; raises ``UnknownSubjectError``."""
    replay = Replay(log, subject, AsOf(size))
    found: list[int] = []
    async for page in log.pages(await replay.span()):
        found += [seen.row.at for seen in await replay.seen(page)]
    return tuple(found)


async def span_between(
    tx: Transaction, since: datetime, until: datetime, size: int
) -> tuple[int, int]:
    """First and last (excluded) index of what was recorded in a time; 0 and 0 for nothing."""
    (row,) = await tx.fetch(tables.SPAN, size, since, until)
    return row["start"] or 0, row["stop"] or 0
