"""Load in sets, decide, append: each function is one transaction's work."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts import intake
from contracts.base import Event
from contracts.partners import AnswerReceived
from contracts.referrals import CaseOpened
from contracts.registry import parse_event
from contracts.values import Author, PartnerKind, Reason, ReferralStatus
from infra.clock import Clock
from infra.database import driver
from infra.eventstore.events import Meta, Recorded
from infra.eventstore.writer import Pending, Writer
from services.referrals import projections, tables
from services.referrals.model.case import (
    Case,
    Decided,
    World,
    after_move,
    confirm,
    evolve_case,
    open_case,
)
from services.referrals.model.person import PERSON_EVENTS, History
from services.referrals.model.referral import (
    ForbiddenTransitionError,
    InvalidMoveError,
    Move,
    Referral,
    evolve_referral,
    move_referral,
    refuse_answer,
)
from services.referrals.model.routing import Rules, Service

log = structlog.get_logger()


class DirectoryNotLoadedError(TimeoutError):
    """No service is known yet: the directory is still on its way. Waited out, never parked."""


class Work:
    """One transaction: aggregates loaded in sets, new events gathered, written at the end."""

    def __init__(self, tx: AsyncConnection, writer: Writer, rules: Rules, clock: Clock) -> None:
        self._tx = tx
        self._writer = writer
        self._rules = rules
        self._clock = clock
        self._pending: list[Pending] = []
        self.cases: dict[UUID, Case] = {}
        self.referrals: dict[UUID, Referral] = {}
        self.tried: dict[UUID, list[str]] = {}
        self.services: dict[str, Service] = {}
        self.histories: dict[UUID, History] = {}

    async def load_services(self) -> None:
        """The whole directory; raises ``DirectoryNotLoadedError`` while it is empty."""
        raw = await driver(self._tx)
        for row in await raw.fetch(tables.SERVICES):
            self.services[row["service_id"]] = _service(row)
        if not self.services:
            raise DirectoryNotLoadedError

    async def load_histories(self, persons: Iterable[UUID]) -> None:
        """What is known of these persons; an erased person's sealed parts stay closed."""
        wanted = set(persons)
        keys = await self._writer.vault.keys(wanted)
        raw = await driver(self._tx)
        self.histories |= {person: History() for person in wanted}
        for row in await raw.fetch(tables.PERSON_EVENTS, list(wanted)):
            key, sealed = keys.get(row["person_id"]), None
            if row["sealed"] and key:
                sealed = key.unseal(row["event_id"], row["type"], row["sealed"])
            event = parse_event(row["type"], row["data"], sealed)
            self.histories[row["person_id"]].events.append((row["position"], event))

    async def load_referrals(self, ids: Iterable[UUID]) -> None:
        """Referrals, their cases, and what was tried for those."""
        store = self._writer.store
        streams = await store.load_many(self._tx, [f"referral-{i}" for i in set(ids)])
        for events in streams.values():
            referral: Referral | None = None
            for event in events:
                referral = evolve_referral(referral, parse_event(event.type, event.data))
            if referral:
                self.referrals[referral.referral_id] = referral
        await self._load_cases({r.case_id for r in self.referrals.values()})

    async def _load_cases(self, ids: set[UUID]) -> None:
        streams = await self._writer.store.load_many(self._tx, [f"case-{i}" for i in ids])
        for events in streams.values():
            case: Case | None = None
            for event in events:
                case = evolve_case(case, parse_event(event.type, event.data))
            if case:
                self.cases[case.case_id] = case
        raw = await driver(self._tx)
        for row in await raw.fetch(tables.TRIED, list(ids)):
            self.tried.setdefault(row["case_id"], []).append(row["service_id"])

    def world(self, case_id: UUID, person_id: UUID, day: date, before: int | None) -> World:
        """What a decision about a case looks at."""
        history = self.histories[person_id]
        return World(
            self.services, self._rules, history.person(before), day, history.note_of(case_id)
        )

    def record(self, decided: Decided, case_id: UUID, person_id: UUID, meta: Meta) -> None:
        """Gather what was decided, and see it at once in the aggregates."""
        if decided.case:
            case = self.cases.get(case_id)
            version = case.version if case else 0
            self._gather(f"case-{case_id}", version, decided.case, person_id, meta)
            for event in decided.case:
                case = evolve_case(case, event)
            if case:
                self.cases[case_id] = case
        for referral_id, version, events in decided.referrals:
            self.record_referral(referral_id, version, events, person_id, meta)

    def record_referral(
        self, referral_id: UUID, version: int, events: Sequence[Event], person: UUID, meta: Meta
    ) -> None:
        """Gather events of one referral."""
        self._gather(f"referral-{referral_id}", version, events, person, meta)
        referral = self.referrals.get(referral_id)
        for event in events:
            referral = evolve_referral(referral, event)
        if referral:
            self.referrals[referral_id] = referral
            if version == 0:
                self.tried.setdefault(referral.case_id, []).append(referral.service_id)

    def _gather(
        self, stream: str, version: int, events: Sequence[Event], person: UUID, meta: Meta
    ) -> None:
        self._pending.append(Pending(stream, events, person, meta, version))

    async def write(self) -> None:
        """Read tables first, then the append that holds the order's lock until the commit."""
        if not self._pending:
            return
        events = [event for pending in self._pending for event in pending.events]
        now = self._clock()
        await projections.apply(self._tx, events, now)
        await self._writer.write(self._tx, self._pending, recorded_at=now)
        self._pending = []


def _service(row: Any) -> Service:
    return Service(
        row["service_id"], row["partner_id"], PartnerKind(row["kind"]), row["name"],
        tuple(row["thematiques"]), tuple(row["zone"]), row["minimum_age"], row["maximum_age"],
        row["policy"],
    )  # fmt: skip


@dataclass(frozen=True)
class Handlers:
    """What the referral service does with what it hears and is asked."""

    writer: Writer
    rules: Rules
    clock: Clock

    def work(self, tx: AsyncConnection) -> Work:
        """A unit of work in a transaction."""
        return Work(tx, self.writer, self.rules, self.clock)

    async def on_intake(self, messages: Sequence[Recorded], tx: AsyncConnection) -> None:
        """Remember what is said of persons; open a case for each need; obey withdrawals."""
        await _keep(tx, [m for m in messages if m.type in PERSON_EVENTS and m.person_id])
        needs: list[Recorded] = []
        for message in messages:
            if message.type == intake.NeedExpressed.type:
                needs.append(message)
            elif message.type == intake.AgreementWithdrawn.type:
                await self._open_cases(tx, needs)
                await self._withdraw(tx, message)
                needs = []
        await self._open_cases(tx, needs)

    async def on_answers(self, messages: Sequence[Recorded], tx: AsyncConnection) -> None:
        """Move referrals as their partners say, and cases after them."""
        answers = [(m, _answer(m)) for m in messages if m.type == AnswerReceived.type]
        if not answers:
            return
        work = self.work(tx)
        await work.load_referrals(a.referral_id for _, a in answers)
        await work.load_services()
        await work.load_histories({m.person_id for m, _ in answers if m.person_id})
        comments = await self.writer.vault.unseal([m for m, _ in answers])
        for message, answer in answers:
            self._answered(work, message, answer, comments.get(message.event_id))
        await work.write()

    async def _open_cases(self, tx: AsyncConnection, needs: Sequence[Recorded]) -> None:
        if not needs:
            return
        work = self.work(tx)
        await work.load_services()
        persons = {m.person_id for m in needs if m.person_id}
        alive = await self.writer.vault.keys(persons)
        known = await _known_cases(tx, needs)
        await work.load_histories(persons)
        for message in needs:
            opened = _opened(message)
            if opened.case_id not in known and opened.person_id in alive:
                day = message.occurred_at.date()
                world = work.world(opened.case_id, opened.person_id, day, message.position)
                decided = open_case(opened, world)
                work.record(decided, opened.case_id, opened.person_id, message.caused())
        await work.write()

    async def _withdraw(self, tx: AsyncConnection, message: Recorded) -> None:
        event = parse_event(message.type, message.data)
        assert isinstance(event, intake.AgreementWithdrawn)
        raw = await driver(tx)
        rows = await raw.fetch(tables.OPEN_REFERRALS, event.person_id, event.agreement_id)
        work = self.work(tx)
        await work.load_referrals(row["referral_id"] for row in rows)
        move = Move(ReferralStatus.CANCELLED, Author.HUB, Reason.AGREEMENT_WITHDRAWN)
        for referral in list(work.referrals.values()):
            work.record_referral(
                referral.referral_id, referral.version, move_referral(referral, move),
                event.person_id, message.caused(),
            )  # fmt: skip
        await work.write()

    def _answered(
        self, work: Work, message: Recorded, answer: AnswerReceived, sealed: bytes | None
    ) -> None:
        referral = work.referrals.get(answer.referral_id)
        if referral is None:
            raise LookupError("answer to a referral that nobody proposed")
        comment = _comment(message, sealed)
        move = _move(answer, comment)
        meta = message.caused(f"partner:{answer.partner_id}")
        try:
            events = move_referral(referral, move)
        except (ForbiddenTransitionError, InvalidMoveError) as error:
            refused = refuse_answer(referral, move, str(error))
            work.record_referral(
                referral.referral_id, referral.version, [refused], referral.person_id, meta
            )
            return
        work.record_referral(
            referral.referral_id, referral.version, events, referral.person_id, meta
        )
        self._case_follows(work, referral, move.status, message)

    def _case_follows(
        self, work: Work, referral: Referral, status: ReferralStatus, message: Recorded
    ) -> None:
        case = work.cases[referral.case_id]
        world = work.world(
            case.case_id, case.person_id, message.recorded_at.date(), before=None
        )
        decided = after_move(case, referral, status, work.tried[case.case_id], world)
        work.record(decided, case.case_id, case.person_id, message.caused())

    async def confirm(self, tx: AsyncConnection, referral_id: UUID, meta: Meta) -> Referral:
        """An adviser confirms a draft; raises ``LookupError`` or as the model does."""
        work = await self._loaded(tx, referral_id)
        referral = work.referrals[referral_id]
        case = work.cases[referral.case_id]
        await work.load_histories([referral.person_id])
        world = work.world(case.case_id, case.person_id, self.clock().date(), before=None)
        events = confirm(case, referral, world, meta.actor, Author.ADVISER)
        work.record_referral(referral_id, referral.version, events, case.person_id, meta)
        await work.write()
        return work.referrals[referral_id]

    async def move(
        self, tx: AsyncConnection, referral_id: UUID, move: Move, meta: Meta
    ) -> Referral:
        """An adviser moves a referral; raises ``LookupError`` or as the model does."""
        work = await self._loaded(tx, referral_id)
        referral = work.referrals[referral_id]
        events = move_referral(referral, move)
        work.record_referral(referral_id, referral.version, events, referral.person_id, meta)
        await work.write()
        return work.referrals[referral_id]

    async def _loaded(self, tx: AsyncConnection, referral_id: UUID) -> Work:
        work = self.work(tx)
        await work.load_referrals([referral_id])
        if referral_id not in work.referrals:
            raise LookupError("no such referral")
        return work


async def _keep(tx: AsyncConnection, messages: Sequence[Recorded]) -> None:
    if not messages:
        return
    raw = await driver(tx)
    rows = [
        (m.event_id, m.person_id, m.position, m.type, m.occurred_at, m.data, m.sealed)
        for m in messages
    ]
    await raw.execute(tables.KEEP_PERSON_EVENTS, *map(list, zip(*rows, strict=True)))


async def _known_cases(tx: AsyncConnection, needs: Sequence[Recorded]) -> set[UUID]:
    raw = await driver(tx)
    ids = [_opened(message).case_id for message in needs]
    return {row["case_id"] for row in await raw.fetch(tables.KNOWN_CASES, ids)}


def _opened(message: Recorded) -> CaseOpened:
    need = parse_event(message.type, message.data)
    assert isinstance(need, intake.NeedExpressed)
    return CaseOpened(
        case_id=intake.case_id_of(need.need_id),
        person_id=need.person_id,
        need_id=need.need_id,
        thematique=need.thematique,
        urgent=need.urgent,
        do_not_contact=need.do_not_contact,
    )


def _answer(message: Recorded, sealed: bytes | None = None) -> AnswerReceived:
    event = parse_event(message.type, message.data, sealed)
    assert isinstance(event, AnswerReceived)
    return event


def _comment(message: Recorded, sealed: bytes | None) -> str | None:
    part = _answer(message, sealed).sealed
    return part.comment if part else None


def _move(answer: AnswerReceived, comment: str | None) -> Move:
    return Move(
        status=answer.status,
        author=Author.PARTNER,
        reason=answer.reason,
        comment=comment,
        outcome=answer.outcome,
        business_status=answer.business_status,
        appointment_at=answer.appointment_at,
        answer_id=answer.answer_id,
    )
