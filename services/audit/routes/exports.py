"""What an export is fetched from besides tiles: payloads, and where a time lies in the log."""

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from contracts.audit import EntrySpan
from contracts.types import Moment
from infra.postgres.database import Database
from infra.tlog import tiles
from infra.tlog.tiles import ENTRIES
from infra.web.problems import NotFound, raises
from services.audit.handlers.export import payload_of, span_between
from services.audit.problems import LogDamaged
from services.audit.routes.common import (
    BINARY,
    BYTES,
    ONLY_AUDITORS,
    Reading,
    SignedNow,
    signed_now,
    tile_named,
)
from services.audit.routes.problems import NEVER, no_tile

router = APIRouter(dependencies=ONLY_AUDITORS)


@router.get(
    "/v1/payload/{path:path}",
    tags=["log"],
    response_class=StreamingResponse,
    responses=BINARY,
)
@raises(LogDamaged)
async def get_payload(request: Request, path: str) -> StreamingResponse:
    """What the entries of the bundle of this name commit to, and the salts that show it.

    Of each entry four items, each after its length in 4 bytes, big-endian: salts (32 bytes for
    header and data, then 32 for the sealed part, if there is one), header, data, and sealed
    part as stored; 0 stands for a sealed part that never was, or was erased.
    """
    database: Database = request.app.state.service.database
    bundle = tile_named(f"entries/{path}")
    async with database.reading() as tx:  # given back before what may take long
        signed = await signed_now(request, tx)
    if bundle.width > tiles.tile_width(ENTRIES, bundle.index, signed.size):
        raise no_tile()
    pieces = await payload_of(database, bundle)
    return StreamingResponse(pieces, headers=NEVER, media_type=BYTES)


@router.get("/v1/span", tags=["log"], response_model=EntrySpan)
@raises(NotFound)
async def get_span(
    tx: Reading, signed: SignedNow, since: Moment, until: Moment
) -> dict[str, int]:
    """The entries of the signed log from the first to the last recorded in a time.

    ``stop`` is the index after the last one; both are 0 where nothing was recorded.
    """
    start, stop = await span_between(tx, since, until, signed.size)
    return {"start": start, "stop": stop}
