"""Commands of advisers: each is one transaction, judged by the model."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from contracts.base import Event
from contracts.values import Author, CaseStatus
from infra.base.missing import NotFoundError
from infra.eventstore.events import EventMetadata
from infra.postgres.transaction import Transaction
from services.referrals.handlers.reactions import Reactions
from services.referrals.handlers.work import UnitOfWork
from services.referrals.model import advice
from services.referrals.model.appointments import (
    AppointmentOutcome,
    check_moment,
    end_appointment,
    set_appointment,
)
from services.referrals.model.case import Attempts, Case, Changes, DecisionContext
from services.referrals.model.case_flow import confirm
from services.referrals.model.referral import Move, Referral, check_typed
from services.referrals.tables import statements

Decide = Callable[[Case, Attempts, DecisionContext], Changes]


class StaleProposalError(Exception):
    """The case has a newer proposal: that one is judged, not this."""


@dataclass(frozen=True)
class AdviserCommands:
    """Commands of advisers: each raises ``NotFoundError``, or as the model does."""

    reactions: Reactions

    async def confirm(
        self,
        tx: Transaction,
        referral_id: UUID,
        meta: EventMetadata,
        appointment_at: datetime | None = None,
    ) -> Referral:
        """Send a draft, perhaps with an appointment."""
        check_moment(appointment_at, self.reactions.clock())

        def decide(case: Case, referral: Referral, context: DecisionContext) -> Sequence[Event]:
            return confirm(
                case,
                referral,
                context,
                by=meta.actor,
                author=Author.ADVISER,
                appointment_at=appointment_at,
            )

        return await self._on_referral(tx, referral_id, decide, meta)

    async def appoint(
        self, tx: Transaction, referral_id: UUID, starts_at: datetime, meta: EventMetadata
    ) -> Referral:
        """Give the person of a referral an appointment, or move it."""
        now = self.reactions.clock()

        def decide(case: Case, referral: Referral, context: DecisionContext) -> Sequence[Event]:
            return set_appointment(referral, context, starts_at, now)

        return await self._on_referral(tx, referral_id, decide, meta)

    async def met(
        self,
        tx: Transaction,
        referral_id: UUID,
        outcome: AppointmentOutcome,
        meta: EventMetadata,
    ) -> Referral:
        """Record what came of an appointment."""
        now = self.reactions.clock()

        def decide(case: Case, referral: Referral, context: DecisionContext) -> Sequence[Event]:
            return end_appointment(referral, context, outcome, now)

        return await self._on_referral(tx, referral_id, decide, meta)

    async def move(
        self, tx: Transaction, referral_id: UUID, move: Move, meta: EventMetadata
    ) -> Referral:
        """Move a referral: stop it, correct it, or type in its partner's answer."""
        work = await self._of_referral(tx, referral_id)
        check_typed(work.referrals[referral_id], move, work.services, self.reactions.clock())
        work.move(work.referrals[referral_id], move, meta)
        await work.write()
        return work.referrals[referral_id]

    async def choose(
        self,
        tx: Transaction,
        proposal_id: UUID,
        services: Sequence[str],
        note: str,
        meta: EventMetadata,
        appointment_at: datetime | None = None,
    ) -> Case:
        """Send the case to other services than proposed."""
        check_moment(appointment_at, self.reactions.clock())

        def decide(case: Case, attempts: Attempts, context: DecisionContext) -> Changes:
            return advice.choose(
                case,
                attempts,
                services,
                context,
                by=meta.actor,
                comment=note,
                appointment_at=appointment_at,
            )

        return await self._on_proposal(tx, proposal_id, decide, meta)

    async def refuse(
        self, tx: Transaction, proposal_id: UUID, note: str, meta: EventMetadata
    ) -> Case:
        """Refuse a proposal."""

        def decide(case: Case, attempts: Attempts, context: DecisionContext) -> Changes:
            return advice.refuse(case, attempts, context, meta.actor, note)

        return await self._on_proposal(tx, proposal_id, decide, meta)

    async def propose_again(self, tx: Transaction, case_id: UUID, meta: EventMetadata) -> Case:
        """Propose anew, with what is known today."""
        return await self._on_case(tx, case_id, advice.propose_again, meta)

    async def close(
        self,
        tx: Transaction,
        case_id: UUID,
        status: CaseStatus,
        ending: Move,
        meta: EventMetadata,
    ) -> Case:
        """Close a case."""

        def decide(case: Case, attempts: Attempts, context: DecisionContext) -> Changes:
            return advice.close(case, attempts, context, status, ending)

        return await self._on_case(tx, case_id, decide, meta)

    async def _on_referral(
        self,
        tx: Transaction,
        referral_id: UUID,
        decide: Callable[[Case, Referral, DecisionContext], Sequence[Event]],
        meta: EventMetadata,
    ) -> Referral:
        work = await self._of_referral(tx, referral_id)
        referral = work.referrals[referral_id]
        case = work.cases[referral.case_id]
        events = decide(case, referral, work.context(case))
        work.record_referral(referral_id, referral.version, events, meta)
        await work.write()
        return work.referrals[referral_id]

    async def _of_referral(self, tx: Transaction, referral_id: UUID) -> UnitOfWork:
        work = self.reactions.work(tx)
        await work.load_referrals([referral_id])
        if referral_id not in work.referrals:
            raise NotFoundError("referral")
        await work.load_context({case.person_id for case in work.cases.values()})
        return work

    async def _on_proposal(
        self, tx: Transaction, proposal_id: UUID, decide: Decide, meta: EventMetadata
    ) -> Case:
        case_id = await tx.fetchval(statements.CASE_OF_PROPOSAL, proposal_id)
        if case_id is None:
            raise NotFoundError("proposal")

        def newest(case: Case, attempts: Attempts, context: DecisionContext) -> Changes:
            if case.proposal_id != proposal_id:
                raise StaleProposalError
            return decide(case, attempts, context)

        return await self._on_case(tx, case_id, newest, meta)

    async def _on_case(
        self, tx: Transaction, case_id: UUID, decide: Decide, meta: EventMetadata
    ) -> Case:
        work = self.reactions.work(tx)
        await work.load_cases([case_id])
        if case_id not in work.cases:
            raise NotFoundError("case")
        case = work.cases[case_id]
        await work.load_context({case.person_id})
        attempts, context = work.attempts(case_id), work.context(case)
        # it may rank the whole directory: others of this process get their turn meanwhile
        decided = await asyncio.to_thread(decide, case, attempts, context)
        work.record(decided, case, meta)
        await work.write()
        return work.cases[case_id]
