"""What the audit service's routes share."""

import base64
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from infra.postgres.database import Database
from infra.tlog import tiles
from infra.tlog.keyring import LogKeys
from infra.tlog.note import MAX_SIZE
from infra.tlog.tiles import Tile
from infra.web.auth import RequireRole
from infra.web.problems import NotFound
from services.audit.handlers.replay import AsOf, StoredLog
from services.audit.handlers.signing import Signing
from services.audit.routes.problems import NEVER, no_tile, nonsense
from services.audit.tables import tree
from services.audit.tables.tree import Signed

MAX_LIMIT = 1000
BYTES = "application/octet-stream"
STRING = {"schema": {"type": "string"}}
BINARY: dict[int | str, dict[str, Any]] = {
    200: {"content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}
}
"""How answers that are not JSON are described."""
ONLY_AUDITORS = [Depends(RequireRole("auditor"))]
Index = Annotated[int, Query(ge=0, le=MAX_SIZE)]
PageSize = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


async def _transaction(request: Request) -> AsyncIterator[Any]:
    database: Database = request.app.state.service.database
    async with database.reading() as tx:
        yield tx


Reading = Annotated[Any, Depends(_transaction)]


def keys_of(request: Request) -> LogKeys:
    """The log's keys, and its name."""
    signing: Signing = request.app.state.signing
    return signing.keys


async def signed_now(request: Request, tx: Reading) -> Signed:
    """The newest checkpoint; raises ``Problem`` 404 before the first."""
    signed = await tree.last_signed(tx, keys_of(request).origin)
    if signed is None:
        raise NotFound("Nothing is signed yet", headers=NEVER)
    return signed


SignedNow = Annotated[Signed, Depends(signed_now)]


async def as_of_then(log: StoredLog, at: int | None, as_of: datetime | None) -> AsOf:
    """Up to where a caller wants to look; raises ``Problem`` 422 if that makes no sense."""
    size = await log.size()
    if at is not None and as_of is not None:
        raise nonsense("as_of", "give at or as_of, not both")
    try:
        return AsOf(size, as_of) if at is None else AsOf.at(at, size)
    except ValueError as error:
        raise nonsense("at", str(error)) from None


def tile_named(path: str) -> Tile:
    """The tile or entry bundle of a path below ``tile/``; raises ``Problem`` 404."""
    try:
        return tiles.parse_path(f"tile/{path}")
    except ValueError:
        raise no_tile() from None


def encoded(value: bytes) -> str:
    """As base64."""
    return base64.b64encode(value).decode()


def all_encoded(values: Sequence[bytes]) -> list[str]:
    """Each as base64."""
    return [encoded(value) for value in values]
