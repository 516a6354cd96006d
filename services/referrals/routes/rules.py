"""The rules for everybody, and a proposal explained to the person whom it is about."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import StringConstraints

from infra.database import Database, driver
from infra.web.cause import cause_of
from infra.web.problems import not_found, raises
from services.referrals import tables
from services.referrals.handlers import proposals
from services.referrals.handlers.advisers import Advisers
from services.referrals.handlers.ranking import rank_again
from services.referrals.model.explain import explain, in_words
from services.referrals.model.routing import Ranked
from services.referrals.model.rules import Rules
from services.referrals.routes.problems import DECIDING, deciding
from services.referrals.routes.worklist import Adviser

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def add(routes: APIRouter, database: Database, advisers: Advisers) -> None:
    """Explanations for advisers; the rules for whoever asks (communes over 3,500 people)."""
    messages = advisers.messages

    @routes.get(
        "/proposals/{proposal_id}/explanation",
        responses={200: {"content": {"text/plain": {}}}},
        response_model=None,
    )
    @raises(*DECIDING)
    async def explanation(
        request: Request, adviser: Adviser, proposal_id: UUID
    ) -> Response | dict[str, Any]:
        """Why each service is proposed or not (CRPA R311-3-1-2): JSON, or French as text.

        It shows facts: who looked is an event of the person's pathway.
        """
        meta = cause_of(request, adviser.actor)
        async with deciding(database) as tx:
            told = await proposals.show(tx, messages, proposal_id, meta)
        explained = explain(told)
        if "text/plain" in request.headers.get("accept", ""):
            return PlainTextResponse(in_words(explained))
        return explained

    @routes.get("/proposals/{proposal_id}/ranking")
    @raises(*DECIDING)
    async def ranking(
        request: Request,
        adviser: Adviser,
        proposal_id: UUID,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    ) -> dict[str, Any]:
        """The whole ranking of a proposal, made again from its rules, directory and facts.

        ``exact``: it is the one of the day, by its digest. It shows what facts led to: who
        looked is an event of the person's pathway.
        """
        meta = cause_of(request, adviser.actor)
        async with deciding(database) as tx:
            again = await rank_again(tx, messages, proposal_id, meta)
        page = list(enumerate(again.ranked, start=1))[offset : offset + limit]
        return {
            "proposal_id": proposal_id,
            "erased": again.made.sealed is None,
            "exact": again.exact,
            "considered": again.made.considered,
            "services": [_placed(place, one) for place, one in page],
        }

    @routes.get("/rules", tags=["rules"])
    async def rules_in_force() -> dict[str, Any]:
        """The rules in force, with their words, sources and weights. No key is needed."""
        return await _published(tables.RULES_IN_FORCE)

    @routes.get("/rules/{digest}", tags=["rules"])
    async def rules_of_digest(response: Response, digest: Digest) -> dict[str, Any]:
        """Rules of former days, by the digest that a proposal names. No key is needed."""
        found = await _published(tables.RULES_OF_DIGEST, digest)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return found

    async def _published(statement: str, *values: Any) -> dict[str, Any]:
        async with database.reading() as connection:
            raw = await driver(connection)
            row = await raw.fetchrow(statement, *values)
        if row is None:
            raise not_found("rule set")
        rules = Rules.parse(row["content"].encode(), row["rules"], row["version"])
        return {"published_at": row["published_at"], **_shown(rules)}


def _placed(place: int, one: Ranked) -> dict[str, Any]:
    return {
        "place": place,
        "service_id": one.service.service_id,
        "partner_id": one.service.partner_id,
        "name": one.service.name,
        "verdict": one.verdict,
        "score": one.score,
        "parts": one.parts,
        "conditions": [c.model_dump(mode="json", exclude_none=True) for c in one.conditions],
    }


def _shown(rules: Rules) -> dict[str, Any]:
    return {
        "name": rules.name,
        "version": rules.version,
        "digest": rules.digest,
        "weights": rules.weights,
        "tables": {
            kind: {"facts": table.fields, "rows": list(table.rows.values())}
            for kind, table in rules.tables.items()
        },
    }
