"""Pathways: what became of one person, as of then."""

from contextlib import aclosing
from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import AwareDatetime

from contracts.audit import PathwayAsOf
from infra.eventstore.events import rfc3339
from infra.web.auth import RequireRole
from infra.web.problems import not_found
from services.audit.handlers.replay import Replay, StoredLog, UnknownSubjectError, item
from services.audit.model.replay import Of, Subject
from services.audit.routes.common import Index, as_of_then, nonsense

MAX_ENTRIES = 10_000
"""Entries of one person on a page; beyond, ask as of an earlier moment, or replay."""

router = APIRouter()


@router.get(
    "/v1/persons/{person_id}/pathway", tags=["pathways"], response_class=Response,
    responses={200: {"model": PathwayAsOf}},
    dependencies=[Depends(RequireRole("auditor", "adviser"))],
)  # fmt: skip
async def get_pathway(
    person_id: UUID,
    request: Request,
    at: Index | None = None,
    as_of: AwareDatetime | None = None,
) -> Response:
    """One person's timeline, and the states of their cases and referrals.

    ``at``: as of a position of the log (that entry included); ``as_of``: as of what was
    recorded at a moment (RFC 3339, with its offset); neither: as of now.
    """
    log = StoredLog(request.app.state.service.database)
    then = await as_of_then(log, at, as_of)
    replay = Replay(log, Subject(Of.PERSON, str(person_id)), then)
    try:
        timeline = await _timeline(log, replay)
    except UnknownSubjectError:
        raise not_found("person") from None
    pathway = {
        "person_id": str(person_id),
        "at": then.before - 1,
        "as_of": rfc3339(as_of) if as_of else None,
        "timeline": timeline,
        **replay.fold.report(),
    }
    return Response(orjson.dumps(pathway), media_type="application/json")


async def _timeline(log: StoredLog, replay: Replay) -> list[dict[str, Any]]:
    timeline: list[dict[str, Any]] = []
    async with aclosing(log.pages(await replay.span())) as pages:
        async for page in pages:
            timeline += [item(seen) for row in page if (seen := replay.take(row))]
            if len(timeline) > MAX_ENTRIES:
                detail = f"more than {MAX_ENTRIES} entries: give an earlier position"
                raise nonsense("at", detail)
    return timeline
