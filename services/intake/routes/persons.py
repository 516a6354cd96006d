"""Persons who may be one: looked at and judged by advisers."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, StringConstraints
from sqlalchemy import select

from contracts.base import Strict
from contracts.statements import FreeText
from contracts.types import Line
from infra.web.auth import Principal, RequireRole
from infra.web.problems import ABOUT_PERSON, NotFound, raises
from infra.web.request_meta import metadata_of
from services.intake.handlers.persons import Persons
from services.intake.problems import MergeRefused
from services.intake.routes.models import Merged, Suspicion, Suspicions, Unmerged
from services.intake.routes.problems import refuse_nir, refusing
from services.intake.tables.schema import SUSPICIONS

Adviser = Annotated[Principal, Depends(RequireRole("adviser"))]
Source = Annotated[Line, StringConstraints(min_length=1, max_length=1024)]


class Merge(Strict):
    """Into whom a person is merged, and why."""

    into: UUID
    reason: FreeText | None = Field(None, description="Sealed.")


class Share(Strict):
    """The system that may speak of a person too, and why."""

    source: Source = Field(description="As its CloudEvents name it.")
    reason: FreeText | None = Field(None, description="Sealed.")


class Pair(Strict):
    """Two persons who are not one."""

    person_id: UUID
    other_id: UUID


def router(persons: Persons) -> APIRouter:
    """Return the routes for advisers."""
    routes = APIRouter(prefix="/v1", tags=["persons"])

    @routes.get("/duplicates")
    async def list_duplicates(
        adviser: Adviser,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
    ) -> Suspicions:
        """Who may be whom, oldest suspicion first; what matched, never the value."""
        pairs = SUSPICIONS.c
        oldest = (
            select(pairs.person_id, pairs.other_id, pairs.matched_on, pairs.since)
            .where(pairs.status == "open")
            .order_by(pairs.since, pairs.person_id)
            .limit(limit)
            .offset(offset)
        )
        async with persons.database.reading() as connection:
            rows = await connection.select(oldest)
        return Suspicions(duplicates=[Suspicion(**row._mapping) for row in rows])

    @routes.post("/duplicates/dismiss", status_code=204)
    @raises(*ABOUT_PERSON, MergeRefused, NotFound)
    async def dismiss_duplicate(request: Request, adviser: Adviser, body: Pair) -> None:
        """Two persons are not one: they are not suspected again."""
        async with refusing():
            await persons.dismiss(
                body.person_id, body.other_id, metadata_of(request, adviser.actor)
            )

    @routes.post("/persons/{person_id}/merge")
    @raises(*ABOUT_PERSON, MergeRefused)
    async def merge_person(
        request: Request, adviser: Adviser, person_id: UUID, body: Merge
    ) -> Merged:
        """The person is the same as another; also how an anonymous visitor is made known."""
        refuse_nir(body)
        async with refusing():
            meta = metadata_of(request, adviser.actor)
            merged = await persons.merge(person_id, body.into, body.reason, meta)
        return Merged(person_id=merged.person_id, into=merged.into)

    @routes.post("/persons/{person_id}/unmerge")
    @raises(*ABOUT_PERSON, MergeRefused)
    async def unmerge_person(request: Request, adviser: Adviser, person_id: UUID) -> Unmerged:
        """They were two after all: everything is again as it was recorded."""
        async with refusing():
            unmerged = await persons.unmerge(person_id, metadata_of(request, adviser.actor))
        return Unmerged.model_validate(
            {"person_id": unmerged.person_id, "from": unmerged.from_id}
        )

    @routes.post("/persons/{person_id}/share", status_code=204)
    @raises(*ABOUT_PERSON)
    async def share_person(
        request: Request, adviser: Adviser, person_id: UUID, body: Share
    ) -> None:
        """Let another municipal system speak of a person whom it did not bring."""
        refuse_nir(body)
        async with refusing():
            meta = metadata_of(request, adviser.actor)
            await persons.share(person_id, body.source, body.reason, meta)

    return routes
