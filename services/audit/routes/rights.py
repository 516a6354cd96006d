"""What a person, or whoever controls us, is shown of a pathway; each look leaves a trace."""

from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from contracts.base import Strict
from contracts.statements import FreeText
from infra.web.auth import Principal, RequireRole
from infra.web.problems import ABOUT_PERSON, not_found, raises
from infra.web.request_meta import metadata_of
from services.audit import pages
from services.audit.handlers.access import Access, receipts
from services.audit.routes.common import STRING, Reading
from services.audit.routes.models import AccessGiven, ErasureReceipts, OpenedPathway
from services.audit.routes.problems import NEVER, domain_errors

Controller = Annotated[Principal, Depends(RequireRole("auditor", "privacy"))]
Privacy = Annotated[Principal, Depends(RequireRole("privacy"))]
router = APIRouter(prefix="/v1", tags=["rights"])


class Unmask(Strict):
    """Why a pathway is unmasked: sealed, and told to the person who asks."""

    reason: FreeText


class AccessRequest(Strict):
    """Why all that is held of a person is given out."""

    reason: FreeText | None = Field(None, description="Sealed.")


def _access(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


@router.post(
    "/persons/{person_id}/unmask",
    response_class=Response,
    responses={200: {"model": OpenedPathway}},
)
@raises(*ABOUT_PERSON)
async def unmask_pathway(
    request: Request, caller: Controller, person_id: UUID, body: Unmask
) -> Response:
    """A pathway with what is sealed of it; auditors see pseudonyms otherwise."""
    async with domain_errors():
        meta = metadata_of(request, caller.actor)
        return _json(await _access(request).pathway(person_id, body.reason, meta))


@router.post(
    "/persons/{person_id}/access",
    response_class=Response,
    responses={200: {"model": AccessGiven, "content": {"text/html": STRING}}},
)
@raises(*ABOUT_PERSON)
async def give_access(
    request: Request, caller: Privacy, person_id: UUID, body: AccessRequest
) -> Response:
    """Everything held of a person (RGPD art. 15): JSON, or a page in French to print."""
    async with domain_errors():
        meta = metadata_of(request, caller.actor)
        account = await _access(request).everything(person_id, body.reason, meta)
    if "text/html" in request.headers.get("accept", ""):
        return pages.access(account)
    return _json(account)


@router.get("/persons/{person_id}/erasure", response_model=ErasureReceipts)
async def get_receipts(caller: Controller, person_id: UUID, tx: Reading) -> dict[str, Any]:
    """The receipts of a person's erasure in the log, each provable by its event."""
    known = await receipts(tx, person_id)
    if not known:
        raise not_found("receipt")
    return {"receipts": known}


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), headers=NEVER, media_type="application/json")
