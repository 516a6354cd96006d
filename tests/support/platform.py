"""A platform on the test's databases, and helpers that act as other services would."""

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from uuid import UUID, uuid4

import httpx2
import pytest

from contracts import fields, intake, statements
from contracts.base import Event
from contracts.partners import ServicePublished
from contracts.values import Evidence, PartnerKind, Situation, Thematique
from infra.base.settings import Settings
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.eventstore.writer import Pending
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.web.app import Service
from infra.web.auth import create_key
from tests.support.postgres import Databases

JOB = Thematique("trouver-un-emploi--repondre-a-des-offres-demploi")


@pytest.fixture
async def platform(databases: Databases) -> AsyncIterator[Platform]:
    """A platform with short waits."""
    settings = Settings(data=databases.directory, poll_seconds=0.02, seed="petite-foret")
    platform = Platform(settings, databases.url, databases.vault_url)
    yield platform
    await platform.close()


async def append(
    platform: Platform,
    service: str,
    stream: str,
    events: Sequence[Event],
    person_id: UUID | None = None,
    occurred_at: datetime | None = None,
) -> list[StoredEvent]:
    """Append as ``service`` would."""
    database = platform.database(service)
    pending = Pending(stream, events, person_id, EventMetadata("test"), occurred_at=occurred_at)
    try:
        async with database.transaction() as tx:
            return await platform.writer(service).write(
                tx, [pending], new_persons=service == "intake"
            )
    finally:
        await database.close()


async def drain(service: Service) -> int:
    """Step every subscription of a service until nothing is left; answers how many applied."""
    total = 0
    subscriptions = [w for w in service.workers if isinstance(w, Subscription)]
    for subscription in subscriptions:
        await subscription.source.start(subscription)
    while applied := sum([await s.step() for s in subscriptions]):
        total += applied
    return total


async def client(service: Service, role: str, scope: Sequence[str] = ()) -> httpx2.AsyncClient:
    """An HTTP client with a key of a role."""
    async with service.database.transaction() as tx:
        key = await create_key(tx, f"test-{role}", role, scope)
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(service.app),
        base_url="http://test",
        headers={"authorization": f"Bearer {key}"},
    )


def resident(
    person_id: UUID,
    *,
    name: str = "Dubrulle",
    born: date = date(2006, 5, 17),
    agreed: Sequence[PartnerKind] = tuple(PartnerKind),
    note: str = "cherche un contrat",
    thematique: Thematique = JOB,
    urgent: bool = False,
    requester: str | None = None,
) -> list[Event]:
    """What the intake says of a first visit with one need."""
    contact_id = uuid4()
    identity = fields.Identity(family_name=name, given_name="Inès", phone="+33612345678")
    named = intake.IdentitySealed(identity=identity)
    facts = fields.Facts(
        birth_date=statements.DatedBirthDate(value=born),
        commune=statements.DatedCommune(value="59459"),
        situation=statements.DatedSituation(value=Situation.JOB_SEEKER),
    )
    agreements = [
        intake.AgreementGiven(
            agreement_id=uuid4(), person_id=person_id, partner_kind=kind,
            fields=["family_name", "given_name", "phone", "need_note"],
            until=date(2030, 1, 1), evidence=Evidence.ORAL,
        )
        for kind in agreed
    ]  # fmt: skip
    return [
        intake.PersonRegistered(
            person_id=person_id, anonymous=False, sealed=named
        ),
        intake.FactsStated(person_id=person_id, sealed=intake.FactsSealed(facts=facts)),
        *agreements,
        intake.NeedExpressed(
            need_id=uuid4(), contact_id=contact_id, person_id=person_id, thematique=thematique,
            urgent=urgent, sealed=intake.NeedSealed(note=note, requester=requester),
        ),
    ]  # fmt: skip


def published(kind: PartnerKind, policy: str = "confirm") -> ServicePublished:
    """A partner's service for job seekers, as the directory says it."""
    return ServicePublished(
        service_id=f"s-{kind}", partner_id=f"p-{kind}", kind=kind, name=kind,
        thematiques=[JOB], policy=policy, service={},
    )  # fmt: skip
