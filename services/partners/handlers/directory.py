"""The directory as data: partners and services from a file, each change an event, once."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
from data_inclusion.schema.v1 import Service as InclusionService
from data_inclusion.schema.v1 import Structure
from pydantic import Field, model_validator

from contracts.base import Event, Strict
from contracts.partners import (
    Deadlines,
    PartnerRegistered,
    PartnerRenamed,
    ServicePublished,
    ServiceWithdrawn,
)
from contracts.values import Channel, PartnerKind
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.eventstore.writer import Pending, Writer
from infra.platform import Platform
from infra.postgres.transaction import Transaction
from services.partners import projections
from services.partners.handlers.rows import canonical
from services.partners.tables import directory

SEEDS = Path(__file__).parents[1] / "seed"
Entry = tuple[str, Event]
"""(stream, event)"""
_OF_DIRECTORY = {
    e.type for e in (PartnerRegistered, PartnerRenamed, ServicePublished, ServiceWithdrawn)
}


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
    """Name of an organisation from a day on."""

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

    @model_validator(mode="after")
    def _names_lead_to_the_present_one(self) -> "SeedPartner":
        days = [name.since for name in self.names]
        if days != sorted(set(days)):
            raise ValueError("names: each since a later day than the one before")
        if self.names and self.names[-1].name != self.structure["nom"]:
            raise ValueError("names: the last one is the present one")
        return self

    def entries(self) -> Iterable[Entry]:
        """(stream, event) of the partner, its names and its services."""
        structure = canonical(Structure, self.structure)
        yield registered(self.kind, structure)
        for name in self.names:
            yield _called(structure["id"], name.name, name.since)
        for item in self.services:
            # a stream for each: its newest event is the service as it is
            yield f"service-{item.service['id']}", published(self.kind, item)


class Seed(Strict):
    """A whole directory."""

    partners: list[SeedPartner]

    def events(self) -> list[Entry]:
        """(stream, event) for every partner and service."""
        return [entry for partner in self.partners for entry in partner.entries()]


@dataclass(frozen=True, slots=True)
class Seeded:
    """Result of a seed: entries that it named, those that were new or changed, and which.

    ``appended``: each event, and whether it is the first of its type in its stream.
    """

    entries: int
    changed: int
    appended: tuple[tuple[Event, bool], ...] = ()


class UnknownDirectoryError(Exception):
    """No directory of that name comes with the project."""


def load_seed(name: str) -> Seed:
    """Read a seed that comes with the project.

    Raises ``UnknownDirectoryError`` if there is none of that name, ``ValidationError`` if it
    does not fit data·inclusion v1.
    """
    known = {path.stem: path for path in SEEDS.glob("*.json")}
    if name not in known:
        raise UnknownDirectoryError(f"no such directory; there are: {', '.join(sorted(known))}")
    return Seed.model_validate_json(known[name].read_bytes())


async def seed(platform: Platform, name: str) -> Seeded:
    """Publish a directory: what is new or changed becomes an event, the rest nothing.

    What somebody imported since is left alone: the seed of every start must not undo it.
    """
    database = platform.database("partners")
    try:
        async with database.transaction() as tx:
            entries = load_seed(name).events()
            return await publish(tx, platform.writer("partners"), entries)
    finally:
        await database.close()


async def publish(
    tx: Transaction, writer: Writer, entries: Sequence[Entry], meta: EventMetadata | None = None
) -> Seeded:
    """Append the entries that differ from the last event of their stream, and new names.

    Without ``meta`` it is the hub itself that speaks, which contradicts nobody.
    """
    news = await _news(tx, writer, entries, meta)
    named = {e.partner_id for _, e in entries if isinstance(e, PartnerRenamed)}
    news += await _news(tx, writer, await _renamings(tx, news, named), meta)
    appended = tuple((n.event, n.first) for n in news)
    await projections.keep_directory(tx, [event for event, _ in appended])
    pending = [
        Pending(n.stream, [n.event], None, meta or EventMetadata(), n.version) for n in news
    ]
    await writer.write(tx, pending)
    return Seeded(len(entries), len(appended), appended)


@dataclass(frozen=True, slots=True)
class _News:
    """An event that its stream, at this version, does not end with; the first of its type?"""

    stream: str
    event: Event
    version: int
    first: bool


async def _news(
    tx: Transaction, writer: Writer, entries: Sequence[Entry], meta: EventMetadata | None
) -> list[_News]:
    streams = await writer.store.load_many(tx, [stream for stream, _ in entries])

    def different() -> list[_News]:
        news = []
        for stream, event in entries:
            recorded = streams.get(stream, [])
            known = [r for r in recorded if r.type in _OF_DIRECTORY]
            others = bool(known) and known[-1].meta.actor != EventMetadata().actor
            if not _ends_with(known, event) and (meta or not others):
                first = all(r.type != event.type for r in known)
                news.append(_News(stream, event, len(recorded), first))
        return news

    # thousands of rows are compared as JSON: elsewhere, so that other requests go on
    return await asyncio.to_thread(different)


def _ends_with(known: Sequence[StoredEvent], event: Event) -> bool:
    """Return whether the last event says the same: it has not been contradicted since."""
    if not known or known[-1].type != event.type:
        return False
    return bool(orjson.loads(known[-1].data) == orjson.loads(event.clear_json()))


async def _renamings(tx: Transaction, news: Iterable[_News], named: set[str]) -> list[Entry]:
    """Return new names, where no entry says since when: since the day of the changed row."""
    events = (n.event for n in news if isinstance(n.event, PartnerRegistered))
    new = {e.partner_id: e for e in events if e.partner_id not in named}
    entries = []
    for partner_id, name, changed_on, named_on in await tx.fetch(directory.CALLED, list(new)):
        now = new[partner_id]
        if name == now.name:
            continue
        since = date.fromisoformat(now.structure["date_maj"])
        if named_on is None:  # the old name counts for all days before
            first = min(date.fromisoformat(changed_on), since - timedelta(days=1))
            entries.append(_called(partner_id, name, first))
        else:  # a source whose day stands still corrects the name of that day
            since = max(since, named_on)
        entries.append(_called(partner_id, now.name, since))
    return entries


def _called(partner_id: str, name: str, since: date) -> Entry:
    """Return the entry of a name: one stream for each, so that it is said once."""
    event = PartnerRenamed(partner_id=partner_id, name=name, since=since)
    return f"partner-{partner_id}-name-{since}", event


def registered(kind: PartnerKind, structure: dict[str, Any]) -> Entry:
    """(stream, event) of an organisation as it is now."""
    event = PartnerRegistered(
        partner_id=structure["id"], kind=kind, name=structure["nom"], structure=structure
    )
    return f"partner-{structure['id']}", event


def published(kind: PartnerKind, item: SeedService) -> ServicePublished:
    """Return the event of a service as it is now."""
    service = canonical(InclusionService, item.service)
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
