"""Retention, seen before it is done."""

from collections import Counter
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from contracts.types import Day
from infra.web.auth import Principal, RequireRole
from services.intake.handlers.retention import Retention
from services.intake.model.retention import Step
from services.intake.routes.models import RetentionPreview, RetentionStep

Privacy = Annotated[Principal, Depends(RequireRole("privacy"))]


def router(retention: Retention) -> APIRouter:
    """Return the route, for whoever answers for data."""
    routes = APIRouter(prefix="/v1", tags=["rights"])

    @routes.get("/retention")
    async def preview_retention(
        privacy: Privacy,
        on: Annotated[Day | None, Query(description="Day; today if none is given.")] = None,
        limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    ) -> RetentionPreview:
        """What retention would do on a day, if nobody came until then; nothing is done."""
        steps = await retention.preview(on)
        counts = Counter(item.step for item in steps)
        return RetentionPreview(
            archive=counts[Step.ARCHIVE],
            erase=counts[Step.ERASE],
            due=[RetentionStep(**asdict(item)) for item in steps[:limit]],
        )

    return routes
