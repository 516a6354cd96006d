"""Duplicate persons: found by a blind index, judged by an adviser, undone if wrong.

A merge is an alias. No event moves: each goes on under the id it was recorded with, and whoever
reads puts the ids together. So taking a merge back is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.base import Event
from contracts.erasure import ErasureRequested
from contracts.intake import FactsStated, PersonIdentified, PersonRegistered
from contracts.persons import (
    DuplicateDismissed,
    DuplicateSuspected,
    MergeReason,
    PersonMerged,
    PersonShared,
    PersonUnmerged,
    SharedSealed,
)
from contracts.registry import parse_event
from contracts.sources import normal_source
from contracts.values import MatchKind
from infra.base.clock import Clock
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.eventstore.sealed import unseal
from infra.eventstore.writer import Pending, Writer
from infra.keys.vault import PersonErasedError, keyed_digest
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction, columns
from infra.privacy.restrictions import require_unlimited
from services.intake.handlers.inbound import origin_of
from services.intake.model.identity import features, profile
from services.intake.tables import statements
from services.intake.tables.persons import (
    add_sources,
    announced,
    lock_persons,
    sources_of,
    stream_of,
)

TELLING = frozenset(e.type for e in (PersonRegistered, PersonIdentified, FactsStated))
SHARED_BY_MANY = 20
"""A phone or an address that more persons share (a hostel's) says nothing of any of them."""
AUTOMATIC = "policy:agreed-identifier"


class UnknownPersonError(Exception):
    """There is no such person, or no such suspicion."""


class MergeRefusedError(Exception):
    """The merge, or its undoing, makes no sense as things are; the text says why."""


@dataclass(frozen=True)
class Persons:
    """Finds duplicates, merges persons, takes merges back, and shares persons."""

    database: Database
    writer: Writer
    clock: Clock

    async def on_own_events(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """Index the profiles that changed, and suspect persons who match somebody else."""
        persons = {m.person_id for m in messages if m.type in TELLING and m.person_id}
        if not persons:
            return

        # their profiles, opened, become digests
        key = self.writer.vault.index.derive("person-index")
        streams = await self.writer.store.load_many(tx, [stream_of(p) for p in persons])
        telling = [e for events in streams.values() for e in events if e.type in TELLING]
        opened = await unseal(self.writer.vault, telling)
        history: dict[UUID, list[Event]] = {}
        for e in telling:
            event = parse_event(e.type, e.data, opened.get(e.event_id))
            history.setdefault(e.person_id or UUID(int=0), []).append(event)
        rows = [
            (person_id, kind, keyed_digest(key, kind.encode(), value.encode()))
            for person_id, events in history.items()
            for kind, value in features(profile(events)).items()
        ]
        await tx.execute(statements.UNINDEX, list(persons))
        await tx.execute(statements.INDEX, *columns(rows, 3))

        # and digests that few share make suspicions
        pending: list[Pending] = []
        matches = await tx.fetch(statements.MATCHES, list(persons), SHARED_BY_MANY)
        for person_id, other_id, kinds in matches:
            if suspected := await self._suspect(tx, person_id, other_id, kinds):
                pending.append(_pending(suspected, person_id))
        await self.writer.write(tx, pending)

    async def _suspect(
        self, tx: Transaction, person_id: UUID, other_id: UUID, names: Sequence[str]
    ) -> Event | None:
        """Suspect the younger of two; an agreed identifier merges by itself."""
        kinds = [MatchKind(name) for name in names]
        automatic = MatchKind.FRANCE_TRAVAIL_NUMBER in kinds
        status = "merged" if automatic else "open"
        pair = (person_id, other_id)
        new = await tx.fetchval(statements.SUSPECT, *pair, names, status, self.clock())
        if new is None:
            return None
        if not automatic:
            return DuplicateSuspected(person_id=person_id, other_id=other_id, matched_on=kinds)
        if await tx.fetchval(statements.ADD_ALIAS, *pair) is None:
            return None  # part of a third one already, who matches as well
        return PersonMerged(
            person_id=person_id, into=other_id, merged_by=AUTOMATIC, matched_on=kinds
        )

    async def merge(
        self, person_id: UUID, into: UUID, reason: str | None, meta: EventMetadata
    ) -> PersonMerged:
        """Make one person's pathway part of another's.

        Raises ``UnknownPersonError``, ``MergeRefusedError``, ``PersonErasedError``.
        """
        async with self.database.transaction() as tx:
            await self._lock(tx, person_id, into)
            members = await tx.fetch(statements.MEMBERS, person_id, into)
            roots = {wanted: root for wanted, root in members}
            if roots[person_id] != person_id:
                raise MergeRefusedError("the person is already part of another")
            if roots[into] == person_id:
                raise MergeRefusedError("the other is already part of this person")
            await tx.execute(statements.ADD_ALIAS, person_id, into)
            await tx.execute(statements.SETTLE, person_id, into, "merged")
            merged = PersonMerged(
                person_id=person_id,
                into=into,
                merged_by=meta.actor,
                sealed=MergeReason(reason=reason) if reason else None,
            )
            await self.writer.write(tx, [_pending(merged, person_id, meta)])
        return merged

    async def unmerge(self, person_id: UUID, meta: EventMetadata) -> PersonUnmerged:
        """Take a merge back; raises as ``merge`` does."""
        async with self.database.transaction() as tx:
            await self._lock(tx, person_id)
            into = await tx.fetchval(statements.DROP_ALIAS, person_id)
            if into is None:
                raise MergeRefusedError("the person is part of no other")
            await tx.execute(statements.SETTLE, person_id, into, "dismissed")
            unmerged = PersonUnmerged(person_id=person_id, from_id=into, unmerged_by=meta.actor)
            await self.writer.write(tx, [_pending(unmerged, person_id, meta)])
        return unmerged

    async def dismiss(self, person_id: UUID, other_id: UUID, meta: EventMetadata) -> None:
        """Settle, for good, that two persons are not one.

        Raises ``UnknownPersonError`` and, of two that are merged, ``MergeRefusedError``.
        """
        async with self.database.transaction() as tx:
            if await tx.fetchval(statements.ARE_ONE, person_id, other_id):
                raise MergeRefusedError("the two are merged: take the merge back")
            suspicion = await tx.fetchrow(statements.SETTLE, person_id, other_id, "dismissed")
            if suspicion is None:
                raise UnknownPersonError("duplicate")
            younger, older = suspicion
            dismissed = DuplicateDismissed(
                person_id=younger, other_id=older, dismissed_by=meta.actor
            )
            await self.writer.write(tx, [_pending(dismissed, younger, meta)])

    async def share(
        self, person_id: UUID, source: str, reason: str | None, meta: EventMetadata
    ) -> None:
        """Let another system speak of a person; a repeat changes nothing.

        Raises ``UnknownPersonError``, ``PersonErasedError`` and ``LimitedError``.
        """
        origin = origin_of(self.writer.vault.index, source)
        async with self.database.transaction() as tx:
            await self._lock(tx, person_id)
            await require_unlimited(tx, person_id)
            if (person_id, origin) in await sources_of(tx, [person_id]):
                return
            await add_sources(tx, [(person_id, origin)])
            sealed = SharedSealed(source=normal_source(source), reason=reason)
            shared = PersonShared(person_id=person_id, shared_by=meta.actor, sealed=sealed)
            await self.writer.write(tx, [_pending(shared, person_id, meta)])

    async def _lock(self, tx: Transaction, *persons: UUID) -> None:
        known_persons = await lock_persons(tx, set(persons))
        if known_persons != set(persons):
            raise UnknownPersonError("person")
        if len(set(persons)) < len(persons):
            raise MergeRefusedError("a person is not merged into themselves")
        if await announced(tx, persons, [ErasureRequested.type]):
            raise PersonErasedError


def _pending(event: Event, person_id: UUID, meta: EventMetadata | None = None) -> Pending:
    return Pending(stream_of(person_id), [event], person_id, meta or EventMetadata(AUTOMATIC))
