"""The rules for everybody, and a proposal explained to the person whom it is about."""

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import StringConstraints

from contracts.explanation import Condition
from infra.postgres.database import Database
from infra.web.problems import NotFound, not_found, raises
from infra.web.request_meta import metadata_of
from services.referrals.handlers import proposals
from services.referrals.handlers.advisers import AdviserCommands
from services.referrals.handlers.ranking import rank_again
from services.referrals.model.explain import explain, plain_text
from services.referrals.model.rules import Rules
from services.referrals.routes.problems import DECIDING, deciding
from services.referrals.routes.rule_models import (
    ProposalExplained,
    ProposalRanking,
    PublishedRules,
    RankedService,
    RuleRow,
    RuleTable,
    RuleWeights,
)
from services.referrals.routes.worklist import Adviser
from services.referrals.tables import queries

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def add(routes: APIRouter, database: Database, advisers: AdviserCommands) -> None:
    """Explanations for advisers; the rules for whoever asks (communes over 3,500 people)."""
    reactions = advisers.reactions

    @routes.get(
        "/proposals/{proposal_id}/explanation",
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        response_model=ProposalExplained,
        response_model_exclude_unset=True,
    )
    @raises(*DECIDING)
    async def explanation(
        request: Request, adviser: Adviser, proposal_id: UUID
    ) -> Response | dict[str, Any]:
        """Why each service is proposed or not (CRPA R311-3-1-2): JSON, or French as text.

        It shows facts: who looked is an event of the person's pathway.
        """
        meta = metadata_of(request, adviser.actor)
        async with deciding(database) as tx:
            explained = explain(await proposals.show(tx, reactions, proposal_id, meta))
        if "text/plain" in request.headers.get("accept", ""):
            return PlainTextResponse(plain_text(explained))
        return explained

    @routes.get("/proposals/{proposal_id}/ranking", response_model_exclude_unset=True)
    @raises(*DECIDING)
    async def ranking(
        request: Request,
        adviser: Adviser,
        proposal_id: UUID,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    ) -> ProposalRanking:
        """The whole ranking of a proposal, made again from its rules, directory and facts.

        ``exact``: it is the one of the day, by its digest. It shows what facts led to: who
        looked is an event of the person's pathway.
        """
        meta = metadata_of(request, adviser.actor)
        async with deciding(database) as tx:
            again = await rank_again(tx, reactions, proposal_id, meta)
        page = list(enumerate(again.ranked, start=1))[offset : offset + limit]
        return ProposalRanking(
            proposal_id=proposal_id,
            erased=again.made.sealed is None,
            exact=again.exact,
            considered=again.made.considered,
            services=[
                RankedService(
                    place=place,
                    service_id=one.service.service_id,
                    partner_id=one.service.partner_id,
                    name=one.service.name,
                    verdict=one.verdict,
                    score=one.score,
                    parts=dict(one.parts),
                    conditions=[
                        Condition(**c.model_dump(exclude_none=True)) for c in one.conditions
                    ],
                )
                for place, one in page
            ],
        )

    @routes.get("/rules", tags=["rules"])
    @raises(NotFound)
    async def rules_in_force() -> PublishedRules:
        """The rules in force, with their words, sources and weights. No key is needed."""
        return await _published()

    @routes.get("/rules/{digest}", tags=["rules"])
    async def rules_of_digest(response: Response, digest: Digest) -> PublishedRules:
        """Rules of former days, by the digest that a proposal names. No key is needed."""
        published = await _published(digest)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return published

    async def _published(digest: str | None = None) -> PublishedRules:
        async with database.reading() as connection:
            rows = await connection.select(queries.rules(digest))
        if not rows:
            raise not_found("rule set")
        (row,) = rows
        rules = Rules.parse(row.content.encode(), row.rules, row.version)
        tables = {
            kind: RuleTable(
                facts=list(table.fields),
                rows=[RuleRow(**asdict(row)) for row in table.rows.values()],
            )
            for kind, table in rules.tables.items()
        }
        return PublishedRules(
            published_at=row.published_at,
            name=rules.name,
            version=rules.version,
            digest=rules.digest,
            weights=RuleWeights(**asdict(rules.weights)),
            tables=tables,
        )
