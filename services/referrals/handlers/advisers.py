"""What advisers ask for: each is one transaction, judged by the model."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from contracts.base import Event
from contracts.values import Author, CaseStatus
from infra.base.missing import NotFoundError
from infra.eventstore.events import Meta
from infra.postgres.transaction import Transaction
from services.referrals import tables
from services.referrals.handlers.messages import Messages
from services.referrals.handlers.work import Work
from services.referrals.model import advice
from services.referrals.model.appointments import (
    AppointmentOutcome,
    check_moment,
    end_appointment,
    set_appointment,
)
from services.referrals.model.case import Case, Decided, Tried, World
from services.referrals.model.loop import confirm
from services.referrals.model.referral import Move, Referral, check_typed

Decide = Callable[[Case, Tried, World], Decided]


class StaleProposalError(Exception):
    """The case has a newer proposal: that one is judged, not this."""


@dataclass(frozen=True)
class Advisers:
    """Commands of advisers: each raises ``NotFoundError``, or as the model does."""

    messages: Messages

    async def confirm(
        self,
        tx: Transaction,
        referral_id: UUID,
        meta: Meta,
        appointment_at: datetime | None = None,
    ) -> Referral:
        """Send a draft, perhaps with an appointment."""
        check_moment(appointment_at, self.messages.clock())

        def decide(case: Case, referral: Referral, world: World) -> Sequence[Event]:
            by, author = meta.actor, Author.ADVISER
            return confirm(case, referral, world, by, author, appointment_at)

        return await self._on_referral(tx, referral_id, decide, meta)

    async def appoint(
        self, tx: Transaction, referral_id: UUID, starts_at: datetime, meta: Meta
    ) -> Referral:
        """Give the person of a referral an appointment, or move it."""
        now = self.messages.clock()

        def decide(case: Case, referral: Referral, world: World) -> Sequence[Event]:
            return set_appointment(referral, world, starts_at, now)

        return await self._on_referral(tx, referral_id, decide, meta)

    async def met(
        self, tx: Transaction, referral_id: UUID, outcome: AppointmentOutcome, meta: Meta
    ) -> Referral:
        """Say what came of an appointment."""
        now = self.messages.clock()

        def decide(case: Case, referral: Referral, world: World) -> Sequence[Event]:
            return end_appointment(referral, world, outcome, now)

        return await self._on_referral(tx, referral_id, decide, meta)

    async def move(
        self, tx: Transaction, referral_id: UUID, move: Move, meta: Meta
    ) -> Referral:
        """Move a referral: stop it, correct it, or type in what its partner said."""
        work = await self._of_referral(tx, referral_id)
        check_typed(work.referrals[referral_id], move, work.services, self.messages.clock())
        work.move(work.referrals[referral_id], move, meta)
        await work.write()
        return work.referrals[referral_id]

    async def choose(
        self,
        tx: Transaction,
        proposal_id: UUID,
        services: Sequence[str],
        note: str,
        meta: Meta,
        appointment_at: datetime | None = None,
    ) -> Case:
        """Send the case to other services than proposed."""
        check_moment(appointment_at, self.messages.clock())

        def decide(case: Case, tried: Tried, world: World) -> Decided:
            by = meta.actor
            return advice.choose(case, tried, services, world, by, note, appointment_at)

        return await self._on_proposal(tx, proposal_id, decide, meta)

    async def refuse(self, tx: Transaction, proposal_id: UUID, note: str, meta: Meta) -> Case:
        """Refuse a proposal."""

        def decide(case: Case, tried: Tried, world: World) -> Decided:
            return advice.refuse(case, tried, world, meta.actor, note)

        return await self._on_proposal(tx, proposal_id, decide, meta)

    async def propose_again(self, tx: Transaction, case_id: UUID, meta: Meta) -> Case:
        """Propose anew, with what is known today."""
        return await self._on_case(tx, case_id, advice.propose_again, meta)

    async def close(
        self, tx: Transaction, case_id: UUID, status: CaseStatus, ending: Move, meta: Meta
    ) -> Case:
        """Close a case."""

        def decide(case: Case, tried: Tried, world: World) -> Decided:
            return advice.close(case, tried, world, status, ending)

        return await self._on_case(tx, case_id, decide, meta)

    async def _on_referral(
        self,
        tx: Transaction,
        referral_id: UUID,
        decide: Callable[[Case, Referral, World], Sequence[Event]],
        meta: Meta,
    ) -> Referral:
        work = await self._of_referral(tx, referral_id)
        referral = work.referrals[referral_id]
        case = work.cases[referral.case_id]
        events = decide(case, referral, work.world(case))
        work.record_referral(referral_id, referral.version, events, meta)
        await work.write()
        return work.referrals[referral_id]

    async def _of_referral(self, tx: Transaction, referral_id: UUID) -> Work:
        work = self.messages.work(tx)
        await work.load_referrals([referral_id])
        if referral_id not in work.referrals:
            raise NotFoundError("referral")
        await work.load_world({case.person_id for case in work.cases.values()})
        return work

    async def _on_proposal(
        self, tx: Transaction, proposal_id: UUID, decide: Decide, meta: Meta
    ) -> Case:
        case_id = await tx.fetchval(tables.CASE_OF_PROPOSAL, proposal_id)
        if case_id is None:
            raise NotFoundError("proposal")

        def newest(case: Case, tried: Tried, world: World) -> Decided:
            if case.proposal_id != proposal_id:
                raise StaleProposalError
            return decide(case, tried, world)

        return await self._on_case(tx, case_id, newest, meta)

    async def _on_case(
        self, tx: Transaction, case_id: UUID, decide: Decide, meta: Meta
    ) -> Case:
        work = self.messages.work(tx)
        await work.load_cases([case_id])
        if case_id not in work.cases:
            raise NotFoundError("case")
        case = work.cases[case_id]
        await work.load_world({case.person_id})
        tried, world = work.tried(case_id), work.world(case)
        # it may rank the whole directory: others of this process get their turn meanwhile
        decided = await asyncio.to_thread(decide, case, tried, world)
        work.record(decided, case, meta)
        await work.write()
        return work.cases[case_id]
