"""What a person may ask for (RGPD art. 15 to 21), recorded by whoever answers for data."""

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, model_validator

from contracts.base import Strict
from contracts.erasure import ErasureReason
from contracts.fields import Facts, Identity
from contracts.statements import FreeText
from contracts.types import Day
from infra.privacy.erasure_ledger import Erasure
from infra.web.auth import Principal, RequireRole
from infra.web.problems import ABOUT_PERSON, NirRefused, not_found, raises
from infra.web.request_meta import metadata_of
from services.intake.handlers.erasure import Erasing
from services.intake.handlers.inbound import check_commune
from services.intake.handlers.retention import Retention
from services.intake.handlers.rights import Rectification, Rights
from services.intake.model.retention import Step
from services.intake.routes.models import (
    ErasureProgress,
    Erasures,
    Profile,
    RetentionPreview,
    RetentionStep,
)
from services.intake.routes.problems import refuse_nir, refusing

Privacy = Annotated[Principal, Depends(RequireRole("privacy"))]
Staff = Annotated[Principal, Depends(RequireRole("adviser", "privacy"))]


class ErasureRequest(Strict):
    """Why a person is erased."""

    reason: ErasureReason = ErasureReason.ASKED


class Why(Strict):
    """Why, in words: sealed."""

    reason: FreeText | None = None


class RectificationRequest(Why):
    """What is put right, field by field."""

    identity: Identity | None = None
    facts: Facts | None = None

    @model_validator(mode="after")
    def _something(self) -> "RectificationRequest":
        if not (self.identity and self.identity.model_fields_set) and not (
            self.facts and self.facts.model_fields_set
        ):
            raise ValueError("give a field of identity or facts to put right")
        return self


class ProfileShown(Strict):
    """Who looks at a profile, and why."""

    reason: FreeText | None = Field(None, description="Sealed. Needed of archived persons.")


def router(rights: Rights, erasing: Erasing, retention: Retention) -> APIRouter:
    """The routes; erasure and restriction are for whoever answers for data (``privacy``)."""
    routes = APIRouter(prefix="/v1", tags=["rights"])
    _add_erasure(routes, erasing)
    _add_limits(routes, rights)
    _add_profile(routes, rights)
    _add_retention(routes, retention)
    return routes


def _add_erasure(routes: APIRouter, erasing: Erasing) -> None:
    @routes.post("/persons/{person_id}/erasure", status_code=202)
    @raises(*ABOUT_PERSON)
    async def request_erasure(
        request: Request, privacy: Privacy, person_id: UUID, body: ErasureRequest
    ) -> Erasures:
        """Erase a person, under every id that they are known by; a repeat changes nothing."""
        meta = metadata_of(request, privacy.actor)
        async with refusing():
            found = await erasing.request(person_id, body.reason, meta)
        return Erasures(erasures=[_shown(erasure) for erasure in found])

    @routes.get("/persons/{person_id}/erasure")
    async def get_erasure(privacy: Privacy, person_id: UUID) -> Erasures:
        """How far an erasure is."""
        found = await erasing.state(person_id)
        if not found:
            raise not_found("erasure")
        return Erasures(erasures=[_shown(erasure) for erasure in found])


def _add_limits(routes: APIRouter, rights: Rights) -> None:
    @routes.post("/persons/{person_id}/objection", status_code=204)
    @raises(*ABOUT_PERSON)
    async def record_objection(
        request: Request, privacy: Privacy, person_id: UUID, body: Why
    ) -> None:
        """The person objects: agreements end, cases are closed, partners are told."""
        refuse_nir(body)
        async with refusing():
            await rights.object(person_id, body.reason, metadata_of(request, privacy.actor))

    @routes.post("/persons/{person_id}/restriction", status_code=204)
    @raises(*ABOUT_PERSON)
    async def restrict_person(
        request: Request, privacy: Privacy, person_id: UUID, body: Why
    ) -> None:
        """Keep the data, and do nothing else with them, until the restriction is lifted."""
        refuse_nir(body)
        async with refusing():
            await rights.restrict(person_id, body.reason, metadata_of(request, privacy.actor))

    @routes.delete("/persons/{person_id}/restriction", status_code=204)
    @raises(*ABOUT_PERSON)
    async def lift_restriction(request: Request, privacy: Privacy, person_id: UUID) -> None:
        """Lift a restriction: what waited goes on."""
        async with refusing():
            await rights.lift(person_id, metadata_of(request, privacy.actor))


def _add_profile(routes: APIRouter, rights: Rights) -> None:
    @routes.post("/persons/{person_id}/rectification", status_code=204)
    @raises(*ABOUT_PERSON, NirRefused)
    async def rectify_person(
        request: Request, staff: Staff, person_id: UUID, body: RectificationRequest
    ) -> None:
        """Put something right: a new statement; the old one stays in the history."""
        refuse_nir(body)
        change = Rectification(body.identity, body.facts, body.reason)
        async with refusing():
            check_commune(body.facts, "facts.commune.value")
            await rights.rectify(person_id, change, metadata_of(request, staff.actor))

    @routes.post("/persons/{person_id}/profile", response_model_exclude_none=True)
    @raises(*ABOUT_PERSON)
    async def show_profile(
        request: Request, response: Response, staff: Staff, person_id: UUID, body: ProfileShown
    ) -> Profile:
        """Identity and facts of a person. Who looked is an event of the person's pathway."""
        refuse_nir(body)
        meta = metadata_of(request, staff.actor)
        async with refusing():
            found = await rights.show(
                person_id, meta, body.reason, anybody=staff.role == "privacy"
            )
        response.headers["cache-control"] = "no-store"
        return Profile(person_id=person_id, identity=found.identity, facts=found.facts)


def _add_retention(routes: APIRouter, retention: Retention) -> None:
    @routes.get("/retention")
    async def preview_retention(
        privacy: Privacy,
        on: Annotated[Day | None, Query(description="Day; today if none is given.")] = None,
        limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    ) -> RetentionPreview:
        """What retention would do on a day, if nobody came until then; nothing is done."""
        found = await retention.preview(on)
        counts = Counter(item.step for item in found)
        return RetentionPreview(
            archive=counts[Step.ARCHIVE],
            erase=counts[Step.ERASE],
            due=[RetentionStep(**asdict(item)) for item in found[:limit]],
        )


def _state(erasure: Erasure) -> Literal["fenced", "forgetting", "erased"]:
    if erasure.erased_at:
        return "erased"
    return "forgetting" if erasure.destroyed_at else "fenced"


def _shown(erasure: Erasure) -> ErasureProgress:
    return ErasureProgress(state=_state(erasure), **asdict(erasure))
