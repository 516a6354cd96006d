"""Refused records of the public topic, for the systems that produced them."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import StringConstraints

from contracts.types import Count, Line
from infra.web.auth import Principal, RequireRole
from infra.web.problems import Invalid, raises
from services.intake.handlers.kept import Place
from services.intake.handlers.refused import Refusals
from services.intake.problems import SourceNotAllowed
from services.intake.routes.models import RefusedRecord, RefusedRecords

System = Annotated[Principal, Depends(RequireRole("municipal"))]
Source = Annotated[Line, StringConstraints(min_length=1, max_length=1024)]


def router(refusals: Refusals, topic: str) -> APIRouter:
    """Return the route for systems."""
    routes = APIRouter(prefix="/v1", tags=["intake"])

    @routes.get("/refused")
    @raises(SourceNotAllowed)
    async def list_refused(
        system: System,
        source: Annotated[Source | None, Query()] = None,
        partition: Annotated[int | None, Query(ge=0, le=100_000)] = None,
        offset: Annotated[Count | None, Query()] = None,
    ) -> RefusedRecords:
        """Records of the topic `municipal` that were refused.

        Those of a source that the key may speak for, or the one at a place that the broker
        had acknowledged.
        """
        if source is not None:
            if not system.may_emit(source):
                raise SourceNotAllowed
            listed = await refusals.of_source(source)
        elif partition is None or offset is None:
            raise Invalid.at("source", "give it, or partition and offset")
        else:
            listed = await refusals.at(Place(topic, partition, offset))
        return RefusedRecords(records=[RefusedRecord(**asdict(one)) for one in listed])

    return routes
