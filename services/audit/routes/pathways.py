"""Pathways: what became of one person, as of then."""

from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from contracts.audit import PathwayAsOf
from contracts.types import Moment
from infra.base.missing import NotFoundError
from infra.privacy.restrictions import require_unlimited
from infra.web.auth import Principal, RequireRole
from infra.web.problems import ABOUT_PERSON, raises
from services.audit.handlers.replay import StoredLog, UnknownSubjectError
from services.audit.projections import MAX_ENTRIES, PathwayTooLongError, read_pathway
from services.audit.routes.common import Index, as_of_then
from services.audit.routes.problems import nonsense

Caller = Annotated[Principal, Depends(RequireRole("auditor", "adviser"))]
router = APIRouter()


@router.get(
    "/v1/persons/{person_id}/pathway",
    tags=["pathways"],
    response_class=Response,
    responses={200: {"model": PathwayAsOf}},
)
@raises(*ABOUT_PERSON)
async def get_pathway(
    caller: Caller,
    person_id: UUID,
    request: Request,
    at: Index | None = None,
    as_of: Moment | None = None,
) -> Response:
    """One person's timeline, and the states of their cases and referrals.

    ``at``: as of a position of the log (that entry included); ``as_of``: as of what was
    recorded at a moment (RFC 3339, with its offset); neither: as of now.
    """
    database = request.app.state.service.database
    if caller.role == "adviser":
        async with database.reading() as tx:
            await require_unlimited(tx, person_id)
    log = StoredLog(database)
    try:
        pathway = await read_pathway(log, person_id, await as_of_then(log, at, as_of))
    except PathwayTooLongError:
        detail = f"more than {MAX_ENTRIES} entries: give an earlier position"
        raise nonsense("at", detail) from None
    except UnknownSubjectError:
        raise NotFoundError("person") from None
    return Response(orjson.dumps(pathway), media_type="application/json")
