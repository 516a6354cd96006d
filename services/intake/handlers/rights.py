"""Rights of a person, under every id of theirs; and the profile that is shown of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from contracts.base import Event
from contracts.days import local_day
from contracts.fields import Facts, Identity
from contracts.intake import (
    AgreementWithdrawn,
    FactsSealed,
    FactsStated,
    IdentitySealed,
    PersonIdentified,
)
from contracts.registry import parse_event
from contracts.rights import (
    PersonObjected,
    PersonRectified,
    PersonRestricted,
    PersonUnrestricted,
    ReasonSealed,
)
from infra.base.clock import Clock
from infra.eventstore.events import EventMetadata
from infra.eventstore.retrying import retrying
from infra.eventstore.sealed import unseal
from infra.eventstore.writer import Pending, Writer
from infra.keys.vault import PersonErasedError
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.privacy.access_log import View, log_access
from infra.privacy.restrictions import require_unlimited
from services.intake.handlers.persons import TELLING, UnknownPersonError
from services.intake.model.identity import Profile, profile
from services.intake.model.statements import dated
from services.intake.tables.persons import lock_persons, same_person, stream_of

ATTEMPTS = 5
PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class Rectification:
    """Fields that are put right, whatever day they had; newer ones supersede field by field."""

    identity: Identity | None
    facts: Facts | None
    reason: str | None

    def events(self, person_id: UUID, today: date, by: str) -> list[Event]:
        """Return the statements, and the event that they put something right."""
        events: list[Event] = []
        if self.identity:
            sealed = IdentitySealed(identity=self.identity)
            events.append(PersonIdentified(person_id=person_id, sealed=sealed))
        if self.facts:
            facts = FactsSealed(facts=dated(self.facts, today, today))
            events.append(FactsStated(person_id=person_id, corrects=True, sealed=facts))
        rectified = PersonRectified(
            person_id=person_id,
            fields=self.names(),
            rectified_by=by,
            sealed=_sealed(self.reason),
        )
        return [*events, rectified]

    def names(self) -> list[str]:
        """Return the names of the fields, sorted."""
        given = [part for part in (self.identity, self.facts) if part]
        return sorted(name for part in given for name in part.model_fields_set)


@dataclass(frozen=True)
class Rights:
    """Rectification, objection, restriction; and the profile, whose access is logged.

    Each raises ``UnknownPersonError`` and ``PersonErasedError``.
    """

    database: Database
    writer: Writer
    clock: Clock

    async def rectify(
        self, person_id: UUID, change: Rectification, meta: EventMetadata
    ) -> None:
        """Rectify fields: new events, nothing is overwritten."""
        events = change.events(person_id, local_day(self.clock()), meta.actor)
        await self._append(person_id, lambda p: events if p == person_id else [], meta)

    async def object(self, person_id: UUID, reason: str | None, meta: EventMetadata) -> None:
        """Record an objection: agreements end, cases are closed, partners are notified."""

        def events(person: UUID) -> list[Event]:
            objected = PersonObjected(person_id=person, sealed=_sealed(reason))
            return [objected, AgreementWithdrawn(person_id=person)]

        await self._append(person_id, events, meta)

    async def restrict(self, person_id: UUID, reason: str | None, meta: EventMetadata) -> None:
        """Keep the data, and do nothing else with them."""

        def events(person: UUID) -> list[Event]:
            return [PersonRestricted(person_id=person, sealed=_sealed(reason))]

        await self._append(person_id, events, meta)

    async def lift(self, person_id: UUID, meta: EventMetadata) -> None:
        """End a restriction."""
        await self._append(person_id, lambda p: [PersonUnrestricted(person_id=p)], meta)

    async def show(
        self,
        person_id: UUID,
        meta: EventMetadata,
        reason: str | None = None,
        *,
        anybody: bool = False,
    ) -> Profile:
        """Return what is known of a person, once the access is logged.

        ``anybody``: also of those whom staff do not see. Raises ``LimitedError``.
        """
        async with self.database.transaction() as tx:
            group = await self._group(tx, person_id)
            if not anybody:
                await require_unlimited(tx, person_id)
            names = [stream_of(person) for person in group]
            streams = await self.writer.store.load_many(tx, names)
            telling = [e for events in streams.values() for e in events if e.type in TELLING]
            clear = await unseal(self.writer.vault, telling)
            telling.sort(key=lambda event: event.position)
            known = profile(parse_event(e.type, e.data, clear.get(e.event_id)) for e in telling)
            view = View(person_id, PROFILE, known.names(), reason)
            await log_access(tx, self.writer, [view], meta)
        return known

    async def _append(
        self, person_id: UUID, events_of: Callable[[UUID], list[Event]], meta: EventMetadata
    ) -> None:
        """Append events of each id of a person."""

        async def append(tx: Transaction) -> None:
            group = await self._group(tx, person_id)
            await self.writer.write(
                tx, [Pending(stream_of(p), events_of(p), p, meta) for p in group]
            )

        await retrying(self.database, append, ATTEMPTS)

    async def _group(self, tx: Transaction, person_id: UUID) -> list[UUID]:
        if not await lock_persons(tx, [person_id]):
            raise UnknownPersonError("person")
        group = sorted(await same_person(tx, person_id))
        alive = await self.writer.vault.keys(group)
        if set(group) - alive.keys():
            raise PersonErasedError
        return group


def _sealed(reason: str | None) -> ReasonSealed | None:
    return ReasonSealed(reason=reason) if reason else None
