"""The log as exports read it, from its own tables; and what of it was asked for."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from infra.database import Database, driver
from infra.tlog import tiles
from infra.tlog.export import ExportRefusedError
from infra.tlog.layout import encode_frames
from infra.tlog.tiles import TILE_WIDTH, Tile
from services.audit import tables
from services.audit.handlers.replay import AsOf, Log, Replay
from services.audit.model.replay import Subject
from services.audit.tables import LogDamagedError

CHECKPOINTS_AT_ONCE = 1000


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
            signed = await tables.last_signed(await driver(tx), self._origin)
        if signed is None:
            raise ExportRefusedError("nothing is signed yet")
        return signed.note

    async def checkpoints(self, after: int, to: int) -> AsyncIterator[bytes]:
        """Those of more than ``after`` and at most ``to`` entries, oldest first."""
        while after < to:
            values = after, to, CHECKPOINTS_AT_ONCE, self._origin
            rows = await self._database.rows(tables.CHECKPOINTS, *values)
            for row in rows:
                yield row["note"]
            after = rows[-1]["size"] if len(rows) == CHECKPOINTS_AT_ONCE else to

    async def tile(self, tile: Tile) -> bytes:
        """A tile or an entry bundle."""
        async with self._database.reading() as tx:
            return tiles.encode(tile, await tables.tile_contents(await driver(tx), tile))

    async def payload(self, bundle: Tile) -> bytes:
        """Data and sealed part of each entry of a bundle."""
        async with self._database.reading() as tx:
            return await payload_of(await driver(tx), bundle)


async def payload_of(raw: Any, bundle: Tile) -> bytes:
    """What the entries of a bundle vouch for; raises ``LogDamagedError``."""
    start = bundle.index * TILE_WIDTH
    rows = await raw.fetch(tables.PAYLOAD, start, start + bundle.width)
    if len(rows) != bundle.width:
        raise LogDamagedError(f"{bundle.path} has {len(rows)} of {bundle.width} payloads")
    return encode_frames(
        p for row in rows for p in (row["data"].encode(), row["sealed"] or b"")
    )


async def indices_of(log: Log, subject: Subject, size: int) -> tuple[int, ...]:
    """Which entries concern a person or a case; raises ``UnknownSubjectError``."""
    replay = Replay(log, subject, AsOf(size))
    found: list[int] = []
    async for page in log.pages(await replay.span()):
        found += [seen.row.at for seen in replay.taken(page)]
    return tuple(found)


async def span_between(
    raw: Any, since: datetime, until: datetime, size: int
) -> tuple[int, int]:
    """First and last (excluded) index of what was recorded in a time; 0 and 0 for nothing."""
    row = await raw.fetchrow(tables.SPAN, size, since, until)
    return row["start"] or 0, row["stop"] or 0
