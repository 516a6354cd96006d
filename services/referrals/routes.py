"""JSON for advisers: cases, referrals, proposals."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Strict
from contracts.referrals import ProposalMade
from contracts.registry import parse_event
from contracts.values import REFERRAL_LABELS, Author, CaseStatus, Reason, ReferralStatus
from infra.database import Database, driver
from infra.eventstore.events import Meta
from infra.eventstore.store import ConcurrencyError
from infra.telemetry import next_hop
from infra.vault import PersonErasedError
from infra.web.auth import Principal, RequireRole
from infra.web.problems import Problem, not_found
from services.referrals import tables
from services.referrals.handlers import Handlers
from services.referrals.model.person import AgreementMissingError
from services.referrals.model.referral import (
    ForbiddenTransitionError,
    InvalidMoveError,
    Move,
    Referral,
)

Adviser = Annotated[Principal, Depends(RequireRole("adviser"))]
Comment = Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class Cancellation(Strict):
    """Why an adviser stops a referral."""

    reason: Reason
    comment: Comment | None = None


class Correction(Strict):
    """Why a referral was entered in error."""

    comment: Comment | None = Field(None, description="Sealed; for whoever reads the pathway.")


def router(database: Database, handlers: Handlers) -> APIRouter:
    """The routes, on one service's database."""
    routes = APIRouter(prefix="/v1", tags=["referrals"])

    @routes.get("/cases")
    async def list_cases(
        adviser: Adviser,
        person_id: UUID | None = None,
        status: CaseStatus | None = None,
        after: UUID | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> dict[str, Any]:
        """Cases with their referrals; of one person, or all, a page at a time."""
        async with database.reading() as connection:
            cases = await _cases(connection, tables.CASES, person_id, status, after, limit)
        following = cases[-1]["case_id"] if len(cases) == limit else None
        return {"cases": cases, "next": following}

    @routes.get("/cases/{case_id}")
    async def get_case(adviser: Adviser, case_id: UUID) -> dict[str, Any]:
        """One case with its referrals."""
        async with database.reading() as connection:
            cases = await _cases(connection, tables.CASE, None, None, case_id, 1)
        if not cases:
            raise not_found("case")
        return cases[0]

    @routes.get("/proposals/{proposal_id}")
    async def get_proposal(adviser: Adviser, proposal_id: UUID) -> dict[str, Any]:
        """A proposal with its explanation: facts used, conditions, ranking, questions."""
        return await _proposal(database, handlers, proposal_id)

    @routes.post("/referrals/{referral_id}/confirm")
    async def confirm(request: Request, adviser: Adviser, referral_id: UUID) -> dict[str, Any]:
        """Send a draft to its partner."""
        async with _deciding(database) as tx:
            return _shown(await handlers.confirm(tx, referral_id, _meta(request, adviser)))

    @routes.post("/referrals/{referral_id}/cancel")
    async def cancel(
        request: Request, adviser: Adviser, referral_id: UUID, body: Cancellation
    ) -> dict[str, Any]:
        """Stop a referral that the partner has not finished."""
        move = Move(ReferralStatus.CANCELLED, Author.ADVISER, body.reason, body.comment)
        async with _deciding(database) as tx:
            return _shown(await handlers.move(tx, referral_id, move, _meta(request, adviser)))

    @routes.post("/referrals/{referral_id}/correct")
    async def correct(
        request: Request, adviser: Adviser, referral_id: UUID, body: Correction
    ) -> dict[str, Any]:
        """Mark a referral as entered in error, from any state."""
        move = Move(ReferralStatus.ENTERED_IN_ERROR, Author.ADVISER, comment=body.comment)
        async with _deciding(database) as tx:
            return _shown(await handlers.move(tx, referral_id, move, _meta(request, adviser)))

    return routes


@asynccontextmanager
async def _deciding(database: Database) -> AsyncIterator[AsyncConnection]:
    try:
        async with database.transaction() as tx:
            yield tx
    except LookupError as error:
        raise not_found("referral") from error
    except ForbiddenTransitionError as error:
        raise Problem(
            409,
            "forbidden-transition",
            "The referral's state does not allow this",
            str(error),
            current_status=error.current,
            asked_status=error.asked,
        ) from error
    except InvalidMoveError as error:
        field = {"field": error.field, "detail": error.detail}
        raise Problem(422, "invalid", "The request is not valid", errors=[field]) from error
    except AgreementMissingError as error:
        raise Problem(
            409,
            "agreement-missing",
            "The person's agreement does not cover this partner",
            "Record an agreement first: nothing may be disclosed without it",
        ) from error
    except ConcurrencyError as error:
        raise Problem(409, "conflict", "Somebody else moved it first: look again") from error
    except PersonErasedError as error:
        raise Problem(410, "person-erased", "The person's data were erased") from error


async def _cases(connection: AsyncConnection, query: str, *values: Any) -> list[dict[str, Any]]:
    raw = await driver(connection)
    cases = [dict(row) | {"referrals": []} for row in await raw.fetch(query, *values)]
    by_id = {case["case_id"]: case for case in cases}
    for row in await raw.fetch(tables.REFERRALS_OF_CASES, list(by_id)):
        label = {"label": REFERRAL_LABELS[ReferralStatus(row["status"])]}
        by_id[row["case_id"]]["referrals"].append(dict(row) | label)
    return cases


async def _proposal(
    database: Database, handlers: Handlers, proposal_id: UUID
) -> dict[str, Any]:
    async with database.reading() as connection:
        raw = await driver(connection)
        case_id = await raw.fetchval(tables.CASE_OF_PROPOSAL, proposal_id)
        stream = await handlers.writer.store.load(connection, f"case-{case_id}")
    made = [event for event in stream if event.type == ProposalMade.type]
    if not made:
        raise not_found("proposal")
    opened = await handlers.writer.vault.unseal(made)
    event = parse_event(made[-1].type, made[-1].data, opened.get(made[-1].event_id))
    shown = event.model_dump(mode="json", exclude={"sealed"}, exclude_none=True)
    explained = event.sealed.model_dump(mode="json") if event.sealed else None
    return shown | {"explanation": explained, "erased": explained is None}


def _meta(request: Request, adviser: Principal) -> Meta:
    return Meta(adviser.actor, traceparent=next_hop(request.headers.get("traceparent")))


def _shown(referral: Referral) -> dict[str, Any]:
    return {
        "referral_id": referral.referral_id,
        "case_id": referral.case_id,
        "partner_id": referral.partner_id,
        "service_id": referral.service_id,
        "status": referral.status,
        "label": REFERRAL_LABELS[referral.status],
    }
