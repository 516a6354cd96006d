"""Erasure of persons (RGPD art. 17), asked for by whoever answers for data."""

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request

from contracts.base import Strict
from contracts.erasure import ErasureReason
from infra.privacy.erasure_ledger import Erasure
from infra.web.auth import Principal, RequireRole
from infra.web.problems import ABOUT_PERSON, not_found, raises
from infra.web.request_meta import metadata_of
from services.intake.handlers.erasure import Erasing
from services.intake.routes.models import ErasureProgress, Erasures
from services.intake.routes.problems import refusing

Privacy = Annotated[Principal, Depends(RequireRole("privacy"))]


class ErasureRequest(Strict):
    """Why a person is erased."""

    reason: ErasureReason = ErasureReason.ASKED


def router(erasing: Erasing) -> APIRouter:
    """Return the routes, for whoever answers for data."""
    routes = APIRouter(prefix="/v1", tags=["rights"])

    @routes.post("/persons/{person_id}/erasure", status_code=202)
    @raises(*ABOUT_PERSON)
    async def request_erasure(
        request: Request, privacy: Privacy, person_id: UUID, body: ErasureRequest
    ) -> Erasures:
        """Erase a person, under every id that they are known by; a repeat changes nothing."""
        meta = metadata_of(request, privacy.actor)
        async with refusing():
            erasures = await erasing.request(person_id, body.reason, meta)
        return Erasures(erasures=[_shown(erasure) for erasure in erasures])

    @routes.get("/persons/{person_id}/erasure")
    async def get_erasure(privacy: Privacy, person_id: UUID) -> Erasures:
        """How far an erasure is."""
        erasures = await erasing.state(person_id)
        if not erasures:
            raise not_found("erasure")
        return Erasures(erasures=[_shown(erasure) for erasure in erasures])

    return routes


def _shown(erasure: Erasure) -> ErasureProgress:
    state = "forgetting" if erasure.destroyed_at else "fenced"
    return ErasureProgress(state="erased" if erasure.erased_at else state, **asdict(erasure))
