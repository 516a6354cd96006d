"""Reactions to events of other services: contacts, withdrawals, answers, the directory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from contracts import intake
from contracts.days import local_day
from contracts.partners import AnswerLate, AnswerReceived
from contracts.referrals import CaseOpened
from contracts.registry import parse_event
from contracts.values import Author, Reason, ReferralStatus
from infra.base.clock import Clock
from infra.base.missing import NotFoundError
from infra.eventstore.events import StoredEvent
from infra.eventstore.sealed import unseal
from infra.eventstore.writer import Writer
from infra.postgres.transaction import Transaction
from services.referrals import projections
from services.referrals.handlers.directory import Directory
from services.referrals.handlers.rulebook import RuleBook
from services.referrals.handlers.work import UnitOfWork
from services.referrals.model.case_flow import open_case, opening
from services.referrals.model.referral import (
    ForbiddenTransitionError,
    InvalidMoveError,
    Move,
    refuse_answer,
)
from services.referrals.tables import statements

ANSWERS = (AnswerReceived.type, AnswerLate.type)


@dataclass(frozen=True)
class Reactions:
    """Handlers of others' events, a batch and a transaction at a time."""

    writer: Writer
    rulebook: RuleBook
    clock: Clock
    directory: Directory = field(default_factory=Directory)

    def work(self, tx: Transaction) -> UnitOfWork:
        """Begin a unit of work in a transaction."""
        return UnitOfWork(tx, self.writer, self.rulebook, self.directory, self.clock)

    async def on_intake(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Keep what is stated of persons; open a case for each need; obey withdrawals."""
        await projections.keep_person_events(tx, messages)
        await projections.keep_persons(tx, messages)
        needs: list[StoredEvent] = []
        for message in messages:
            if message.type == intake.NeedExpressed.type:
                needs.append(message)
            elif message.type == intake.AgreementWithdrawn.type:
                await self._open_cases(tx, needs)
                await self._withdraw(tx, message)
                needs = []
        await self._open_cases(tx, needs)

    async def on_partners(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Move referrals as their partners answer, and cases after them."""
        await projections.keep_undelivered(tx, messages)
        received = [m for m in messages if m.type in ANSWERS]
        if not received:
            return
        sealed = await unseal(self.writer.vault, received)
        answers: list[tuple[StoredEvent, AnswerReceived | AnswerLate]] = []
        for message in received:
            answer = parse_event(message.type, message.data, sealed.get(message.event_id))
            assert isinstance(answer, AnswerReceived | AnswerLate)
            answers.append((message, answer))
        work = self.work(tx)
        await work.load_referrals(answer.referral_id for _, answer in answers)
        await work.load_context({m.person_id for m in received if m.person_id})
        for message, answer in answers:
            referral = work.referrals.get(answer.referral_id)
            if referral is None:
                raise NotFoundError("referral that is answered")
            move, meta = Move.of(answer), message.caused(f"partner:{answer.partner_id}")
            try:
                work.move(referral, move, meta)
            except (ForbiddenTransitionError, InvalidMoveError) as error:
                refused = refuse_answer(referral, move, str(error))
                work.record_referral(referral.referral_id, referral.version, [refused], meta)
        await work.write()

    async def on_directory(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Keep the directory as partners publish it, and the capacities they report."""
        await projections.keep_services(tx, messages)

    async def _open_cases(self, tx: Transaction, needs: Sequence[StoredEvent]) -> None:
        if not needs:
            return
        work = self.work(tx)
        persons = {m.person_id for m in needs if m.person_id}
        alive = await self.writer.vault.keys(persons)
        cases: list[tuple[StoredEvent, CaseOpened]] = []
        for message in needs:
            need = parse_event(message.type, message.data)
            assert isinstance(need, intake.NeedExpressed)
            cases.append((message, opening(need)))
        rows = await tx.fetch(statements.KNOWN_CASES, [opened.case_id for _, opened in cases])
        known = {case_id for (case_id,) in rows}
        await work.load_context(persons)
        new = [
            (message, opened)
            for message, opened in cases
            if opened.case_id not in known and opened.person_id in alive
        ]

        def open_all() -> None:
            """Open each case as of the day of the contact, using only facts recorded before it.

            The sender's clock decides that day, and nothing else.
            """
            for message, opened in new:
                history, day = work.histories[opened.person_id], local_day(message.occurred_at)
                context = work.context_of(history, opened.case_id, day, message.position)
                work.record(open_case(opened, context), None, message.caused())

        # ranking is work for the processor: others of this process get their turn meanwhile
        await asyncio.to_thread(open_all)
        await work.write()

    async def _withdraw(self, tx: Transaction, message: StoredEvent) -> None:
        event = parse_event(message.type, message.data)
        assert isinstance(event, intake.AgreementWithdrawn)
        rows = await tx.fetch(statements.OPEN_REFERRALS, event.person_id, event.agreement_id)
        referrals = [referral_id for referral_id, _ in rows]
        if not referrals:
            return
        work = self.work(tx)
        await work.load_referrals(referrals)
        await work.load_context({case.person_id for case in work.cases.values()})
        move = Move(ReferralStatus.CANCELLED, Author.HUB, Reason.AGREEMENT_WITHDRAWN)
        for referral_id in referrals:
            work.move(work.referrals[referral_id], move, message.caused())
        await work.write()
