"""A whole ranking made again as of then: from the rules, the directory's log and the facts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from contracts.explanation import Explanation
from contracts.partners import ServicePublished
from contracts.referrals import DirectoryRead, ProposalMade
from infra.eventstore.events import EventMetadata
from infra.postgres.transaction import Transaction
from services.referrals.handlers import proposals
from services.referrals.handlers.directory import as_service, valid_capacity
from services.referrals.handlers.reactions import Reactions
from services.referrals.model.proposals import digest_of
from services.referrals.model.routing import Ranked, Service, concerned, rank
from services.referrals.model.rules import Rules
from services.referrals.tables import statements

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class RankedAgain:
    """A proposal's whole ranking; ``exact``: its digest is that of the day it was made.

    It is not where the directory of then cannot be found again: read from a broker while it
    was being published, or before a restore that lost a part of it.
    """

    made: ProposalMade
    ranked: Sequence[Ranked]
    exact: bool


async def rank_again(
    tx: Transaction, messages: Reactions, proposal_id: UUID, meta: EventMetadata
) -> RankedAgain:
    """Rank every service again as of when the proposal was made, once it is written down who
    looks; nothing is ranked where the person was erased.

    Raises ``NotFoundError`` if there is no such proposal, ``LimitedError`` where staff may not
    look.
    """
    told = await proposals.show(tx, messages, proposal_id, meta)
    made = told.made
    if made.sealed is None or told.rules is None:
        return RankedAgain(made, (), exact=False)
    services = await directory_as_of(tx, made.directory, made.thematique)
    ranked = await asyncio.to_thread(_rank, made, made.sealed, services, told.rules)
    return RankedAgain(made, ranked, digest_of(ranked) == made.sealed.ranking)


def _rank(
    made: ProposalMade, sealed: Explanation, services: Sequence[Service], rules: Rules
) -> list[Ranked]:
    facts = {fact.name: fact.value for fact in sealed.facts}
    return rank(made.thematique, facts, services, rules)


async def directory_as_of(
    tx: Transaction, read: DirectoryRead, thematique: str
) -> list[Service]:
    """The services for a need as they were known then, with what was open at each."""
    loads = {
        row["service_id"]: row["load"]
        for row in await tx.fetch(statements.LOADS_AS_OF, read.referrals)
    }
    capacities = {
        row["service_id"]: valid_capacity(row, read.day)
        for row in await tx.fetch(statements.CAPACITIES_AS_OF, read.position)
    }
    ids = [r["service_id"] for r in await tx.fetch(statements.SERVICE_IDS_AS_OF, read.position)]
    found: list[Service] = []
    for start in range(0, len(ids), AT_ONCE):
        rows = await tx.fetch(
            statements.SERVICES_AS_OF, ids[start : start + AT_ONCE], read.position
        )
        services = [_service(row, capacities, loads) for row in rows]
        found += concerned(services, thematique)
        await asyncio.sleep(0)
    return found


def _service(row: Any, capacities: dict[str, Any], loads: dict[str, int]) -> Service:
    told = ServicePublished.model_validate_json(row["data"])
    service_id = told.service_id
    return as_service(told, capacity=capacities.get(service_id), load=loads.get(service_id, 0))
