"""A month at the desk on a clock of its own: partners refuse, stay silent, fill up, answer
twice, late and out of order; two advisers do what they have time for. No case may be forgotten.

``python -m tests.e2e.month --cases 5000`` runs the whole of it and prints what became of whom.
"""

import argparse
import asyncio
import tempfile
from collections import Counter
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from contracts.base import Event
from contracts.days import local_day
from contracts.fields import Facts
from contracts.intake import FactsSealed, FactsStated
from contracts.partners import AnswerReceived, CapacityReported
from contracts.referrals import DeadlinePassed, ReferralRequested
from contracts.registry import parse_event
from contracts.statements import DatedBirthDate
from contracts.values import (
    Author,
    BusinessStatus,
    CapacityStatus,
    CaseStatus,
    PartnerKind,
    Reason,
    ReferralStatus,
)
from infra.base.settings import Settings
from infra.eventstore.events import EventMetadata
from infra.eventstore.store import EventStore
from infra.eventstore.writer import Pending
from infra.platform import DATABASE, Platform
from infra.postgres.database import Database, vault_url
from infra.postgres.embedded import EmbeddedPostgres
from infra.postgres.migrations import migrate
from infra.postgres.transaction import Transaction
from infra.web.app import Service
from services.partners.handlers.directory import seed
from services.referrals.app import RULES, build
from services.referrals.handlers.advisers import AdviserCommands
from services.referrals.handlers.deadlines import DeadlineClock
from services.referrals.handlers.reactions import Reactions
from services.referrals.handlers.rulebook import RuleBook
from services.referrals.model.advice import CaseClosedError
from services.referrals.model.deadlines import working_day
from services.referrals.model.person import AgreementMissingError
from services.referrals.model.referral import ForbiddenTransitionError, Move
from services.referrals.tables.worklist import worklist
from tests.e2e.month_people import newcomer
from tests.support.platform import drain

FIRST_DAY, DAYS = date(2026, 11, 2), 40
ADVISER = EventMetadata("adviser:anne")
S, B = ReferralStatus, BusinessStatus
Answer = dict[str, Any]
BY_COMMISSION = (PartnerKind.PLIE, PartnerKind.CLAP)
STORIES: dict[str, list[tuple[int, Answer]]] = {  # name → (working days later, answer)
    "accepts": [
        (1, {"status": S.REQUESTED, "business_status": B.RECEIVED}),
        (2, {"status": S.ACCEPTED, "appointment_in": 3}),
        (6, {"status": S.IN_PROGRESS}),
        (11, {"status": S.COMPLETED, "outcome": "support-started"}),
    ],
    "refuses": [(1, {"status": S.REJECTED, "reason": Reason.NOT_ELIGIBLE})],
    "person-declines": [(2, {"status": S.REJECTED, "reason": Reason.CLIENT_DECLINED})],
    "silent": [],
    "fills-up": [(1, {"status": S.REJECTED, "reason": Reason.NO_CAPACITY, "full": True})],
    "answers-twice": [(1, {"status": S.ACCEPTED}), (1, {"status": S.ACCEPTED})],
    "late": [(14, {"status": S.ACCEPTED})],
    "out-of-order": [
        (1, {"status": S.COMPLETED, "outcome": "support-started"}),
        (2, {"status": S.ACCEPTED}),
        (3, {"status": S.COMPLETED, "outcome": "support-started"}),
    ],
    "sends-on": [(1, {"status": S.REJECTED, "reason": Reason.REFERRED_ONWARD, "to": True})],
    "commission": [
        (1, {"status": S.REQUESTED, "business_status": B.UNDER_STUDY}),
        (3, {"status": S.REQUESTED, "business_status": B.COMMISSION_SCHEDULED, "meets_in": 5}),
        (8, {"status": S.ACCEPTED}),
    ],
    "no-show": [
        (1, {"status": S.ACCEPTED, "appointment_in": 2}),
        (4, {"status": S.ACCEPTED, "business_status": B.NO_SHOW}),
        (9, {"status": S.FAILED, "reason": Reason.CLIENT_NO_SHOW}),
    ],
    "asks": [(1, {"status": S.REQUESTED, "business_status": B.INFO_REQUESTED})],
    "waitlist": [
        (1, {"status": S.ACCEPTED}),
        (
            2,
            {
                "status": S.ON_HOLD,
                "reason": Reason.NO_CAPACITY,
                "business_status": B.WAITLISTED,
            },
        ),
    ],
}
WEIGHTS = [30, 12, 4, 16, 6, 4, 5, 4, 5, 5, 4, 4, 3]


class Month:
    """The hub's referral service and everybody around it, a day at a time."""

    def __init__(self, platform: Platform, cases: int, number: int) -> None:
        self.platform = platform
        self.random = Random(number)
        self.cases = cases
        self.now = datetime.combine(FIRST_DAY, time(9), UTC)
        platform.clock = lambda: self.now
        self.service: Service = build(platform)
        messages = Reactions(platform.writer("referrals"), RuleBook(RULES), platform.clock)
        self.advisers = AdviserCommands(messages)
        self.clock = DeadlineClock(self.service.database, messages)
        self.said: Counter[str] = Counter()
        self._inbox: list[tuple[date, int, ReferralRequested, Answer]] = []
        self._after = 0
        self._databases: dict[str, Database] = {}

    async def run(self) -> None:
        """All days; after each, nobody is forgotten."""
        await seed(self.platform, "petite-foret")
        days = [FIRST_DAY + timedelta(days=n) for n in range(DAYS)]
        opening = [day for day in days if working_day(day, 0) == day][:22]
        for day in days:
            self.now = datetime.combine(day, time(9), UTC)
            if day in opening:
                await self._people_come(-(-self.cases // len(opening)))
            await self._partners_answer(day)
            await self._settle()
            if working_day(day, 0) == day:
                await self._advisers_work()
                await self._settle()
            assert not (lost := await self.forgotten()), (day, lost[:5])

    async def close(self) -> None:
        """Let go of everything."""
        for database in self._databases.values():
            await database.close()
        await self.service.stop()

    async def _settle(self) -> None:
        await drain(self.service)
        while await self.clock.step():
            pass
        await self._partners_read()

    async def _append(self, service: str, pending: list[Pending]) -> None:
        if service not in self._databases:
            self._databases[service] = self.platform.database(service)
        async with self._databases[service].transaction() as tx:
            await self.platform.writer(service).write(
                tx, pending, new_persons=service == "intake"
            )

    async def _people_come(self, count: int) -> None:
        pending = []
        for _ in range(min(count, self.cases - self.said["cases"])):
            person_id, events = newcomer(self.random, local_day(self.now))
            pending.append(
                Pending(f"person-{person_id}", events, person_id, EventMetadata("test"))
            )
            self.said["cases"] += 1
        await self._append("intake", pending)

    # --- partners -------------------------------------------------------------------------

    async def _partners_read(self) -> None:
        """Each new request gets the story that its partner will tell."""
        store = EventStore("referrals")
        async with self.service.database.reading() as connection:
            while batch := await store.read(connection, self._after, 2000):
                self._after = batch[-1].position
                for event in batch:
                    self._read(parse_event(event.type, event.data))

    def _read(self, event: Event) -> None:
        if isinstance(event, DeadlinePassed):
            self.said[f"deadline {event.step}"] += 1
        if not isinstance(event, ReferralRequested):
            return
        (name,) = self.random.choices(list(STORIES), WEIGHTS)
        if event.partner_kind in BY_COMMISSION and name == "accepts":
            name = "commission"
        self.said[f"partner {name}"] += 1
        for after, answer in STORIES[name]:
            day = working_day(event.requested_on, after)
            heappush(self._inbox, (day, self.said["answers"], event, answer))
            self.said["answers"] += 1

    async def _partners_answer(self, day: date) -> None:
        pending = []
        while self._inbox and self._inbox[0][0] <= day:
            _, _, asked, answer = heappop(self._inbox)
            events: list[Event] = [self._answer(asked, dict(answer))]
            if answer.get("full"):
                pending.append(Pending(f"service-{asked.service_id}", [self._full(asked)]))
            stream = f"referral-{asked.referral_id}"
            pending.append(Pending(stream, events, asked.person_id, EventMetadata("partner")))
        await self._append("partners", pending)

    def _answer(self, asked: ReferralRequested, answer: Answer) -> AnswerReceived:
        answer.pop("full", None)
        if days := answer.pop("appointment_in", None):
            answer["appointment_at"] = self.now + timedelta(days=days)
        if days := answer.pop("meets_in", None):
            answer["commission_on"] = working_day(local_day(self.now), days)
        if answer.pop("to", None):
            kind = self.random.choice(["france-travail--accompagnement", "plie--parcours"])
            answer["suggested_service_id"] = f"petite-foret--{kind}"
        return AnswerReceived(
            answer_id=uuid4(), referral_id=asked.referral_id, partner_id=asked.partner_id,
            person_id=asked.person_id, seen_version=2, **answer,
        )  # fmt: skip

    def _full(self, asked: ReferralRequested) -> CapacityReported:
        return CapacityReported(
            service_id=asked.service_id, partner_id=asked.partner_id,
            status=CapacityStatus.NO_CAPACITY, until=local_day(self.now) + timedelta(days=3),
            reported_at=self.now,
        )  # fmt: skip

    # --- advisers -------------------------------------------------------------------------

    async def _advisers_work(self) -> None:
        """Two advisers take what is most urgent, as much as a day allows."""
        async with self.service.database.reading() as connection:
            items = await listed(connection, max(self.cases // 12, 10))
        await self._ask(items)
        for item in items:
            with suppress(AgreementMissingError, ForbiddenTransitionError, CaseClosedError):
                async with self.service.database.transaction() as tx:
                    await self._take(tx, item)

    async def _take(self, tx: Any, item: Any) -> None:
        reason, chance = item["reason"], self.random.random()
        self.said[f"adviser {reason}"] += 1
        match reason:
            case "to-confirm":
                await self._confirm(tx, item, chance)
            case "unknown-facts":
                await self.advisers.propose_again(tx, item["case_id"], ADVISER)
            case "partner-asks":
                move = _spoken(S(item["status"]), business_status=B.UNDER_STUDY)
                await self.advisers.move(tx, item["referral_id"], move, ADVISER)
            case "escalated" if item["status"] == S.REQUESTED and chance < 0.3:
                move = _spoken(S.REJECTED, reason=Reason.SERVICE_CLOSED)
                await self.advisers.move(tx, item["referral_id"], move, ADVISER)
            case "exhausted" if chance < 0.5:
                move = Move(S.CANCELLED, Author.ADVISER, outcome="no-service-found")
                status = CaseStatus.REVOKED
                await self.advisers.close(tx, item["case_id"], status, move, ADVISER)

    async def _confirm(self, tx: Any, item: Any, chance: float) -> None:
        if chance < 0.9:
            await self.advisers.confirm(tx, item["referral_id"], ADVISER)
            return
        query = "SELECT proposal_id FROM cases WHERE case_id = $1"
        proposal = await tx.fetchval(query, item["case_id"])
        await self.advisers.refuse(tx, proposal, "pas adapté", ADVISER)

    async def _ask(self, items: list[Any]) -> None:
        """The persons answer the open questions; what they say comes in by the intake."""
        facts = FactsSealed(facts=Facts(birth_date=DatedBirthDate(value=date(1990, 1, 1))))
        persons = {i["person_id"] for i in items if i["reason"] == "unknown-facts"}
        pending = [
            Pending(f"person-{p}", [FactsStated(person_id=p, sealed=facts)], p)
            for p in sorted(persons)
        ]
        await self._append("intake", pending)
        await drain(self.service)

    # --- what is checked ------------------------------------------------------------------

    async def forgotten(self) -> list[Any]:
        """Active cases that wait for nobody until no day, and are on no worklist."""
        async with self.service.database.reading() as connection:
            seen = {item["case_id"] for item in await listed(connection, 1_000_000)}
            rows = await connection.fetch(
                "SELECT c.case_id, bool_or(r.awaits = 'partner' AND r.next_on > $1) AS waits "
                "FROM cases c LEFT JOIN referrals r ON r.case_id = c.case_id "
                "WHERE c.status = 'active' GROUP BY c.case_id",
                local_day(self.now),
            )
        alone = [row["case_id"] for row in rows if not row["waits"]]
        return [case_id for case_id in alone if case_id not in seen]

    async def ends(self) -> dict[str, int]:
        """How many cases ended how, or where they stand."""
        async with self.service.database.reading() as connection:
            rows = await connection.fetch(
                "SELECT 'case ' || status AS what, count(*) AS n FROM cases GROUP BY status "
                "UNION ALL "
                "SELECT 'referral ' || status || coalesce(' ' || reason, ''), count(*) "
                "FROM referrals GROUP BY status, reason"
            )
            items = await listed(connection, 1_000_000)
        work = Counter(f"worklist {item['reason']}" for item in items)
        return {row["what"]: row["n"] for row in rows} | work

    async def attempts(self) -> list[Any]:
        """Cases in which a service was asked twice without a late yes, or more than allowed."""
        async with self.service.database.reading() as connection:
            return await connection.fetch(
                "SELECT case_id FROM referrals WHERE status <> 'entered-in-error' "
                "GROUP BY case_id, service_id HAVING count(*) > 1"
            )


async def listed(tx: Transaction, limit: int) -> list[dict[str, Any]]:
    """The first items of the worklist."""
    return [dict(row._mapping) for row in await tx.select(worklist(limit, 0))]


def _spoken(status: ReferralStatus, **given: Any) -> Move:
    return Move(status, Author.ADVISER, on_behalf_of=Author.PARTNER, **given)


async def _main(cases: int, number: int) -> None:
    with tempfile.TemporaryDirectory(prefix="aiguillage-month-") as directory:
        server = EmbeddedPostgres(Path(directory))
        server.start()
        url = server.url(DATABASE)
        await migrate(url, vault_url(url))
        settings = Settings(data=Path(directory), poll_seconds=0.01)
        month = Month(Platform(settings, url, vault_url(url)), cases, number)
        await month.run()
        for what, count in sorted((month.said | Counter(await month.ends())).items()):
            print(f"{count:>7}  {what}")  # noqa: T201 - a report on stdout
        assert not await month.attempts()
        await month.close()
        server.stop("immediate")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=59459)
    given = parser.parse_args()
    asyncio.run(_main(given.cases, given.seed))
