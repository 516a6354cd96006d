"""A proposal found again, with what humans did with it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Event
from contracts.referrals import (
    ProposalChanged,
    ProposalMade,
    ProposalRefused,
    ReferralConfirmed,
)
from contracts.registry import parse_event
from infra.database import driver
from infra.eventstore.events import Recorded
from infra.eventstore.writer import Writer
from services.referrals import tables
from services.referrals.handlers.rulebook import RuleBook
from services.referrals.model.explain import Told

_TOLD = (ProposalChanged.type, ProposalRefused.type, ReferralConfirmed.type)


async def find(
    connection: AsyncConnection, writer: Writer, rulebook: RuleBook, proposal_id: UUID
) -> Told:
    """A proposal with its sealed part, unless the person was erased.

    Raises ``LookupError`` if there is none.
    """
    raw = await driver(connection)
    case_id = await raw.fetchval(tables.CASE_OF_PROPOSAL, proposal_id)
    if case_id is None:
        raise LookupError("proposal")
    referrals = await raw.fetch(tables.REFERRALS_OF_PROPOSAL, proposal_id)
    names = [f"case-{case_id}", *(f"referral-{row['referral_id']}" for row in referrals)]
    streams = await writer.store.load_many(connection, names)
    events = await _opened(writer, [e for name in names for e in streams.get(name, ())])
    about = [e for e in events if getattr(e, "proposal_id", proposal_id) == proposal_id]
    (made,) = [e for e in about if isinstance(e, ProposalMade)]
    rules = await rulebook.of_digest(connection, made.rules_digest)
    return Told(made, rules, [e for e in about if e is not made])


async def _opened(writer: Writer, recorded: Sequence[Recorded]) -> list[Event]:
    wanted = [r for r in recorded if r.type in (*_TOLD, ProposalMade.type)]
    clear: dict[Any, bytes] = await writer.vault.unseal(wanted)
    return [parse_event(r.type, r.data, clear.get(r.event_id)) for r in wanted]
