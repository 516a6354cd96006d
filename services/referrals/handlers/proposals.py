"""A proposal found again, with what humans did with it."""

from typing import Any
from uuid import UUID

from contracts.referrals import (
    ProposalChanged,
    ProposalMade,
    ProposalRefused,
    ReferralConfirmed,
)
from contracts.registry import parse_event
from infra.base.missing import NotFoundError
from infra.eventstore.events import EventMetadata
from infra.eventstore.sealed import unseal
from infra.eventstore.writer import Writer
from infra.postgres.transaction import Transaction
from infra.privacy.access_log import View, log_access
from infra.privacy.restrictions import require_unlimited
from services.referrals.handlers.reactions import Reactions
from services.referrals.handlers.rulebook import RuleBook
from services.referrals.model.explain import ProposalRecord
from services.referrals.tables import statements

_ABOUT_PROPOSALS = frozenset(
    event.type for event in (ProposalMade, ProposalChanged, ProposalRefused, ReferralConfirmed)
)


async def find(
    connection: Transaction, writer: Writer, rulebook: RuleBook, proposal_id: UUID
) -> ProposalRecord:
    """Return a proposal with its sealed part, unless the person was erased.

    Raises ``NotFoundError`` if there is none.
    """
    case_id = await connection.fetchval(statements.CASE_OF_PROPOSAL, proposal_id)
    if case_id is None:
        raise NotFoundError("proposal")
    referrals = await connection.fetch(statements.REFERRALS_OF_PROPOSAL, proposal_id)
    names = [f"case-{case_id}", *(f"referral-{referral_id}" for (referral_id,) in referrals)]
    streams = await writer.store.load_many(connection, names)
    stored = [e for name in names for e in streams.get(name, ()) if e.type in _ABOUT_PROPOSALS]
    clear: dict[Any, bytes] = await unseal(writer.vault, stored)
    events = [parse_event(e.type, e.data, clear.get(e.event_id)) for e in stored]
    about = [e for e in events if getattr(e, "proposal_id", proposal_id) == proposal_id]
    (made,) = [e for e in about if isinstance(e, ProposalMade)]
    rules = await rulebook.of_digest(connection, made.rules_digest)
    return ProposalRecord(made, rules, [e for e in about if e is not made])


async def show(
    tx: Transaction, reactions: Reactions, proposal_id: UUID, meta: EventMetadata
) -> ProposalRecord:
    """Return a proposal for somebody of the staff, once it is written down who looks.

    Raises ``NotFoundError`` if there is none, ``LimitedError`` where staff may not look.
    """
    proposal = await find(tx, reactions.writer, reactions.rulebook, proposal_id)
    person_id, sealed = proposal.made.person_id, proposal.made.sealed
    await require_unlimited(tx, person_id)
    if sealed:
        view = View(person_id, "proposal", [fact.name for fact in sealed.facts])
        await log_access(tx, reactions.writer, [view], meta)
    return proposal
