"""The log over HTTP: checkpoint and tiles for everybody; entries for auditors."""

import gzip
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import PlainTextResponse, Response

from contracts.audit import Checkpoints, Entries, LogDescription
from infra.database import driver
from infra.eventstore.events import rfc3339
from infra.tlog import tiles
from infra.tlog.keyring import LogKey
from infra.tlog.note import MAX_SIZE
from infra.tlog.tiles import ENTRIES, Tile
from infra.web.auth import RequireRole
from infra.web.problems import Problem
from services.audit import tables
from services.audit.handlers.signing import Signing
from services.audit.handlers.witnessing import Cosigning, Witnesses
from services.audit.routes.common import (
    MAX_LIMIT,
    NEVER,
    Index,
    Limit,
    Reading,
    SignedNow,
    encoded,
    keys_of,
)

BRIEF = {"cache-control": "public, max-age=1"}
FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
GZIP_LEVEL = 6

router = APIRouter()


@router.get("/v1/log", tags=["log"], response_model=LogDescription)
async def describe_log(request: Request, tx: Reading) -> dict[str, Any]:
    """The log's name, all keys it was ever signed with, its size, how much of it is signed."""
    signing: Signing = request.app.state.signing
    witnesses: Witnesses = request.app.state.witnesses
    raw, keys = await driver(tx), signing.keys
    last = await tables.last_signed(raw, keys.origin)
    return {
        "origin": keys.origin,
        "vkey": keys.newest().encode(),
        "keys": [_key(key) for key in keys.all()],
        "witnesses": [await _witness(raw, witness) for witness in witnesses.all],
        "size": (await tables.load_frontier(raw)).size,
        "signed_size": last.size if last else None,
        "root": encoded(last.root) if last else None,
        "refusal": signing.refusal,
    }


@router.head("/checkpoint", include_in_schema=False)
@router.get("/checkpoint", tags=["log"], response_class=PlainTextResponse)
async def get_checkpoint(signed: SignedNow) -> Response:
    """The newest signed checkpoint, with the cosignatures there are (C2SP tlog-checkpoint)."""
    return Response(signed.note, headers=BRIEF, media_type=TEXT)


@router.get("/v1/checkpoints", tags=["log"], response_model=Checkpoints)
async def list_checkpoints(
    request: Request,
    tx: Reading,
    after: Index = 0,
    to: Index = MAX_SIZE,
    limit: Limit = MAX_LIMIT,
) -> dict[str, Any]:
    """Signed checkpoints of more than ``after`` and at most ``to`` entries, oldest first."""
    raw, origin = await driver(tx), keys_of(request).origin
    rows = await raw.fetch(tables.CHECKPOINTS, after, to, limit, origin)
    return {"checkpoints": [{"size": r["size"], "note": r["note"].decode()} for r in rows]}


@router.head("/tile/{path:path}", include_in_schema=False)
@router.get(
    "/tile/{path:path}", tags=["log"], response_class=Response,
    responses={200: {"content": {BYTES: {}}}},
)  # fmt: skip
async def get_tile(request: Request, path: str, tx: Reading, signed: SignedNow) -> Response:
    """A tile or an entry bundle (C2SP tlog-tiles), never beyond what is signed."""
    tile = _tile(path)
    if tile.width > tiles.tile_width(tile.level, tile.index, signed.size):
        raise _no_tile()
    data = tiles.encode(tile, await tables.tile_contents(await driver(tx), tile))
    if tile.level != ENTRIES:
        return Response(data, headers=FOREVER, media_type=BYTES)
    return _bundle(data, request.headers.get("accept-encoding", ""))


@router.get(
    "/v1/entries", tags=["log"], dependencies=[Depends(RequireRole("auditor"))],
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


def _bundle(data: bytes, accepted: str) -> Response:
    """An entry bundle: text that says the same again and again, so packed where it may be."""
    headers = {**FOREVER, "vary": "accept-encoding"}
    if _takes_gzip(accepted):
        data = gzip.compress(data, GZIP_LEVEL, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(data, headers=headers, media_type=BYTES)


def _takes_gzip(accepted: str) -> bool:
    for coding in accepted.replace(" ", "").lower().split(","):
        name, _, weight = coding.partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or weight == ""
    return False


def _key(key: LogKey) -> dict[str, Any]:
    return {
        "vkey": key.vkey.encode(),
        "algorithm": key.vkey.algorithm,
        "from": rfc3339(key.since),
        "until": rfc3339(key.until) if key.until else None,
    }


async def _witness(raw: Any, witness: Cosigning) -> dict[str, Any]:
    vkey, size = witness.party.vkey.encode(), await witness.cosigned(raw)
    return {"name": witness.name, "vkey": vkey, "size": size, "alarm": witness.alarm}


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
