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

from contracts.base import Event
from contracts.days import local_day
from contracts.public import PublicWithdrawal
from infra.base.clock import Clock, rfc3339
from infra.base.ids import new_contact_id, new_person_id
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
CONFLICTS = 10


Outcome = bytes | NotTakenError
"""What an arrival created (JSON), or why it was refused."""


class Intake:
    """Applies arrivals: each once, in the order given for one person."""

    def __init__(self, database: Database, writer: Writer, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock

    async def commit(self, arrivals: Sequence[InboundEvent]) -> list[Outcome]:
        """``apply`` in a transaction of its own; again, if another process was faster.

        Raises ``TimeoutError`` if that goes on and on.
        """
        for _ in range(CONFLICTS):
            try:
                async with self._database.transaction() as tx:
                    return await self.apply(tx, arrivals)
            except ConcurrencyError:
                continue
        raise TimeoutError(f"{CONFLICTS} conflicts in a row")

    async def apply(self, tx: Transaction, arrivals: Sequence[InboundEvent]) -> list[Outcome]:
        """One outcome per arrival, in order; what is refused leaves nothing behind.

        Raises ``ConcurrencyError``: roll back, then do it again.
        """
        inbox = await received(tx, {a.key for a in arrivals})
        fresh = [a for a in arrivals if a.key not in inbox]
        group = await self._group(tx, fresh)
        outcomes = [_outcome(group, inbox, arrival) for arrival in arrivals]
        await self._store(tx, group)
        _count(outcomes, len(group.received))
        return outcomes

    async def _group(self, tx: Transaction, fresh: Sequence[InboundEvent]) -> "_Group":
        """Everything that is known about the persons of these arrivals, in five reads."""
        refs = await persons_of(tx, {a.ref for a in fresh if a.ref})
        named = {p.person_id for a in fresh if (p := a.said.person) and p.person_id}
        persons = await lock_persons(tx, named | set(refs.values()))
        alive = set(await self._writer.vault.keys(persons)) if persons else set()
        withdrawing = [a for a in fresh if isinstance(a.said, PublicWithdrawal)]
        agreements = await agreements_of(tx, persons if withdrawing else ())
        none: frozenset[UUID] = frozenset()
        known = {p: Known(True, agreements.get(p, none)) for p in persons}
        speakers = await sources_of(tx, named & persons)
        return _Group(self._clock(), refs, known, persons - alive, speakers)

    async def _store(self, tx: Transaction, group: "_Group") -> None:
        if not group.received:
            return
        await self._writer.vault.create(group.versions)
        await add_persons(tx, group.versions, group.now)
        if not await add_refs(tx, group.new_refs):
            raise ConcurrencyError("person_refs")
        await add_sources(tx, group.new_speakers)
        if not await receive(tx, group.received, group.now):
            raise ConcurrencyError("inbox")
        await self._writer.write(tx, group.pending, new_persons=True)


class _Group:
    """What a group of arrivals decides, before any of it is written."""

    def __init__(
        self,
        now: datetime,
        refs: dict[bytes, UUID],
        known: dict[UUID, Known],
        erased: set[UUID],
        speakers: set[tuple[UUID, bytes]],
    ) -> None:
        self.now = now
        self.received: dict[bytes, Received] = {}
        self.new_refs: dict[bytes, UUID] = {}
        self.new_speakers: set[tuple[UUID, bytes]] = set()
        self.versions: dict[UUID, int] = {}  # of the new persons' streams
        self.pending: list[Pending] = []
        self._recorded_at = rfc3339(now)
        self._refs = refs
        self._known = known
        self._erased = erased
        self._speakers = speakers

    def add(self, arrival: InboundEvent) -> Outcome:
        """Decide one arrival; a refused one changes nothing."""
        try:
            person_id = self._person(arrival)
            known = self._known.get(person_id, Known())
            events = decide(known, self._statement(arrival, person_id))
        except UnknownAgreementError:
            return NotTakenError.at(Reason.UNKNOWN_AGREEMENT, "data.agreement_id")
        except NotTakenError as error:
            return error
        self._remember(arrival, person_id, known, events)
        return self._created(arrival, person_id, events)

    def _person(self, arrival: InboundEvent) -> UUID:
        person = arrival.said.person
        referred = self._refs.get(arrival.ref) if arrival.ref else None
        if person is None or person.person_id is None:
            found = referred or new_person_id()
        else:
            found = person.person_id
            if found not in self._known:
                raise NotTakenError.at(Reason.UNKNOWN_PERSON, "data.person.person_id")
        if found in self._erased:
            raise NotTakenError(Reason.PERSON_ERASED)
        if person is not None and person.person_id is not None:
            self._check_named(arrival, found, referred)
        return found

    def _check_named(self, arrival: InboundEvent, named: UUID, referred: UUID | None) -> None:
        """Whoever only knows an id is not told that it is a person's."""
        if (named, arrival.origin) not in self._speakers:
            raise NotTakenError.at(Reason.UNKNOWN_PERSON, "data.person.person_id")
        if referred not in (None, named):
            detail = "Another person has this reference"
            raise NotTakenError.at(Reason.INVALID, "data.person.ref", detail)

    def _statement(self, arrival: InboundEvent, person_id: UUID) -> Statement:
        return Statement(
            person_id=person_id,
            contact_id=new_contact_id(),
            system=arrival.system,
            stated_at=arrival.time or self.now,
            heard_on=local_day(self.now),
            said=arrival.said,
            requester=arrival.requester,
        )

    def _remember(
        self, arrival: InboundEvent, person_id: UUID, known: Known, events: list[Event]
    ) -> None:
        if not known.registered:
            self.versions[person_id] = 0
            self._let_speak(arrival, person_id)
        if arrival.ref and arrival.ref not in self._refs:
            self._refs[arrival.ref] = self.new_refs[arrival.ref] = person_id
            self._let_speak(arrival, person_id)
        self._known[person_id] = fold(known, events)
        expected = self.versions.get(person_id, ANY)
        if person_id in self.versions:
            self.versions[person_id] += len(events)
        stream, at = stream_of(person_id), arrival.time or self.now
        self.pending.append(Pending(stream, events, person_id, arrival.meta, expected, at))

    def _let_speak(self, arrival: InboundEvent, person_id: UUID) -> None:
        self._speakers.add((person_id, arrival.origin))
        self.new_speakers.add((person_id, arrival.origin))

    def _created(self, arrival: InboundEvent, person_id: UUID, events: list[Event]) -> bytes:
        body: dict[str, Any] = {"person_id": person_id, **created(events)}
        body["left_out"] = [left.model_dump() for left in arrival.left_out]
        LEFT_OUT.inc(len(arrival.left_out))
        answer = orjson.dumps(body | {"recorded_at": self._recorded_at})
        self.received[arrival.key] = Received(person_id, arrival.digest, answer)
        return answer


def _outcome(
    group: _Group, inbox: dict[bytes, Received | None], arrival: InboundEvent
) -> Outcome:
    before = inbox.get(arrival.key) or group.received.get(arrival.key)
    if before is None:
        erased = NotTakenError(Reason.PERSON_ERASED)
        return erased if arrival.key in inbox else group.add(arrival)
    if before.digest == arrival.digest:
        return before.created
    return NotTakenError.at(Reason.DUPLICATE_ID, "id")


def _count(outcomes: Sequence[Outcome], new: int) -> None:
    refused = sum(isinstance(outcome, NotTakenError) for outcome in outcomes)
    EVENTS.labels("created").inc(new)
    EVENTS.labels("repeated").inc(len(outcomes) - refused - new)
    EVENTS.labels("refused").inc(refused)
