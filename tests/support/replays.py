"""A log of some people's pathways in memory, as a replay reads it, and as it is exported."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from contracts import partners, referrals
from contracts.base import Event
from contracts.intake import PersonRegistered
from contracts.values import (
    Author,
    CaseStatus,
    Channel,
    DeadlineStep,
    MessageKind,
    PartnerKind,
    ReferralStatus,
    Thematique,
)
from infra.eventstore.events import EventMetadata, StoredEvent
from services.audit.handlers.replay import MERGES, AsOf, Log, LogRow, Pages, Span, lines
from services.audit.model.replay import Of, Subject
from tests.support.exports import Logged, opened, salt_of

MONDAY = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
THEMATIQUE = next(iter(Thematique))
PARTNERS = ("ml-1", "cap-2")


def ids(n: int) -> tuple[UUID, UUID, UUID]:
    """Person, case and referral of the n-th pathway."""
    return UUID(int=n), UUID(int=1000 + n), UUID(int=2000 + n)


def pathway(n: int) -> list[tuple[str, int, Event]]:
    """Service, day and event: a case whose referral is answered after ``n % 5`` days."""
    person, case, referral = ids(n)
    about = {
        "referral_id": referral, "case_id": case, "person_id": person,
        "partner_id": PARTNERS[n % 2], "partner_kind": PartnerKind.MISSION_LOCALE,
        "service_id": "s",
    }  # fmt: skip
    moved = {"referral_id": referral, "case_id": case, "author": Author.PARTNER}
    agreement = UUID(int=3000 + n)
    wait = n % 5
    return [
        ("intake", 0, PersonRegistered(person_id=person, anonymous=False)),
        ("referrals", 0, referrals.CaseOpened(
            case_id=case, person_id=person, need_id=case, thematique=THEMATIQUE)),
        ("referrals", 0, referrals.ReferralProposed(proposal_id=referral, **about)),
        ("referrals", 0, referrals.ReferralRequested(
            thematique=THEMATIQUE, agreement_id=agreement, agreed_until=date(2027, 1, 1),
            requested_on=date(2026, 1, 5), **about)),
        ("partners", 0, partners.DisclosureMade(
            referral_id=referral, person_id=person, partner_id=PARTNERS[n % 2],
            agreement_id=agreement, fields=["phone", "email"], digest="0" * 64)),
        ("partners", 0, partners.DeliverySucceeded(
            delivery_id=referral, referral_id=referral, partner_id=PARTNERS[n % 2],
            message=MessageKind.REQUESTED, attempts=1, channel=Channel.WEBHOOK)),
        ("referrals", wait, referrals.DeadlinePassed(
            referral_id=referral, case_id=case, partner_id=PARTNERS[n % 2], service_id="s",
            step=DeadlineStep.REMIND, due_on=date(2026, 1, 8), requested_on=date(2026, 1, 5))),
        ("referrals", wait, referrals.ReferralAccepted(
            status=ReferralStatus.ACCEPTED, **moved)),
        ("referrals", wait + 1, referrals.CaseClosed(
            case_id=case, status=CaseStatus.COMPLETED)),
    ]  # fmt: skip


def story(count: int) -> list[Logged]:
    """The events of ``count`` pathways, day by day, with something personal in each."""
    told = [(day, n, at, service, event) for n in range(1, count + 1)
            for at, (service, day, event) in enumerate(pathway(n))]  # fmt: skip
    log: list[Logged] = []
    versions = Counter[tuple[str, int]]()
    for day, n, _, service, event in sorted(told, key=lambda each: each[:3]):
        versions[service, n] += 1
        version = versions[service, n]
        log.append(said(len(log), service, event, person=ids(n)[0], version=version, day=day))
    return log


def said(
    at: int, service: str, event: Event, *, person: UUID, version: int = 1, day: int = 0
) -> Logged:
    """One entry; its stream is the person's."""
    moment, data = MONDAY + timedelta(days=day), event.clear_json().decode()
    recorded = StoredEvent(
        service, at + 1, UUID(int=9000 + at), f"{service}-{person}", version, event.type,
        person, moment, moment, data, b"sealed %d" % at, EventMetadata(), salt_of(at),
        salt_of(at),
    )  # fmt: skip
    return opened(recorded)


class MemoryRows(Log):
    """What the audit service's table would say."""

    def __init__(self, entries: Sequence[Logged], page: int = 7) -> None:
        self._rows = [
            LogRow(at, each.entry, each.header, each.data.decode(), bool(each.sealed))
            for at, each in enumerate(entries)
        ]
        self._page = page

    async def size(self) -> int:
        return len(self._rows)

    async def pages(self, span: Span) -> Pages:
        rows = [row for row in self._rows[span.start : span.stop] if self._of(row, span)]
        for at in range(0, len(rows), self._page):
            yield rows[at : at + self._page]

    async def merges(self, stop: int) -> Sequence[LogRow]:
        return [r for r in self._rows[:stop] if orjson.loads(r.header)["type"] in MERGES]

    async def person_of(self, subject: Subject) -> str | None:
        named = f'"{subject.of}_id":"{subject.id}"'
        for row in self._rows:
            if subject.of is Of.PERSON or named in row.data:
                return subject.id if subject.of is Of.PERSON else _person(row)
        return None

    def _of(self, row: LogRow, span: Span) -> bool:
        return span.persons is None or _person(row) in span.persons


def _person(row: LogRow) -> str:
    return str(orjson.loads(row.header)["person"])


async def told(
    log: Log, subject: Subject, as_of: AsOf | None = None, start: int = 0
) -> list[dict[str, Any]]:
    """Every line of a replay but those that say how far it is."""
    as_of = as_of or AsOf(await log.size())
    return [line async for line in lines(log, subject, as_of, start) if "next" not in line]
