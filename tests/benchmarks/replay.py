"""Folding the log into pathways again, as an auditor's replay does."""

from uuid import UUID, uuid4

from contracts import referrals
from contracts.base import Event
from contracts.registry import parse_event
from contracts.values import Author, PartnerKind, ReferralStatus, Thematique
from infra.clock import system_clock
from infra.database import Database
from infra.eventstore.events import Meta, new_event
from infra.eventstore.store import Append, EventStore
from services.audit.model.pathway import Pathway, evolve
from tests.benchmarks.measure import Run, bench, compare

CASES = 5000
PAGE = 1000
NEED = Thematique("trouver-un-emploi--repondre-a-des-offres-demploi")


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
            rules_digest="0" * 64, evaluated_on=day, ranked=["s"], policy="auto",
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


async def fill(database: Database) -> int:
    """Append the cases; answers how many events."""
    store, now, count = EventStore("referrals"), system_clock(), 0
    appends = []
    for _ in range(CASES):
        person, events = case_events()
        new = [new_event(e, now, person, Meta()) for e in events]
        appends.append(Append(f"case-{person}", new, 0))
        count += len(new)
    async with database.transaction() as tx:
        await store.append(tx, appends, now)
    return count


def replaying(database: Database) -> Run:
    """Read in order, parse, fold every person's pathway."""

    async def run() -> int:
        store, after, count = EventStore("referrals"), 0, 0
        pathways: dict[UUID | None, Pathway] = {}
        async with database.reading() as connection:
            while batch := await store.read(connection, after, PAGE):
                for stored in batch:
                    before = pathways.get(stored.person_id) or Pathway()
                    event = parse_event(stored.type, stored.data)
                    pathways[stored.person_id] = evolve(before, event)
                after, count = batch[-1].position, count + len(batch)
        assert len(pathways) == CASES
        return count

    return run


def reading(database: Database) -> Run:
    """Only read in order: the database's share of a replay."""

    async def run() -> int:
        store, after, count = EventStore("referrals"), 0, 0
        async with database.reading() as connection:
            while batch := await store.read(connection, after, PAGE):
                after, count = batch[-1].position, count + len(batch)
        return count

    return run


async def main() -> None:
    """replay."""
    async with bench() as place:
        database = Database(place.url, "referrals", pool_size=2)
        await fill(database)
        peer = "reading the same events without folding"
        await compare("replay", replaying(database), peer, reading(database))
        await database.close()
