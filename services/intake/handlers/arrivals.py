"""From an admitted event to events of ours: find its person, decide, append.

The same for HTTP and Kafka, for one event and for hundreds: everything is read and written in
sets, in one transaction, the events last.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from prometheus_client import Counter

from contracts.days import local_day
from contracts.public import PublicWithdrawal
from infra.base.clock import Clock, rfc3339
from infra.base.ids import new_contact_id, new_person_id
from infra.eventstore.retrying import retrying
from infra.eventstore.store import ANY, ConcurrencyError
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.intake.handlers.errors import NotTakenError, Reason
from services.intake.handlers.inbound import InboundEvent
from services.intake.model.statements import (
    Known,
    Statement,
    UnknownAgreementError,
    created,
    decide,
    fold,
)
from services.intake.tables.inbox import Received, receive, received
from services.intake.tables.persons import (
    add_persons,
    add_refs,
    add_sources,
    agreements_of,
    lock_persons,
    persons_of,
    sources_of,
    stream_of,
)

EVENTS = Counter("aiguillage_intake_events", "Public events received", ["result"])
LEFT_OUT = Counter("aiguillage_intake_left_out", "Fields of identity that were not taken")

Outcome = bytes | NotTakenError
"""JSON of what an arrival created, or the error for which it was refused."""


class Intake:
    """Applies arrivals: each once, in the order given for one person."""

    def __init__(self, database: Database, writer: Writer, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock

    async def commit(self, arrivals: Sequence[InboundEvent]) -> list[Outcome]:
        """Apply in a transaction of its own; again, if another process was faster.

        Raises ``TimeoutError`` if that goes on and on.
        """
        return await retrying(self._database, lambda tx: self.apply(tx, arrivals))

    async def apply(self, tx: Transaction, arrivals: Sequence[InboundEvent]) -> list[Outcome]:
        """Return one outcome per arrival, in order; what is refused leaves nothing behind.

        Raises ``ConcurrencyError``: roll back, then do it again.
        """
        batch = await self._load(tx, arrivals)
        outcomes = [batch.add(arrival) for arrival in arrivals]
        new = len(batch.received)
        if new:
            await self._writer.vault.create(batch.versions)
            await add_persons(tx, batch.versions, batch.now)
            if not await add_refs(tx, batch.new_refs):
                raise ConcurrencyError("person_refs")
            await add_sources(tx, batch.new_speakers)
            if not await receive(tx, batch.received, batch.now):
                raise ConcurrencyError("inbox")
            await self._writer.write(tx, batch.pending, new_persons=True)
        refused = sum(isinstance(outcome, NotTakenError) for outcome in outcomes)
        EVENTS.labels("created").inc(new)
        EVENTS.labels("repeated").inc(len(outcomes) - refused - new)
        EVENTS.labels("refused").inc(refused)
        return outcomes

    async def _load(self, tx: Transaction, arrivals: Sequence[InboundEvent]) -> "_Batch":
        """Read everything that is known about the persons of these arrivals, in six reads."""
        batch = _Batch(self._clock())
        batch.inbox = await received(tx, {a.key for a in arrivals})
        fresh = [a for a in arrivals if a.key not in batch.inbox]
        batch.refs = await persons_of(tx, {a.ref for a in fresh if a.ref})
        named = {p.person_id for a in fresh if (p := a.payload.person) and p.person_id}
        persons = await lock_persons(tx, named | set(batch.refs.values()))
        alive = set(await self._writer.vault.keys(persons)) if persons else set()
        batch.erased = persons - alive
        withdrawing = any(isinstance(a.payload, PublicWithdrawal) for a in fresh)
        agreements = await agreements_of(tx, persons if withdrawing else ())
        none: frozenset[UUID] = frozenset()
        batch.known = {p: Known(True, agreements.get(p, none)) for p in persons}
        batch.speakers = await sources_of(tx, named & persons)
        return batch


class _Batch:
    """Arrivals that are applied together: what is known, and what was decided on top of it.

    ``inbox``: events that came before. ``speakers``: which systems may speak of persons.
    ``versions``: of the new persons' streams.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.recorded_at = rfc3339(now)
        self.inbox: dict[bytes, Received | None] = {}
        self.refs: dict[bytes, UUID] = {}
        self.known: dict[UUID, Known] = {}
        self.erased: set[UUID] = set()
        self.speakers: set[tuple[UUID, bytes]] = set()
        self.received: dict[bytes, Received] = {}
        self.new_refs: dict[bytes, UUID] = {}
        self.new_speakers: set[tuple[UUID, bytes]] = set()
        self.versions: dict[UUID, int] = {}
        self.pending: list[Pending] = []

    def add(self, arrival: InboundEvent) -> Outcome:
        """Decide one arrival; a refused one changes nothing, nor does a repeated one."""
        before = self.inbox.get(arrival.key) or self.received.get(arrival.key)
        if before is not None:
            same = before.digest == arrival.digest
            return before.created if same else NotTakenError.at(Reason.DUPLICATE_ID, "id")
        if arrival.key in self.inbox:
            return NotTakenError(Reason.PERSON_ERASED)
        try:
            return self._take(arrival, self._person(arrival))
        except UnknownAgreementError:
            return NotTakenError.at(Reason.UNKNOWN_AGREEMENT, "data.agreement_id")
        except NotTakenError as error:
            return error

    def _person(self, arrival: InboundEvent) -> UUID:
        """Return the person, known or new. An id alone reveals nothing: to a system that may
        not speak of the person it is unknown."""
        person = arrival.payload.person
        named = person.person_id if person else None
        referred = self.refs.get(arrival.ref) if arrival.ref else None
        person_id = named or referred or new_person_id()
        if named and named not in self.known:
            raise _unknown_person()
        if person_id in self.erased:
            raise NotTakenError(Reason.PERSON_ERASED)
        if named and (named, arrival.origin) not in self.speakers:
            raise _unknown_person()
        if named and referred not in (None, named):
            detail = "Another person has this reference"
            raise NotTakenError.at(Reason.INVALID, "data.person.ref", detail)
        return person_id

    def _take(self, arrival: InboundEvent, person_id: UUID) -> bytes:
        known = self.known.get(person_id, Known())
        stated_at = arrival.time or self.now
        statement = Statement(
            person_id=person_id,
            contact_id=new_contact_id(),
            system=arrival.system,
            stated_at=stated_at,
            heard_on=local_day(self.now),
            payload=arrival.payload,
            requester=arrival.requester,
        )
        events = decide(known, statement)

        # nothing refuses it any more: the arrivals that follow find it
        new_ref = arrival.ref if arrival.ref not in self.refs else None
        if not known.registered:
            self.versions[person_id] = 0
        if new_ref:
            self.refs[new_ref] = self.new_refs[new_ref] = person_id
        if new_ref or not known.registered:
            self.speakers.add((person_id, arrival.origin))
            self.new_speakers.add((person_id, arrival.origin))
        self.known[person_id] = fold(known, events)
        expected = self.versions.get(person_id, ANY)
        if person_id in self.versions:
            self.versions[person_id] += len(events)
        self.pending.append(
            Pending(
                stream_of(person_id),
                events,
                person_id,
                arrival.meta,
                expected=expected,
                occurred_at=stated_at,
            )
        )

        body: dict[str, Any] = {"person_id": person_id, **created(events)}
        body["left_out"] = [left.model_dump() for left in arrival.left_out]
        LEFT_OUT.inc(len(arrival.left_out))
        answer = orjson.dumps(body | {"recorded_at": self.recorded_at})
        self.received[arrival.key] = Received(person_id, arrival.digest, answer)
        return answer


def _unknown_person() -> NotTakenError:
    return NotTakenError.at(Reason.UNKNOWN_PERSON, "data.person.person_id")
