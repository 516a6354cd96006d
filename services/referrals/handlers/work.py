"""One transaction: aggregates loaded in sets, new events gathered, written at the end."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

from contracts.base import Event
from contracts.days import local_day
from contracts.referrals import DirectoryRead
from contracts.registry import parse_event
from infra.base.clock import Clock
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.keys.vault import PersonErasedError
from infra.postgres.transaction import Transaction
from infra.privacy.erasure import forgotten_among
from services.referrals import projections
from services.referrals.handlers.directory import Directory
from services.referrals.handlers.rulebook import RuleBook
from services.referrals.model.case import Attempts, Case, Changes, DecisionContext, evolve_case
from services.referrals.model.case_flow import after_move
from services.referrals.model.person import History
from services.referrals.model.referral import (
    Move,
    Referral,
    check_commission,
    evolve_referral,
    move_referral,
)
from services.referrals.model.routing import Service
from services.referrals.model.rules import Rules
from services.referrals.tables import statements


class _PersonEvent(NamedTuple):
    """A row of ``PERSON_EVENTS``; ``wanted``: the id that was asked for."""

    wanted: UUID
    event_id: UUID
    person_id: UUID
    position: int
    type: str
    data: str
    sealed: bytes | None


class UnitOfWork:
    """Aggregates loaded for one transaction, and the events appended at its end."""

    rules: Rules
    known: DirectoryRead

    def __init__(
        self,
        tx: Transaction,
        writer: Writer,
        rulebook: RuleBook,
        directory: Directory,
        clock: Clock,
    ) -> None:
        self._tx = tx
        self._writer = writer
        self._rulebook = rulebook
        self._directory = directory
        self._clock = clock
        self._pending: list[Pending] = []
        self.cases: dict[UUID, Case] = {}
        self.referrals: dict[UUID, Referral] = {}
        self.services: dict[str, Service] = {}
        self.histories: dict[UUID, History] = {}

    @property
    def today(self) -> date:
        """The day in France."""
        return local_day(self._clock())

    async def load_context(self, persons: Iterable[UUID]) -> None:
        """Load rules, directory and what is known of these persons.

        Raises ``DirectoryNotLoadedError`` while the directory is empty.
        """
        self.rules, published = await self._rulebook.current(self._tx)
        if published:
            self._pending.append(published)
        self.services, self.known = await self._directory.read(self._tx, self.today)
        wanted = set(persons)
        rows = [
            _PersonEvent(*row)
            for row in await self._tx.fetch(statements.PERSON_EVENTS, list(wanted))
        ]
        keys = await self._writer.vault.keys({row.person_id for row in rows})
        self.histories |= {person: History() for person in wanted}
        for row in rows:
            key, sealed = keys.get(row.person_id), None
            if row.sealed and key:  # an erased person's sealed parts stay closed
                sealed = key.unseal(row.event_id, row.type, row.sealed)
            event = parse_event(row.type, row.data, sealed)
            self.histories[row.wanted].events.append((row.position, event))

    async def load_referrals(self, ids: Iterable[UUID]) -> None:
        """Load referrals with their cases, and those cases' other referrals."""
        rows = await self._tx.fetch(statements.SIBLINGS, list(set(ids)))
        await self._load([(case_id, referral_id) for referral_id, case_id, _ in rows])

    async def load_cases(self, ids: Iterable[UUID]) -> None:
        """Load cases with all their referrals."""
        rows = await self._tx.fetch(statements.OF_CASES, list(set(ids)))
        await self._load([(case_id, referral_id) for referral_id, case_id in rows])

    async def _load(self, ids: Sequence[tuple[UUID, UUID | None]]) -> None:
        referrals = [referral_id for _, referral_id in ids if referral_id]
        cases = {case_id for case_id, _ in ids}
        names = [f"case-{c}" for c in cases] + [f"referral-{r}" for r in referrals]
        streams = await self._writer.store.load_many(self._tx, names)
        for case_id in cases:
            case: Case | None = None
            for event in streams.get(f"case-{case_id}", ()):
                case = evolve_case(case, parse_event(event.type, event.data))
            if case:
                self.cases[case_id] = case
        for referral_id in referrals:
            referral: Referral | None = None
            for event in streams.get(f"referral-{referral_id}", ()):
                referral = evolve_referral(referral, parse_event(event.type, event.data))
            if referral:
                self.referrals[referral_id] = referral

    def attempts(self, case_id: UUID) -> Attempts:
        """Return the referrals of a case, oldest first."""
        return Attempts([r for r in self.referrals.values() if r.case_id == case_id])

    def context(self, case: Case) -> DecisionContext:
        """Return what a decision about a case looks at today."""
        return self.context_of(self.histories[case.person_id], case.case_id)

    def context_of(
        self,
        history: History,
        case_id: UUID,
        facts_on: date | None = None,
        before: int | None = None,
    ) -> DecisionContext:
        """Return the same with the facts of a day; ``before``: only of events before a position
        of the intake's log."""
        return DecisionContext(
            services=self.services,
            rules=self.rules,
            person=history.person(before),
            today=self.today,
            directory=self.known,
            need=history.need_of(case_id),
            facts_on=facts_on,
        )

    def move(self, referral: Referral, move: Move, meta: EventMetadata) -> None:
        """Move a referral and let its case follow; raises as ``move_referral`` does."""
        case = self.cases[referral.case_id]
        context = self.context(case)
        deadlines = context.deadlines(referral.service_id)
        service = context.services.get(referral.service_id)
        if service and service.commission and move.status is not referral.status:
            check_commission(referral, move, context.today)
        events = move_referral(referral, move, context.today, deadlines)
        self.follow(referral, events, move, meta)

    def follow(
        self, referral: Referral, events: Sequence[Event], move: Move, meta: EventMetadata
    ) -> None:
        """Gather a referral's events, and what its case does after them."""
        self.record_referral(referral.referral_id, referral.version, events, meta)
        case, moved = self.cases[referral.case_id], self.referrals[referral.referral_id]
        others = self.attempts(case.case_id).but(moved)
        self.record(after_move(case, moved, others, move, self.context(case)), case, meta)

    def record(self, changes: Changes, case: Case | None, meta: EventMetadata) -> None:
        """Gather what was decided, and see it at once in the aggregates."""
        if changes.case:
            version = case.version if case else 0
            for event in changes.case:
                case = evolve_case(case, event)
            assert case is not None
            stream = f"case-{case.case_id}"
            self.gather([Pending(stream, changes.case, case.person_id, meta, version)])
            self.cases[case.case_id] = case
        for referral_id, version, events in changes.referrals:
            self.record_referral(referral_id, version, events, meta)

    def record_referral(
        self, referral_id: UUID, version: int, events: Sequence[Event], meta: EventMetadata
    ) -> None:
        """Gather events of one referral."""
        referral = self.referrals.get(referral_id)
        for event in events:
            referral = evolve_referral(referral, event)
        assert referral is not None
        self.referrals[referral_id] = referral
        if events:
            stream = f"referral-{referral_id}"
            self.gather([Pending(stream, events, referral.person_id, meta, version)])

    def gather(self, pending: Iterable[Pending]) -> None:
        """Gather events that are written at the end."""
        self._pending.extend(pending)

    async def write(self, *, forgetting: bool = False) -> None:
        """Bring the read tables up to date, then append: that holds the log's lock until the
        commit.

        Raises ``PersonErasedError`` where a person was forgotten meanwhile; ``forgetting``: it
        is just that which is written.
        """
        if not self._pending:
            return
        persons = {p.person_id for p in self._pending if p.person_id}
        if not forgetting and await forgotten_among(self._tx, persons):
            raise PersonErasedError
        events = [event for pending in self._pending for event in pending.events]
        now = self._clock()
        await projections.apply(self._tx, events, now)
        await self._writer.write(self._tx, self._pending, recorded_at=now)
        self._pending = []
