"""The directory as data: partners and services from a file, each change an event, once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from data_inclusion.schema.v1 import Service as InclusionService
from data_inclusion.schema.v1 import Structure
from pydantic import Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Event, Strict
from contracts.days import local_day
from contracts.partners import (
    CapacityReported,
    Deadlines,
    PartnerRegistered,
    PartnerRenamed,
    ServicePublished,
    ServiceWithdrawn,
)
from contracts.values import CapacityStatus, Channel, PartnerKind
from infra.clock import Clock
from infra.database import Database, driver
from infra.eventstore.events import Meta, Recorded
from infra.eventstore.writer import Pending, Writer
from infra.platform import Platform
from services.partners import projections, tables

SEEDS = Path(__file__).parents[1] / "seed"


class SeedService(Strict):
    """A data·inclusion service, with what that schema lacks (``ServicePublished``)."""

    policy: str = Field("confirm", pattern="^(confirm|auto)$")
    delay_days: int | None = Field(None, ge=0, le=365)
    channels: list[Channel] = Field([], max_length=5)
    commission: bool = False
    deadlines: Deadlines | None = None
    minimum_age: int | None = Field(None, ge=0, le=120)
    maximum_age: int | None = Field(None, ge=0, le=120)
    service: dict[str, Any]

    @model_validator(mode="after")
    def _is_inclusion(self) -> "SeedService":
        InclusionService.model_validate(self.service)
        steps = self.deadlines or Deadlines()
        if not 0 < steps.remind < steps.escalate < steps.expire <= 250:
            raise ValueError("deadlines: remind, escalate, expire follow each other")
        return self


class FormerName(Strict):
    """What an organisation is called from a day on."""

    name: str = Field(min_length=3, max_length=150)
    since: date


class SeedPartner(Strict):
    """A data·inclusion structure, its kind and its services."""

    kind: PartnerKind
    names: list[FormerName] = []
    structure: dict[str, Any]
    services: list[SeedService]

    @model_validator(mode="after")
    def _is_inclusion(self) -> "SeedPartner":
        Structure.model_validate(self.structure)
        if any(s.service["structure_id"] != self.structure["id"] for s in self.services):
            raise ValueError("a service belongs to another structure")
        return self


class Seed(Strict):
    """A whole directory."""

    partners: list[SeedPartner]

    def events(self) -> list[tuple[str, Event]]:
        """(stream, event) for every partner and service."""
        return [pair for partner in self.partners for pair in _events(partner)]


@dataclass(frozen=True, slots=True)
class Seeded:
    """How many entries a seed named, and how many of them were new or changed."""

    entries: int
    changed: int


def load_seed(name: str) -> Seed:
    """Read a seed that comes with the project.

    Raises ``LookupError`` if there is none of that name, ``ValidationError`` if it does not
    fit data·inclusion v1.
    """
    known = {path.stem: path for path in SEEDS.glob("*.json")}
    if name not in known:
        raise LookupError(f"no such directory; there are: {', '.join(sorted(known))}")
    return Seed.model_validate_json(known[name].read_bytes())


async def seed(platform: Platform, name: str) -> Seeded:
    """Publish a directory: what is new or changed becomes an event, the rest nothing."""
    database = platform.database("partners")
    try:
        async with database.transaction() as tx:
            return await publish(tx, platform.writer("partners"), load_seed(name).events())
    finally:
        await database.close()


async def publish(
    tx: AsyncConnection,
    writer: Writer,
    entries: Sequence[tuple[str, Event]],
    meta: Meta | None = None,
) -> Seeded:
    """Append the entries that differ from the last event of their stream."""
    streams = await writer.store.load_many(tx, [stream for stream, _ in entries])
    pending = []
    for stream, event in entries:
        known = streams.get(stream, [])
        if not _said_last(event, known):
            pending.append(Pending(stream, [event], None, meta or Meta(), len(known)))
    await projections.keep_directory(tx, [event for p in pending for event in p.events])
    await writer.write(tx, pending)
    return Seeded(len(entries), len(pending))


def _said_last(event: Event, known: Sequence[Recorded]) -> bool:
    """Whether the stream says so already, and has not been contradicted since."""
    told = [r for r in known if r.type in (event.type, ServiceWithdrawn.type)]
    return bool(told) and (told[-1].type, told[-1].data.encode()) == (
        event.type,
        event.clear_json(),
    )


class UnknownServiceError(Exception):
    """The directory has no such service."""


class PastReportError(Exception):
    """The report says nothing of today: it held until a day that is over."""


@dataclass(frozen=True)
class Capacity:
    """Takes partners' word on whether a service has room."""

    database: Database
    writer: Writer
    clock: Clock

    async def report(
        self,
        service_id: str,
        status: CapacityStatus,
        seats: int | None,
        until: date | None,
        meta: Meta,
    ) -> CapacityReported:
        """Store a report; the newest counts.

        Raises ``UnknownServiceError``; ``PastReportError`` if ``until`` is over in France.
        """
        if until and until < local_day(self.clock()):
            raise PastReportError
        async with self.database.transaction() as tx:
            raw = await driver(tx)
            partner_id = await raw.fetchval(tables.SERVICE, service_id)
            if partner_id is None:
                raise UnknownServiceError(service_id)
            said = CapacityReported(
                service_id=service_id,
                partner_id=partner_id,
                status=status,
                seats=seats,
                until=until,
                reported_at=self.clock(),
            )
            await projections.keep_directory(tx, [said])
            await self.writer.write(tx, [Pending(f"service-{service_id}", [said], None, meta)])
        return said


def _events(partner: SeedPartner) -> Iterable[tuple[str, Event]]:
    structure = partner.structure
    registered = PartnerRegistered(
        partner_id=structure["id"],
        kind=partner.kind,
        name=structure["nom"],
        structure=structure,
    )
    yield f"partner-{structure['id']}", registered
    for name in partner.names:
        said = PartnerRenamed(partner_id=structure["id"], **name.model_dump())
        yield f"partner-{structure['id']}-name-{name.since}", said
    for item in partner.services:
        # a stream for each: the newest event of a service's stream is the service as it is
        yield f"service-{item.service['id']}", published(partner.kind, item)


def published(kind: PartnerKind, item: SeedService) -> ServicePublished:
    """The event of a service as it is now."""
    service = item.service
    return ServicePublished(
        service_id=service["id"],
        partner_id=service["structure_id"],
        kind=kind,
        name=service["nom"],
        thematiques=service.get("thematiques") or [],
        zone_eligibilite=service.get("zone_eligibilite") or [],
        minimum_age=item.minimum_age,
        maximum_age=item.maximum_age,
        policy=item.policy,
        publics=service.get("publics") or [],
        modes=service.get("modes_accueil") or [],
        code_insee=service.get("code_insee"),
        opening=service.get("horaires_accueil"),
        delay_days=item.delay_days,
        channels=item.channels,
        commission=item.commission,
        deadlines=item.deadlines,
        service=service,
    )
