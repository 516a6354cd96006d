"""A proposal found again, with what humans did with it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from contracts.base import Event
from contracts.referrals import (
    ProposalChanged,
    ProposalMade,
    ProposalRefused,
    ReferralConfirmed,
)
from contracts.registry import parse_event
from infra.base.missing import NotFoundError
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.eventstore.sealed import unseal
from infra.eventstore.writer import Writer
from infra.postgres.transaction import Transaction
from infra.privacy.access_log import View, log_access
from infra.privacy.restrictions import require_unlimited
from services.referrals.handlers.reactions import Reactions
from services.referrals.handlers.rulebook import RuleBook
from services.referrals.model.explain import Told
from services.referrals.tables import statements

_TOLD = (ProposalChanged.type, ProposalRefused.type, ReferralConfirmed.type)


async def find(
    connection: Transaction, writer: Writer, rulebook: RuleBook, proposal_id: UUID
) -> Told:
    """A proposal with its sealed part, unless the person was erased.

    Raises ``NotFoundError`` if there is none.
    """
    case_id = await connection.fetchval(statements.CASE_OF_PROPOSAL, proposal_id)
    if case_id is None:
        raise NotFoundError("proposal")
    referrals = await connection.fetch(statements.REFERRALS_OF_PROPOSAL, proposal_id)
    names = [f"case-{case_id}", *(f"referral-{row['referral_id']}" for row in referrals)]
    streams = await writer.store.load_many(connection, names)
    events = await _opened(writer, [e for name in names for e in streams.get(name, ())])
    about = [e for e in events if getattr(e, "proposal_id", proposal_id) == proposal_id]
    (made,) = [e for e in about if isinstance(e, ProposalMade)]
    rules = await rulebook.of_digest(connection, made.rules_digest)
    return Told(made, rules, [e for e in about if e is not made])


async def show(
    tx: Transaction, messages: Reactions, proposal_id: UUID, meta: EventMetadata
) -> Told:
    """A proposal for somebody of the staff, once it is written down who looks.

    Raises ``NotFoundError`` if there is none, ``LimitedError`` where staff may not look.
    """
    told = await find(tx, messages.writer, messages.rulebook, proposal_id)
    person_id = told.made.person_id
    await require_unlimited(tx, person_id)
    if told.made.sealed:
        view = View(person_id, "proposal", [fact.name for fact in told.made.sealed.facts])
        await log_access(tx, messages.writer, [view], meta)
    return told


async def _opened(writer: Writer, recorded: Sequence[StoredEvent]) -> list[Event]:
    wanted = [r for r in recorded if r.type in (*_TOLD, ProposalMade.type)]
    clear: dict[Any, bytes] = await unseal(writer.vault, wanted)
    return [parse_event(r.type, r.data, clear.get(r.event_id)) for r in wanted]
