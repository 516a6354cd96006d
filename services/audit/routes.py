"""The log over HTTP: checkpoint, tiles and proofs for everybody; entries for auditors."""

import base64
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import AwareDatetime

from contracts.audit import (
    Checkpoints,
    ConsistencyProof,
    Entries,
    InclusionProof,
    LogDescription,
    PathwayAsOf,
)
from infra.database import Database, driver
from infra.eventstore.events import rfc3339
from infra.tlog import tiles
from infra.tlog.note import MAX_SIZE, Signer
from infra.tlog.tiles import ENTRIES, TILE_WIDTH, Tile
from infra.web.auth import RequireRole
from infra.web.problems import Problem, not_found
from services.audit import handlers, tables
from services.audit.projections import MAX_ENTRIES, AsOf, PathwayTooLongError, read_pathway
from services.audit.tables import Signed

MAX_LIMIT = 1000
BRIEF = {"cache-control": "public, max-age=1"}
FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
PARTIAL = {"cache-control": "public, max-age=3600"}  # true for ever, but soon superseded
NEVER = {"cache-control": "no-store"}

Index = Annotated[int, Query(ge=0, le=MAX_SIZE)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
router = APIRouter()


async def _transaction(request: Request) -> AsyncIterator[Any]:
    database: Database = request.app.state.service.database
    async with database.reading() as tx:
        yield tx


Reading = Annotated[Any, Depends(_transaction)]


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
        "root": _base64(last.root) if last else None,
    }


@router.get("/checkpoint", tags=["log"], response_class=PlainTextResponse)
async def get_checkpoint(tx: Reading) -> Response:
    """The newest signed checkpoint (C2SP tlog-checkpoint)."""
    note = (await _signed(tx)).note
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
    if tile.width > tiles.tile_width(tile.level, tile.index, (await _signed(tx)).size):
        raise _no_tile()
    contents = await tables.tile_contents(await driver(tx), tile)
    encode = tiles.encode_bundle if tile.level == ENTRIES else tiles.encode_tile
    headers = FOREVER if tile.width == TILE_WIDTH else PARTIAL
    return Response(encode(contents), headers=headers, media_type="application/octet-stream")


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


@router.get("/v1/proofs/inclusion", tags=["proofs"], response_model=InclusionProof)
async def prove_inclusion(
    tx: Reading,
    event_id: UUID | None = None,
    index: Index | None = None,
    size: Index | None = None,
) -> dict[str, Any]:
    """Proof that one entry, named by event or index, is in the log of ``size`` entries.

    Without ``size``: in the log as signed last, with that checkpoint.
    """
    raw, signed = await driver(tx), await _signed(tx)
    size = _signed_size("size", size, signed)
    index = await _index(raw, event_id, index)
    if index >= signed.size:
        raise not_found("entry under a signed checkpoint")
    if index >= size:
        raise _nonsense("size", "the entry came later than that")
    return {
        "index": index,
        "size": size,
        "leaf_hash": _base64(await raw.fetchval(tables.LEAF_AT, index)),
        "proof": _base64s(await handlers.inclusion(tx, index, size)),
        "root": _base64(await handlers.root_at(tx, size)),
        "checkpoint": signed.note.decode() if size == signed.size else None,
    }


@router.get("/v1/proofs/consistency", tags=["proofs"], response_model=ConsistencyProof)
async def prove_consistency(
    tx: Reading,
    old: Annotated[Index, Query(alias="from")],
    new: Annotated[Index | None, Query(alias="to")] = None,
) -> dict[str, Any]:
    """Proof that the log of ``to`` entries extends that of ``from`` entries."""
    signed = await _signed(tx)
    new = _signed_size("to", new, signed)
    if old > new:
        raise _nonsense("from", "a log does not extend a larger one")
    return {
        "from": old,
        "to": new,
        "from_root": _base64(await handlers.root_at(tx, old)),
        "to_root": _base64(await handlers.root_at(tx, new)),
        "proof": _base64s(await handlers.consistency(tx, old, new)),
        "checkpoint": signed.note.decode() if new == signed.size else None,
    }


@router.get(
    "/v1/persons/{person_id}/pathway", tags=["pathways"], response_model=PathwayAsOf,
    dependencies=[Depends(RequireRole("auditor", "adviser"))],
)  # fmt: skip
async def get_pathway(
    person_id: UUID, tx: Reading, at: Index | None = None, as_of: AwareDatetime | None = None
) -> dict[str, Any]:
    """One person's timeline, and the states of their cases and referrals.

    ``at``: as of a position of the log (that entry included); ``as_of``: as of what was
    recorded at a moment (RFC 3339, with its offset); neither: as of now.
    """
    raw = await driver(tx)
    size = (await tables.load_frontier(raw)).size
    if at is not None and as_of is not None:
        raise _nonsense("as_of", "give at or as_of, not both")
    if at is not None and at >= size:
        raise _nonsense("at", f"the log has {size} entries")
    before = size if at is None else at + 1
    try:
        pathway = await read_pathway(raw, person_id, AsOf(before, as_of))
    except PathwayTooLongError:
        detail = f"more than {MAX_ENTRIES} entries: give an earlier position"
        raise _nonsense("at", detail) from None
    if pathway is None:
        raise not_found("person")
    return {"at": before - 1, "as_of": rfc3339(as_of) if as_of else None, **pathway}


async def _signed(tx: Any) -> Signed:
    signed = await tables.last_signed(await driver(tx))
    if signed is None:
        raise Problem(
            404, "not-found", "No such checkpoint", "Nothing is signed yet", headers=NEVER
        )
    return signed


async def _index(raw: Any, event_id: UUID | None, index: int | None) -> int:
    if (event_id is None) == (index is None):
        raise _nonsense("event_id", "give event_id or index")
    if index is None:
        index = await raw.fetchval(tables.INDEX_OF_EVENT, event_id)
    if index is None:
        raise not_found("entry")
    return index


def _signed_size(name: str, size: int | None, signed: Signed) -> int:
    if size is None:
        return signed.size
    if size > signed.size:
        raise _nonsense(name, f"{signed.size} entries are signed")
    return size


def _tile(path: str) -> Tile:
    try:
        return tiles.parse_path(f"tile/{path}")
    except ValueError:
        raise _no_tile() from None


def _no_tile() -> Problem:
    return Problem(404, "not-found", "No such tile", headers=NEVER)


def _nonsense(field: str, detail: str) -> Problem:
    errors = [{"field": field, "detail": detail}]
    return Problem(422, "invalid", "The request is not valid", errors=errors)


def _entry(row: Any) -> dict[str, Any]:
    return {
        "idx": row["idx"],
        "entry": _base64(row["entry"]),
        "leaf_hash": _base64(row["leaf_hash"]),
        "position": row["position"],
        "event": _header(row),
        "data": row["data"],
        "sealed": _base64(row["sealed"]) if row["sealed"] is not None else None,
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


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _base64s(values: Sequence[bytes]) -> list[str]:
    return [_base64(value) for value in values]
