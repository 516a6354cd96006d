"""A whole ranking made again as of then: from the rules, the directory's log and the facts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.partners import ServicePublished
from contracts.referrals import DirectoryRead, ProposalMade
from infra.eventstore.events import EventMetadata
from infra.postgres.transaction import Transaction
from services.referrals.handlers import proposals
from services.referrals.handlers.directory import as_service, valid_capacity
from services.referrals.handlers.reactions import Reactions
from services.referrals.model.proposals import digest_of
from services.referrals.model.routing import Ranked, Service, concerned, rank
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
    tx: Transaction, reactions: Reactions, proposal_id: UUID, meta: EventMetadata
) -> RankedAgain:
    """Rank every service again as of when the proposal was made, once it is written down who
    looks; nothing is ranked where the person was erased.

    Raises ``NotFoundError`` if there is no such proposal, ``LimitedError`` where staff may not
    look.
    """
    proposal = await proposals.show(tx, reactions, proposal_id, meta)
    made, rules = proposal.made, proposal.rules
    if made.sealed is None or rules is None:
        return RankedAgain(made, (), exact=False)
    facts = {fact.name: fact.value for fact in made.sealed.facts}
    services = await directory_as_of(tx, made.directory, made.thematique)
    ranked = await asyncio.to_thread(rank, made.thematique, facts, services, rules)
    return RankedAgain(made, ranked, digest_of(ranked) == made.sealed.ranking)


async def directory_as_of(
    tx: Transaction, read: DirectoryRead, thematique: str
) -> list[Service]:
    """Return the services for a need as they were known then, with what was open at each."""
    loads = {
        service_id: load
        for service_id, load in await tx.fetch(statements.LOADS_AS_OF, read.referrals)
    }
    capacities = {
        service_id: valid_capacity(capacity, until, read.day)
        for service_id, capacity, until in await tx.fetch(
            statements.CAPACITIES_AS_OF, read.position
        )
    }
    rows = await tx.fetch(statements.SERVICE_IDS_AS_OF, read.position)
    ids = [service_id for (service_id,) in rows]
    services: list[Service] = []
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        rows = await tx.fetch(statements.SERVICES_AS_OF, some, read.position)
        published = [ServicePublished.model_validate_json(data) for (data,) in rows]
        known = [
            as_service(p, capacities.get(p.service_id), loads.get(p.service_id, 0))
            for p in published
        ]
        services += concerned(known, thematique)
        await asyncio.sleep(0)
    return services
