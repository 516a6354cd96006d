"""The log over HTTP: checkpoint and tiles of hashes for everybody; entries for auditors."""

import asyncio
import gzip
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy import Row

from contracts.audit import Checkpoints, Entries, LogDescription
from infra.base.clock import rfc3339
from infra.tlog import tiles
from infra.tlog.note import MAX_SIZE
from infra.tlog.tiles import ENTRIES, Tile
from infra.web.problems import NotFound, raises
from services.audit.handlers.signing import Signing
from services.audit.handlers.witnessing import Witnesses
from services.audit.problems import LogDamaged
from services.audit.routes.common import (
    BINARY,
    BYTES,
    MAX_LIMIT,
    ONLY_AUDITORS,
    Index,
    PageSize,
    Reading,
    SignedNow,
    encoded,
    keys_of,
    tile_named,
)
from services.audit.routes.problems import no_tile
from services.audit.tables import queries, statements, tree
from services.audit.tables.tree import Signed

BRIEF = {"cache-control": "public, max-age=1"}
FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
AUDITORS = {"cache-control": "private, max-age=31536000, immutable"}
TEXT = "text/plain; charset=utf-8"
GZIP_LEVEL = 6
PAGE_BYTES = 8 * 1024 * 1024
"""Data and sealed parts on a page of entries, or checkpoints on one; one in any case."""

router = APIRouter()


@router.get("/v1/log", tags=["log"], response_model=LogDescription)
@raises(LogDamaged)
async def describe_log(request: Request, tx: Reading) -> dict[str, Any]:
    """The log's name, all keys it was ever signed with, its size, how much of it is signed."""
    signing: Signing = request.app.state.signing
    witnesses: Witnesses = request.app.state.witnesses
    keys = signing.keys
    last = await tree.last_signed(tx, keys.origin)
    return {
        "origin": keys.origin,
        "vkey": keys.newest().encode(),
        "keys": [
            {
                "vkey": key.vkey.encode(),
                "algorithm": key.vkey.algorithm,
                "from": rfc3339(key.since),
                "until": rfc3339(key.until) if key.until else None,
            }
            for key in keys.all()
        ],
        "witnesses": [
            {
                "name": name,
                "vkey": party.vkey.encode(),
                "size": await witness.cosigned(tx, party.vkey),
                "alarm": witness.alarm,
            }
            for witness in witnesses.all
            for name, party in witness.parties.items()
        ],
        "size": (await tree.load_frontier(tx)).size,
        "signed_size": last.size if last else None,
        "root": encoded(last.root) if last else None,
        "refusal": signing.refusal,
    }


@router.head("/checkpoint", include_in_schema=False)
@router.get("/checkpoint", tags=["log"], response_class=PlainTextResponse)
@raises(NotFound)
async def get_checkpoint(signed: SignedNow) -> Response:
    """The newest signed checkpoint, with the cosignatures there are (C2SP tlog-checkpoint)."""
    return Response(signed.note, headers=BRIEF, media_type=TEXT)


@router.get("/v1/checkpoints", tags=["log"], response_model=Checkpoints)
@raises(NotFound)
async def list_checkpoints(
    request: Request,
    tx: Reading,
    after: Index = 0,
    to: Index = MAX_SIZE,
    limit: PageSize = MAX_LIMIT,
) -> dict[str, Any]:
    """Signed checkpoints of more than ``after`` and at most ``to`` entries, oldest first.

    As many as fit on a page; there are no more where it is empty.
    """
    origin = keys_of(request).origin
    values = (after, to, limit, origin, PAGE_BYTES)
    rows = await tx.fetch(statements.CHECKPOINTS, *values)
    return {"checkpoints": [{"size": size, "note": note.decode()} for size, note in rows]}


@router.head("/tile/entries/{path:path}", include_in_schema=False, dependencies=ONLY_AUDITORS)
@router.get(
    "/tile/entries/{path:path}",
    tags=["log"],
    dependencies=ONLY_AUDITORS,
    response_class=Response,
    responses=BINARY,
)
@raises(LogDamaged)
async def get_bundle(request: Request, path: str, tx: Reading, signed: SignedNow) -> Response:
    """An entry bundle (C2SP tlog-tiles), never beyond what is signed."""
    data = await _contents(tile_named(f"entries/{path}"), tx, signed)
    # hexadecimal text, packed where it may be; no shared cache keeps it
    headers = {**AUDITORS, "vary": "accept-encoding, authorization"}
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        data = gzip.compress(data, GZIP_LEVEL, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(data, headers=headers, media_type=BYTES)


@router.head("/tile/{path:path}", include_in_schema=False)
@router.get(
    "/tile/{path:path}",
    tags=["log"],
    response_class=Response,
    responses=BINARY,
)
@raises(LogDamaged)
async def get_tile(path: str, tx: Reading, signed: SignedNow) -> Response:
    """A tile of hashes (C2SP tlog-tiles), never beyond what is signed."""
    tile = tile_named(path)
    if tile.level == ENTRIES:  # whatever way leads here: bundles are for auditors
        raise no_tile()
    return Response(await _contents(tile, tx, signed), headers=FOREVER, media_type=BYTES)


async def _contents(tile: Tile, tx: Reading, signed: Signed) -> bytes:
    if tile.width > tiles.tile_width(tile.level, tile.index, signed.size):
        raise no_tile()
    return tiles.encode(tile, await tree.tile_contents(tx, tile))


@router.get(
    "/v1/entries",
    tags=["log"],
    dependencies=ONLY_AUDITORS,
    response_class=Response,
    responses={200: {"model": Entries}},
)
@raises(LogDamaged)
async def list_entries(
    request: Request,
    tx: Reading,
    start: Annotated[Index, Query(alias="from")] = 0,
    limit: PageSize = 500,
) -> Response:
    """Entries in log order, with what each commits to, and the salts that show it."""
    rows = await tx.select(queries.entries_page(start, limit, PAGE_BYTES))
    following = rows[-1].idx + 1 if rows else 0
    more = len(rows) == limit or following < (await tree.load_frontier(tx)).size
    prefix = request.scope.get("root_path", "")  # where services share one address
    following_path = f"{prefix}/v1/entries?from={following}&limit={limit}"
    next_path = following_path if rows and more else None

    def page() -> bytes:
        return orjson.dumps({"entries": [_entry(row) for row in rows], "next": next_path})

    return Response(await asyncio.to_thread(page), media_type="application/json")


def _takes_gzip(accepted: str) -> bool:
    for coding in accepted.replace(" ", "").lower().split(","):
        name, _, weight = coding.partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or weight == ""
    return False


def _entry(row: Row[Any]) -> dict[str, Any]:
    return {
        "idx": row.idx,
        "entry": encoded(row.entry),
        "leaf_hash": encoded(row.leaf_hash),
        "position": row.position,
        "header": row.header.decode(),
        "data": row.data,
        "sealed": encoded(row.sealed) if row.sealed else None,
        "salt": encoded(row.salt),
        "sealed_salt": encoded(row.sealed_salt) if row.sealed else None,
    }
