"""What a person may ask for (RGPD art. 15 to 21), recorded by whoever answers for data."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request

from contracts.base import Strict
from contracts.erasure import ErasureReason
from infra.erasures import Erasure
from infra.web.auth import Principal, RequireRole
from infra.web.cause import cause_of
from infra.web.problems import not_found
from services.intake.handlers.erasure import Erasing
from services.intake.handlers.persons import UnknownPersonError

Privacy = Annotated[Principal, Depends(RequireRole("privacy"))]


class ErasureRequest(Strict):
    """Why a person is erased."""

    reason: ErasureReason = ErasureReason.ASKED


def router(erasing: Erasing) -> APIRouter:
    """The routes for whoever answers for personal data (role ``privacy``)."""
    routes = APIRouter(prefix="/v1", tags=["rights"])

    @routes.post("/persons/{person_id}/erasure", status_code=202)
    async def request_erasure(
        request: Request, privacy: Privacy, person_id: UUID, body: ErasureRequest
    ) -> dict[str, Any]:
        """Erase a person, under every id that they are known by; a repeat changes nothing."""
        meta = cause_of(request, privacy.actor)
        try:
            found = await erasing.request(person_id, body.reason, meta)
        except UnknownPersonError as error:
            raise not_found(str(error)) from error
        return {"erasures": [_shown(erasure) for erasure in found]}

    @routes.get("/persons/{person_id}/erasure")
    async def get_erasure(privacy: Privacy, person_id: UUID) -> dict[str, Any]:
        """How far an erasure is."""
        found = await erasing.state(person_id)
        if not found:
            raise not_found("erasure")
        return {"erasures": [_shown(erasure) for erasure in found]}

    return routes


def _state(erasure: Erasure) -> str:
    if erasure.erased_at:
        return "erased"
    return "forgetting" if erasure.destroyed_at else "fenced"


def _shown(erasure: Erasure) -> dict[str, Any]:
    return {
        "person_id": erasure.person_id,
        "state": _state(erasure),
        "reason": erasure.reason,
        "requested_at": erasure.requested_at,
        "destroyed_at": erasure.destroyed_at,
        "erased_at": erasure.erased_at,
    }
