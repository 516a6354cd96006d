"""What an export is fetched from besides tiles: payloads, and where a time lies in the log."""

from fastapi import APIRouter
from fastapi.responses import Response

from contracts.audit import EntrySpan
from contracts.types import Moment
from infra.database import driver
from infra.tlog import tiles
from infra.tlog.tiles import ENTRIES
from services.audit.handlers.export import payload_of, span_between
from services.audit.routes.common import (
    BYTES,
    NEVER,
    ONLY_AUDITORS,
    Reading,
    SignedNow,
    no_tile,
    tile_named,
)

router = APIRouter(dependencies=ONLY_AUDITORS)


@router.get(
    "/v1/payload/{path:path}", tags=["log"], response_class=Response,
    responses={200: {"content": {BYTES: {}}}},
)  # fmt: skip
async def get_payload(path: str, tx: Reading, signed: SignedNow) -> Response:
    """What the entries of the bundle of this name vouch for: data, and sealed as stored.

    Each after its length in 4 bytes, big-endian, data and sealed part in turn; 0 stands for a
    sealed part that never was, or was erased.
    """
    bundle = tile_named(f"entries/{path}")
    if bundle.width > tiles.tile_width(ENTRIES, bundle.index, signed.size):
        raise no_tile()
    payload = await payload_of(await driver(tx), bundle)
    return Response(payload, headers=NEVER, media_type=BYTES)


@router.get("/v1/span", tags=["log"], response_model=EntrySpan)
async def get_span(
    tx: Reading, signed: SignedNow, since: Moment, until: Moment
) -> dict[str, int]:
    """The entries of the signed log from the first to the last recorded in a time.

    ``stop`` is the index after the last one; both are 0 where nothing was recorded.
    """
    start, stop = await span_between(await driver(tx), since, until, signed.size)
    return {"start": start, "stop": stop}
