"""The log over HTTP: checkpoint and tiles for everybody; entries for auditors."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import AwareDatetime

from contracts.audit import Checkpoints, Entries, EntrySpan, LogDescription
from infra.database import driver
from infra.eventstore.events import rfc3339
from infra.tlog import tiles
from infra.tlog.note import MAX_SIZE, Signer
from infra.tlog.tiles import ENTRIES, TILE_WIDTH, Tile
from infra.web.auth import RequireRole
from infra.web.problems import Problem
from services.audit import tables
from services.audit.handlers.export import payload_of, span_between
from services.audit.routes.common import (
    MAX_LIMIT,
    NEVER,
    Index,
    Limit,
    Reading,
    encoded,
    signed_now,
)

BRIEF = {"cache-control": "public, max-age=1"}
FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
PARTIAL = {"cache-control": "public, max-age=3600"}  # true for ever, but soon superseded
ONLY_AUDITORS = [Depends(RequireRole("auditor"))]

router = APIRouter()


@router.get("/v1/log", tags=["log"], response_model=LogDescription)
async def describe_log(request: Request, tx: Reading) -> dict[str, Any]:
    """The log's name, its public key, its size, and how much of it is signed."""
    signer: Signer = request.app.state.log_signer
    raw = await driver(tx)
    last = await tables.last_signed(raw)
    return {
        "origin": signer.vkey.name,
        "vkey": signer.vkey.encode(),
        "size": (await tables.load_frontier(raw)).size,
        "signed_size": last.size if last else None,
        "root": encoded(last.root) if last else None,
    }


@router.get("/checkpoint", tags=["log"], response_class=PlainTextResponse)
async def get_checkpoint(tx: Reading) -> Response:
    """The newest signed checkpoint (C2SP tlog-checkpoint)."""
    note = (await signed_now(tx)).note
    return Response(note, headers=BRIEF, media_type="text/plain; charset=utf-8")


@router.get("/v1/checkpoints", tags=["log"], response_model=Checkpoints)
async def list_checkpoints(
    tx: Reading, after: Index = 0, to: Index = MAX_SIZE, limit: Limit = MAX_LIMIT
) -> dict[str, Any]:
    """Signed checkpoints of more than ``after`` and at most ``to`` entries, oldest first."""
    rows = await (await driver(tx)).fetch(tables.CHECKPOINTS, after, to, limit)
    return {"checkpoints": [{"size": r["size"], "note": r["note"].decode()} for r in rows]}


@router.get(
    "/tile/{path:path}", tags=["log"], response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)  # fmt: skip
async def get_tile(path: str, tx: Reading) -> Response:
    """A tile or an entry bundle (C2SP tlog-tiles), never beyond what is signed."""
    tile = _tile(path)
    if tile.width > tiles.tile_width(tile.level, tile.index, (await signed_now(tx)).size):
        raise _no_tile()
    contents = await tables.tile_contents(await driver(tx), tile)
    encode = tiles.encode_bundle if tile.level == ENTRIES else tiles.encode_tile
    headers = FOREVER if tile.width == TILE_WIDTH else PARTIAL
    return Response(encode(contents), headers=headers, media_type="application/octet-stream")


@router.get(
    "/v1/entries", tags=["log"], dependencies=ONLY_AUDITORS,
    response_class=Response, responses={200: {"model": Entries}},
)  # fmt: skip
async def list_entries(
    request: Request,
    tx: Reading,
    start: Annotated[Index, Query(alias="from")] = 0,
    limit: Limit = 500,
) -> Response:
    """Entries in log order, with what each vouches for: clear data, and sealed as stored."""
    rows = await (await driver(tx)).fetch(tables.READ_ENTRIES, start, limit)
    following = rows[-1]["idx"] + 1 if len(rows) == limit else None
    page: dict[str, Any] = {"entries": [_entry(row) for row in rows], "next": None}
    if following is not None:
        prefix = request.scope.get("root_path", "")  # where services share one address
        page["next"] = f"{prefix}/v1/entries?from={following}&limit={limit}"
    return Response(orjson.dumps(page), media_type="application/json")


@router.get(
    "/v1/payload/{path:path}", tags=["log"], dependencies=ONLY_AUDITORS,
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)  # fmt: skip
async def get_payload(path: str, tx: Reading) -> Response:
    """What the entries of the bundle of this name vouch for: data, and sealed as stored.

    Each after its length in 4 bytes, big-endian, data and sealed part in turn; 0 stands for a
    sealed part that never was, or was erased.
    """
    bundle = _tile(f"entries/{path}")
    if bundle.width > tiles.tile_width(ENTRIES, bundle.index, (await signed_now(tx)).size):
        raise _no_tile()
    payload = await payload_of(await driver(tx), bundle)
    return Response(payload, headers=NEVER, media_type="application/octet-stream")


@router.get("/v1/span", tags=["log"], dependencies=ONLY_AUDITORS, response_model=EntrySpan)
async def get_span(tx: Reading, since: AwareDatetime, until: AwareDatetime) -> dict[str, int]:
    """The entries of the signed log from the first to the last recorded in a time.

    ``stop`` is the index after the last one; both are 0 where nothing was recorded.
    """
    size = (await signed_now(tx)).size
    start, stop = await span_between(await driver(tx), since, until, size)
    return {"start": start, "stop": stop}


def _tile(path: str) -> Tile:
    try:
        return tiles.parse_path(f"tile/{path}")
    except ValueError:
        raise _no_tile() from None


def _no_tile() -> Problem:
    return Problem(404, "not-found", "No such tile", headers=NEVER)


def _entry(row: Any) -> dict[str, Any]:
    return {
        "idx": row["idx"],
        "entry": encoded(row["entry"]),
        "leaf_hash": encoded(row["leaf_hash"]),
        "position": row["position"],
        "event": _header(row),
        "data": row["data"],
        "sealed": encoded(row["sealed"]) if row["sealed"] is not None else None,
    }


def _header(row: Any) -> dict[str, Any]:
    """The columns that pathways are read from, named as in the entry to be compared with."""
    return {
        "service": row["service"],
        "id": str(row["event_id"]),
        "stream": row["stream"],
        "version": row["version"],
        "type": row["type"],
        "person": str(row["person_id"]) if row["person_id"] else None,
        "occurred_at": rfc3339(row["occurred_at"]),
        "recorded_at": rfc3339(row["recorded_at"]),
        "actor": row["actor"],
    }
