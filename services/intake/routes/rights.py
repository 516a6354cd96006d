"""Rights of persons (RGPD art. 15 to 21), recorded by whoever answers for data."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field, model_validator

from contracts.base import Strict
from contracts.fields import Facts, Identity
from contracts.statements import FreeText
from infra.web.auth import Principal, RequireRole
from infra.web.problems import ABOUT_PERSON, NirRefused, raises
from infra.web.request_meta import metadata_of
from services.intake.handlers.inbound import check_commune
from services.intake.handlers.rights import Rectification, Rights
from services.intake.routes.models import Profile
from services.intake.routes.problems import refuse_nir, refusing

Privacy = Annotated[Principal, Depends(RequireRole("privacy"))]
Staff = Annotated[Principal, Depends(RequireRole("adviser", "privacy"))]


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


def router(rights: Rights) -> APIRouter:
    """Return the routes; restriction and objection are for whoever answers for data."""
    routes = APIRouter(prefix="/v1", tags=["rights"])

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
            known = await rights.show(
                person_id, meta, body.reason, anybody=staff.role == "privacy"
            )
        response.headers["cache-control"] = "no-store"
        return Profile(person_id=person_id, identity=known.identity, facts=known.facts)

    return routes
