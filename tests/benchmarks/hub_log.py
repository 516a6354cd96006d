"""A log to measure on: real events of cases, put into it by the audit service's own reader."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from contracts import referrals
from contracts.base import Event
from contracts.values import Author, PartnerKind, ReferralStatus, Thematique
from infra.base.clock import system_clock
from infra.base.settings import Settings
from infra.eventstore.events import EventMetadata, StoredEvent, new_event
from infra.eventstore.store import Append, EventStore
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.postgres.database import Database, vault_url
from infra.web.app import Service
from services.audit.app import build
from tests.benchmarks.measure import Bench
from tests.support.audit_log import drain

EVENTS_OF_A_CASE = 6
CASES_AT_ONCE = 500
NEED = Thematique("trouver-un-emploi--repondre-a-des-offres-demploi")


@dataclass
class HubLog:
    """The audit service, and the referrals service's events that it reads."""

    service: Service
    referrals: Database

    @property
    def database(self) -> Database:
        """The audit service's."""
        return self.service.database

    async def happen(self, cases: int) -> int:
        """So many cases from beginning to end; answers how many events."""
        store, now = EventStore("referrals"), system_clock()
        for start in range(0, cases, CASES_AT_ONCE):
            appends = []
            for _ in range(min(CASES_AT_ONCE, cases - start)):
                person, events = case_events()
                new = [new_event(event, now, person, EventMetadata()) for event in events]
                appends.append(Append(f"case-{person}", new, 0))
            async with self.referrals.transaction() as tx:
                await store.append(tx, appends, now)
        return cases * EVENTS_OF_A_CASE

    async def sequence(self) -> None:
        """Put all that happened into the log."""
        (reader,) = [w for w in self.service.workers if w.name == "log-referrals"]
        assert isinstance(reader, Subscription)
        await drain(reader)

    async def stored(self, after: int, limit: int) -> list[StoredEvent]:
        """Events as the reader hands them to the log."""
        async with self.referrals.reading() as tx:
            return list(await EventStore("referrals").read(tx, after, limit))


@asynccontextmanager
async def hub_log(place: Bench) -> AsyncIterator[HubLog]:
    """The audit service on a database, with nothing in its log."""
    settings = Settings(data=place.directory, kafka_bootstrap=None)
    platform = Platform(settings, place.url, vault_url(place.url))
    service, pool = build(platform), platform.database("referrals")
    try:
        yield HubLog(service, pool)
    finally:
        await service.stop()
        await pool.close()
        await platform.close()


def case_events() -> tuple[UUID, list[Event]]:
    """One case, from its opening to its end."""
    person, case, referral, proposal = uuid4(), uuid4(), uuid4(), uuid4()
    day = system_clock().date()
    moved = {"referral_id": referral, "case_id": case, "author": Author.PARTNER}
    to = {
        "referral_id": referral, "case_id": case, "person_id": person, "partner_id": "p",
        "partner_kind": PartnerKind.MISSION_LOCALE, "service_id": "s",
    }  # fmt: skip
    return person, [
        referrals.CaseOpened(
            case_id=case, person_id=person, need_id=uuid4(), thematique=NEED
        ),
        referrals.ProposalMade(
            thematique=NEED, proposal_id=proposal, case_id=case, person_id=person, rules="r",
            rules_digest="0" * 64, evaluated_on=day, ranked=["s"], considered=1,
            directory=referrals.DirectoryRead(position=1, referrals=0, day=day), policy="auto",
        ),
        referrals.ReferralProposed(proposal_id=proposal, **to),
        referrals.ReferralRequested(
            thematique=NEED, agreement_id=uuid4(), agreed_until=day, requested_on=day, **to
        ),
        referrals.ReferralAccepted(status=ReferralStatus.ACCEPTED, **moved),
        referrals.ReferralCompleted(
            status=ReferralStatus.COMPLETED, outcome="support-started", **moved
        ),
    ]  # fmt: skip
