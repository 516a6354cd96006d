"""Pathways: what became of one person, as of then."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import AwareDatetime

from contracts.audit import PathwayAsOf
from infra.database import driver
from infra.eventstore.events import rfc3339
from infra.limits import require_unlimited
from infra.web.auth import Principal, RequireRole
from infra.web.problems import not_found
from services.audit import tables
from services.audit.projections import MAX_ENTRIES, AsOf, PathwayTooLongError, read_pathway
from services.audit.routes.common import Index, Reading, nonsense

Caller = Annotated[Principal, Depends(RequireRole("auditor", "adviser"))]
router = APIRouter()


@router.get(
    "/v1/persons/{person_id}/pathway", tags=["pathways"], response_model=PathwayAsOf,
)  # fmt: skip
async def get_pathway(
    caller: Caller,
    person_id: UUID,
    tx: Reading,
    at: Index | None = None,
    as_of: AwareDatetime | None = None,
) -> dict[str, Any]:
    """One person's timeline, and the states of their cases and referrals.

    ``at``: as of a position of the log (that entry included); ``as_of``: as of what was
    recorded at a moment (RFC 3339, with its offset); neither: as of now.
    """
    if caller.role == "adviser":
        await require_unlimited(tx, person_id)
    raw = await driver(tx)
    size = (await tables.load_frontier(raw)).size
    if at is not None and as_of is not None:
        raise nonsense("as_of", "give at or as_of, not both")
    if at is not None and at >= size:
        raise nonsense("at", f"the log has {size} entries")
    before = size if at is None else at + 1
    try:
        pathway = await read_pathway(raw, person_id, AsOf(before, as_of))
    except PathwayTooLongError:
        detail = f"more than {MAX_ENTRIES} entries: give an earlier position"
        raise nonsense("at", detail) from None
    if pathway is None:
        raise not_found("person")
    return {"at": before - 1, "as_of": rfc3339(as_of) if as_of else None, **pathway}
