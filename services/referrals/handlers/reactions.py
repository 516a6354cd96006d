"""What the referral service does with what it hears: contacts, withdrawals, answers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from contracts import intake
from contracts.days import local_day
from contracts.partners import AnswerLate, AnswerReceived, AnswerSealed
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
from services.referrals.model.case_flow import open_case
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
    """What is heard, a batch and a transaction at a time."""

    writer: Writer
    rulebook: RuleBook
    clock: Clock
    directory: Directory = field(default_factory=Directory)

    def work(self, tx: Transaction) -> UnitOfWork:
        """A unit of work in a transaction."""
        return UnitOfWork(tx, self.writer, self.rulebook, self.directory, self.clock)

    async def on_intake(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Remember what is said of persons; open a case for each need; obey withdrawals."""
        await projections.keep_said(tx, messages)
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
        """Move referrals as their partners say, and cases after them."""
        await projections.keep_undelivered(tx, messages)
        answers = [(m, _answer(m)) for m in messages if m.type in ANSWERS]
        if not answers:
            return
        work = self.work(tx)
        await work.load_referrals(a.referral_id for _, a in answers)
        await work.load_context({m.person_id for m, _ in answers if m.person_id})
        words = await unseal(self.writer.vault, [m for m, _ in answers])
        for message, answer in answers:
            self._answered(work, message, answer, words.get(message.event_id))
        await work.write()

    async def _open_cases(self, tx: Transaction, needs: Sequence[StoredEvent]) -> None:
        if not needs:
            return
        work = self.work(tx)
        persons = {m.person_id for m in needs if m.person_id}
        alive = await self.writer.vault.keys(persons)
        known = await _known_cases(tx, needs)
        await work.load_context(persons)
        new = [
            (message, opened)
            for message in needs
            if (opened := _opened(message)).case_id not in known and opened.person_id in alive
        ]
        # ranking is work for the processor: others of this process get their turn meanwhile
        await asyncio.to_thread(self._open_all, work, new)
        await work.write()

    def _open_all(
        self, work: UnitOfWork, new: Sequence[tuple[StoredEvent, CaseOpened]]
    ) -> None:
        """With the facts of the contact's day, as known by then: the sender's clock decides
        those, and nothing else."""
        for message, opened in new:
            history, day = work.histories[opened.person_id], local_day(message.occurred_at)
            context = work.context_of(history, opened.case_id, day, message.position)
            work.record(open_case(opened, context), None, message.caused())

    async def _withdraw(self, tx: Transaction, message: StoredEvent) -> None:
        event = parse_event(message.type, message.data)
        assert isinstance(event, intake.AgreementWithdrawn)
        rows = await tx.fetch(statements.OPEN_REFERRALS, event.person_id, event.agreement_id)
        if not rows:
            return
        work = self.work(tx)
        await work.load_referrals(row["referral_id"] for row in rows)
        await work.load_context({case.person_id for case in work.cases.values()})
        move = Move(ReferralStatus.CANCELLED, Author.HUB, Reason.AGREEMENT_WITHDRAWN)
        for row in rows:
            work.move(work.referrals[row["referral_id"]], move, message.caused())
        await work.write()

    def _answered(
        self,
        work: UnitOfWork,
        message: StoredEvent,
        answer: AnswerReceived | AnswerLate,
        sealed: bytes | None,
    ) -> None:
        referral = work.referrals.get(answer.referral_id)
        if referral is None:
            raise NotFoundError("referral that is answered")
        move = _move(answer, _words(message, sealed))
        meta = message.caused(f"partner:{answer.partner_id}")
        try:
            work.move(referral, move, meta)
        except (ForbiddenTransitionError, InvalidMoveError) as error:
            refused = refuse_answer(referral, move, str(error))
            work.record_referral(referral.referral_id, referral.version, [refused], meta)


async def _known_cases(tx: Transaction, needs: Sequence[StoredEvent]) -> set[UUID]:
    ids = [_opened(message).case_id for message in needs]
    return {row["case_id"] for row in await tx.fetch(statements.KNOWN_CASES, ids)}


def _opened(message: StoredEvent) -> CaseOpened:
    need = parse_event(message.type, message.data)
    assert isinstance(need, intake.NeedExpressed)
    return CaseOpened(
        case_id=intake.case_id_of(need.need_id),
        person_id=need.person_id,
        need_id=need.need_id,
        thematique=need.thematique,
        urgent=need.urgent,
        do_not_contact=need.do_not_contact,
        parallel=need.parallel,
    )


def _answer(message: StoredEvent, sealed: bytes | None = None) -> AnswerReceived | AnswerLate:
    event = parse_event(message.type, message.data, sealed)
    assert isinstance(event, AnswerReceived | AnswerLate)
    return event


def _words(message: StoredEvent, sealed: bytes | None) -> AnswerSealed:
    part = _answer(message, sealed).sealed
    return part if isinstance(part, AnswerSealed) else AnswerSealed()


def _move(answer: AnswerReceived | AnswerLate, words: AnswerSealed) -> Move:
    if isinstance(answer, AnswerLate):  # refused by the state table, and seen by an adviser
        return Move(answer.status, Author.PARTNER, answer_id=answer.answer_id)
    return Move(
        status=answer.status,
        author=Author.PARTNER,
        reason=answer.reason,
        comment=words.comment,
        partner_reference=words.partner_reference,
        outcome=answer.outcome,
        business_status=answer.business_status,
        appointment_at=answer.appointment_at,
        commission_on=answer.commission_on,
        suggested_service_id=answer.suggested_service_id,
        answer_id=answer.answer_id,
    )
