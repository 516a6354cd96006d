"""From a CloudEvent to events of ours: admit it, find its person, decide, append.

The same for HTTP and Kafka, for one event and for hundreds: everything is read and written in
sets, in one transaction, the events last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from prometheus_client import Counter
from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Event
from contracts.communes import commune_exists
from contracts.days import local_day
from contracts.envelope import ContentTypeError, Envelope, EnvelopeError
from contracts.intake import (
    PUBLIC_TYPES,
    Facts,
    Identity,
    LeftOut,
    Person,
    PublicEvent,
    PublicFacts,
    PublicWithdrawal,
)
from contracts.nir import find_nir
from contracts.requesters import Requesters
from contracts.sources import normal_source
from contracts.types import check_contact, judged_at
from infra.clock import Clock
from infra.database import Database, driver
from infra.eventstore.events import Meta, rfc3339
from infra.eventstore.store import ANY, ConcurrencyError
from infra.eventstore.writer import Pending, Writer
from infra.ids import new_contact_id, new_person_id
from infra.masterkey import IndexKey
from infra.telemetry import TRACEPARENT, new_traceparent
from infra.vault import keyed_digest
from infra.web.auth import Principal
from infra.web.problems import Problem, invalid
from services.intake import tables
from services.intake.model.statements import (
    Known,
    Statement,
    UnknownAgreementError,
    created,
    decide,
    fold,
)
from services.intake.tables import Received

EVENTS = Counter("aiguillage_intake_events", "Public events received", ["result"])
LEFT_OUT = Counter("aiguillage_intake_left_out", "Fields of identity that were not taken")
CONFLICTS = 10
_IDENTITY = "data.person.identity."
PURPOSE = "intake-inbox"
"""Of the key under which what systems send is kept as digests."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A public event that is sound in itself; whom it is about is still to be found.

    ``key`` and ``ref`` stand for its source and id, and for its source and person's reference,
    ``origin`` for its source alone, ``digest`` for its content: keyed digests all, for any of
    these may be personal. A source is always meant as ``normal_source`` spells it.
    """

    id: str
    source: str
    said: PublicEvent
    time: datetime | None
    key: bytes
    digest: bytes
    ref: bytes | None
    origin: bytes
    system: str
    meta: Meta
    requester: str | None = None
    left_out: tuple[LeftOut, ...] = ()

    def receipt(self, created: bytes) -> bytes:
        """The ``Receipt`` as JSON; the same for a repeat, byte for byte."""
        named = {"id": self.id, "source": self.source, "type": self.said.TYPE}
        return orjson.dumps(named)[:-1] + b"," + created[1:]


Outcome = bytes | Problem
"""What an arrival created (JSON), or why it was refused."""


class Gate:
    """Checks what needs no database: type, schema, commune, the emitter's scope."""

    def __init__(self, index: IndexKey, requesters: Requesters, clock: Clock) -> None:
        self._key = index.derive(PURPOSE)
        self._requesters = requesters
        self._clock = clock

    def admit(
        self, envelope: Envelope, emitter: Principal, traceparent: str | None = None
    ) -> Arrival:
        """The event, ready to be applied; raises ``Problem``."""
        model = PUBLIC_TYPES.get(envelope.type)
        if model is None:
            raise _refusal("unknown-type", "Nobody knows this type of event", "type")
        if not emitter.may_emit(envelope.source):
            raise _refusal("source-not-allowed", "The key may not speak for this source",
                           "source", status=403)  # fmt: skip
        content, now = _canonical(envelope.data), self._clock()
        said, left_out = _taken(model, content, now)
        _check_time(envelope.time, now)
        check_commune(said.person.facts if said.person else None)
        source, time = normal_source(envelope.source).encode(), envelope.time
        instant = time.astimezone(UTC).isoformat() if time else ""
        return Arrival(
            id=envelope.id,
            source=envelope.source,
            said=said,
            time=time,
            key=keyed_digest(self._key, b"event", source, envelope.id.encode()),
            digest=keyed_digest(self._key, said.TYPE.encode(), instant.encode(), content),
            ref=self._ref(source, said.person),
            origin=keyed_digest(self._key, b"source", source),
            system=emitter.name,
            meta=Meta(emitter.actor, traceparent=_trace(traceparent, envelope)),
            requester=self._requesters.code_of(envelope.source, getattr(said, "site", None)),
            left_out=left_out,
        )

    def _ref(self, source: bytes, person: Person | None) -> bytes | None:
        if person is None or person.ref is None:
            return None
        return keyed_digest(self._key, b"person", source, person.ref.encode())


def origin_of(index: IndexKey, source: str) -> bytes:
    """What stands for a system where it is kept who may speak of whom."""
    return keyed_digest(index.derive(PURPOSE), b"source", normal_source(source).encode())


class Intake:
    """Applies arrivals: each once, in the order given for one person."""

    def __init__(self, database: Database, writer: Writer, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock

    async def commit(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
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

    async def apply(self, tx: AsyncConnection, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """One outcome per arrival, in order; what is refused leaves nothing behind.

        Raises ``ConcurrencyError``: roll back, then do it again.
        """
        raw = await driver(tx)
        inbox = await tables.received(raw, {a.key for a in arrivals})
        fresh = [a for a in arrivals if a.key not in inbox]
        group = await self._group(raw, fresh)
        outcomes = [_outcome(group, inbox, arrival) for arrival in arrivals]
        await self._store(tx, group)
        _count(outcomes, len(group.received))
        return outcomes

    async def _group(self, raw: tables.Raw, fresh: Sequence[Arrival]) -> "_Group":
        """Everything that is known about the persons of these arrivals, in five reads."""
        refs = await tables.persons_of(raw, {a.ref for a in fresh if a.ref})
        named = {p.person_id for a in fresh if (p := a.said.person) and p.person_id}
        persons = await tables.lock_persons(raw, named | set(refs.values()))
        alive = set(await self._writer.vault.keys(persons)) if persons else set()
        withdrawing = [a for a in fresh if isinstance(a.said, PublicWithdrawal)]
        agreements = await tables.agreements_of(raw, persons if withdrawing else ())
        none: frozenset[UUID] = frozenset()
        known = {p: Known(True, agreements.get(p, none)) for p in persons}
        speakers = await tables.sources_of(raw, named & persons)
        return _Group(self._clock(), refs, known, persons - alive, speakers)

    async def _store(self, tx: AsyncConnection, group: "_Group") -> None:
        if not group.received:
            return
        raw = await driver(tx)
        await self._writer.vault.create(group.versions)
        await tables.add_persons(raw, group.versions, group.now)
        if not await tables.add_refs(raw, group.new_refs):
            raise ConcurrencyError("person_refs")
        await tables.add_sources(raw, group.new_speakers)
        if not await tables.receive(raw, group.received, group.now):
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

    def add(self, arrival: Arrival) -> Outcome:
        """Decide one arrival; a refused one changes nothing."""
        try:
            person_id = self._person(arrival)
            known = self._known.get(person_id, Known())
            events = decide(known, self._statement(arrival, person_id))
        except UnknownAgreementError:
            return _refusal(
                "unknown-agreement", "The person never gave this agreement", "data.agreement_id"
            )
        except Problem as problem:
            return problem
        self._remember(arrival, person_id, known, events)
        return self._created(arrival, person_id, events)

    def _person(self, arrival: Arrival) -> UUID:
        person = arrival.said.person
        referred = self._refs.get(arrival.ref) if arrival.ref else None
        if person is None or person.person_id is None:
            found = referred or new_person_id()
        else:
            found = person.person_id
            if found not in self._known:
                raise _unknown_person()
        if found in self._erased:
            raise _erased()
        if person is not None and person.person_id is not None:
            self._check_named(arrival, found, referred)
        return found

    def _check_named(self, arrival: Arrival, named: UUID, referred: UUID | None) -> None:
        """Whoever only knows an id is not told that it is a person's."""
        if (named, arrival.origin) not in self._speakers:
            raise _unknown_person()
        if referred not in (None, named):
            raise _refusal("invalid", "Another person has this reference",
                           "data.person.ref")  # fmt: skip

    def _statement(self, arrival: Arrival, person_id: UUID) -> Statement:
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
        self, arrival: Arrival, person_id: UUID, known: Known, events: list[Event]
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
        stream, at = tables.stream_of(person_id), arrival.time or self.now
        self.pending.append(Pending(stream, events, person_id, arrival.meta, expected, at))

    def _let_speak(self, arrival: Arrival, person_id: UUID) -> None:
        self._speakers.add((person_id, arrival.origin))
        self.new_speakers.add((person_id, arrival.origin))

    def _created(self, arrival: Arrival, person_id: UUID, events: list[Event]) -> bytes:
        body: dict[str, Any] = {"person_id": person_id, **created(events)}
        body["left_out"] = [left.model_dump() for left in arrival.left_out]
        LEFT_OUT.inc(len(arrival.left_out))
        answer = orjson.dumps(body | {"recorded_at": self._recorded_at})
        self.received[arrival.key] = Received(person_id, arrival.digest, answer)
        return answer


def _outcome(group: _Group, inbox: dict[bytes, Received | None], arrival: Arrival) -> Outcome:
    before = inbox.get(arrival.key) or group.received.get(arrival.key)
    if before is None:
        return _erased() if arrival.key in inbox else group.add(arrival)
    if before.digest == arrival.digest:
        return before.created
    return _refusal("duplicate-id", "An event of this source and id came before, with other "
                    "content", "id", status=409)  # fmt: skip


def _count(outcomes: Sequence[Outcome], new: int) -> None:
    refused = sum(isinstance(outcome, Problem) for outcome in outcomes)
    EVENTS.labels("created").inc(new)
    EVENTS.labels("repeated").inc(len(outcomes) - refused - new)
    EVENTS.labels("refused").inc(refused)


def _refusal(slug: str, title: str, field: str, status: int = 422) -> Problem:
    return Problem(status, slug, title, errors=[{"field": field, "detail": title}])


def _erased() -> Problem:
    return Problem(410, "person-erased", "The person was erased")


def _unknown_person() -> Problem:
    return _refusal("unknown-person", "No such person", "data.person.person_id")


def _canonical(data: Any) -> bytes:
    """Data as JSON with sorted names: what a repeat is compared by."""
    try:
        return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        raise _refusal("invalid", "The content is nested too deeply", "data") from None


def _taken(
    model: type[PublicEvent], content: bytes, now: datetime
) -> tuple[PublicEvent, tuple[LeftOut, ...]]:
    """The event, without what is badly written of the identity of whom it is about; and what
    that is. Nobody's visit is lost for a telephone number; what states facts must be right."""
    said = _validated(model, content, now)
    if not isinstance(said, Problem):
        return said, ()
    faults = {error["field"].removeprefix(_IDENTITY): error["detail"] for error in said.errors}
    if model is PublicFacts or not faults.keys() <= Identity.model_fields.keys():
        raise said
    data = orjson.loads(content)
    for name in faults:
        del data["person"]["identity"][name]
    said = _validated(model, orjson.dumps(data), now)
    if isinstance(said, Problem):
        raise said
    return said, tuple(LeftOut(field=_IDENTITY + n, reason=r) for n, r in faults.items())


def _validated(
    model: type[PublicEvent], content: bytes, now: datetime
) -> PublicEvent | Problem:
    try:
        with judged_at(now):
            return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        return invalid(error, "data")


def _check_time(time: datetime | None, now: datetime) -> None:
    """Raise ``Problem`` for a time at which nobody can have come to a desk."""
    try:
        if time is not None:
            check_contact(time, now)
    except ValueError as error:
        raise _refusal("invalid", str(error), "time") from None


def check_commune(facts: Facts | None, field: str = "data.person.facts.commune.value") -> None:
    """Raise ``Problem`` if a commune is stated that there is not."""
    stated = facts.commune if facts else None
    if stated is not None and not commune_exists(stated.value):
        raise _refusal("invalid", "There is no commune of this INSEE code", field)


def _trace(header: str | None, envelope: Envelope) -> str:
    for given in (header, envelope.extensions.get("traceparent")):
        if isinstance(given, str) and TRACEPARENT.fullmatch(given):
            return given
    return new_traceparent()


def nir_refused(field: str) -> Problem:
    """A NIR was sent in a field."""
    return _refusal("nir-refused", "A NIR (social security number) is never taken", field)


def refuse_nir(body: BaseModel) -> None:
    """Raise ``Problem`` if a field of what staff wrote holds a NIR."""
    if (field := find_nir(body.model_dump(mode="json", exclude_none=True))) is not None:
        raise nir_refused(field)


def envelope_problem(error: ValueError) -> Problem:
    """What is wrong with a message that is no CloudEvent."""
    if isinstance(error, EnvelopeError):
        field = {"field": error.attribute, "detail": error.detail}
        return Problem(422, "invalid", "This is not a CloudEvent", errors=[field])
    if isinstance(error, ContentTypeError):
        return Problem(415, "unsupported-media-type", "The content type is not read here",
                       str(error))  # fmt: skip
    return Problem(400, "malformed", "This is not JSON", str(error))
