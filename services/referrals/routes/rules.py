"""The rules for everybody, and a proposal explained to the person whom it is about."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from infra.database import Database, driver
from infra.web.cause import cause_of
from infra.web.problems import not_found
from services.referrals import tables
from services.referrals.handlers import proposals
from services.referrals.handlers.advisers import Advisers
from services.referrals.model.explain import explain, in_words
from services.referrals.model.rules import Rules
from services.referrals.routes.problems import deciding
from services.referrals.routes.worklist import Adviser


def add(routes: APIRouter, database: Database, advisers: Advisers) -> None:
    """Explanations for advisers; the rules for whoever asks (communes over 3,500 people)."""
    messages = advisers.messages

    @routes.get(
        "/proposals/{proposal_id}/explanation",
        responses={200: {"content": {"text/plain": {}}}},
        response_model=None,
    )
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

    @routes.get("/rules", tags=["rules"])
    async def rules_in_force() -> dict[str, Any]:
        """The rules in force, with their words, sources and weights. No key is needed."""
        return await _published(tables.RULES_IN_FORCE)

    @routes.get("/rules/{digest}", tags=["rules"])
    async def rules_of_digest(digest: str) -> dict[str, Any]:
        """Rules of former days, by the digest that a proposal names. No key is needed."""
        return await _published(tables.RULES_OF_DIGEST, digest)

    async def _published(statement: str, *values: Any) -> dict[str, Any]:
        async with database.reading() as connection:
            raw = await driver(connection)
            row = await raw.fetchrow(statement, *values)
        if row is None:
            raise not_found("rule set")
        rules = Rules.parse(row["content"].encode(), row["rules"], row["version"])
        return {"published_at": row["published_at"], **_shown(rules)}


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
