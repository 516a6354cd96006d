"""Sending again: one delivery, or many by a filter that can be tried first."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints

from contracts.base import Strict
from contracts.public import Ref
from contracts.types import Moment, Words
from contracts.values import MessageKind
from infra.web.problems import not_found, raises
from infra.web.request_meta import metadata_of
from services.partners.handlers.redelivery import (
    Choice,
    NothingToRedeliverError,
    Redelivery,
    Scope,
    StillWaitingError,
)
from services.partners.problems import DeliveryPending
from services.partners.routes.callers import Admin, ErrorClass
from services.partners.routes.models import Redelivered, RedeliveryCount

Why = Annotated[Words, StringConstraints(min_length=1, max_length=1000)]


class Again(Strict):
    """Why one delivery is sent again."""

    reason: Why


class ManyAgain(Strict):
    """Which deliveries are sent again, since when, and why; ``preview`` only counts them."""

    scope: Scope
    since: Moment
    partner_id: Ref | None = None
    endpoint_id: UUID | None = None
    error: ErrorClass | None = Field(None, description="Class of the last failure.")
    message: MessageKind | None = None
    reason: Why
    preview: bool = Field(False, description="Count, and send nothing.")


def add(routes: APIRouter, redelivery: Redelivery) -> None:
    """Add the routes, for administrators."""

    @routes.post("/deliveries/redeliver", status_code=202, tags=["deliveries"])
    async def redeliver_many(
        request: Request, admin: Admin, body: ManyAgain
    ) -> RedeliveryCount:
        """Send again what failed, or all that is missing, since a moment; narrowed as asked."""
        choice = Choice(**body.model_dump(exclude={"reason", "preview"}))
        if body.preview:
            return RedeliveryCount(matching=await redelivery.count(choice), redelivered=0)
        done = await redelivery.again(choice, body.reason, metadata_of(request, admin.actor))
        left = await redelivery.count(choice)
        return RedeliveryCount(matching=done + left, redelivered=done)

    @routes.post("/deliveries/{delivery_id}/redeliver", status_code=202, tags=["deliveries"])
    @raises(DeliveryPending)
    async def redeliver_one(
        request: Request, admin: Admin, delivery_id: UUID, body: Again
    ) -> Redelivered:
        """Send one delivery again: the same webhook-id, a new timestamp."""
        meta = metadata_of(request, admin.actor)
        try:
            await redelivery.again(Choice(delivery_id=delivery_id), body.reason, meta)
        except NothingToRedeliverError as error:
            raise not_found(str(error)) from error
        except StillWaitingError as error:
            detail = "It is sent at its next attempt: see next_attempt_at"
            raise DeliveryPending(detail) from error
        return Redelivered(delivery_id=delivery_id, redelivered=1)
