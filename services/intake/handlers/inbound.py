"""Admits public events: what needs no database to be judged. The same at every door.

Raises ``Problem`` for what cannot be taken, naming the field and never its value.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from contracts.checks.communes import commune_exists
from contracts.checks.nir import find_nir
from contracts.envelope import ContentTypeError, Envelope, EnvelopeError
from contracts.fields import Facts, Identity
from contracts.public import PUBLIC_TYPES, Person, PublicEvent, PublicFacts
from contracts.receipts import LeftOut
from contracts.requesters import Requesters
from contracts.sources import normal_source
from contracts.types import check_contact, judged_at
from infra.base.clock import Clock
from infra.base.telemetry import TRACEPARENT, new_traceparent
from infra.eventstore.events import EventMetadata
from infra.keys.master_key import IndexKey
from infra.keys.vault import keyed_digest
from infra.web.auth import Principal
from infra.web.problems import (
    Invalid,
    Malformed,
    NirRefused,
    Problem,
    UnsupportedMediaType,
    invalid,
)
from services.intake.problems import SourceNotAllowed, UnknownType

_IDENTITY = "data.person.identity."
PURPOSE = "intake-inbox"
"""Of the key under which what systems send is kept as digests."""


@dataclass(frozen=True, slots=True)
class InboundEvent:
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
    meta: EventMetadata
    requester: str | None = None
    left_out: tuple[LeftOut, ...] = ()

    def receipt(self, created: bytes) -> bytes:
        """The ``Receipt`` as JSON; the same for a repeat, byte for byte."""
        named = {"id": self.id, "source": self.source, "type": self.said.TYPE}
        return orjson.dumps(named)[:-1] + b"," + created[1:]


class InboundValidator:
    """Checks what needs no database: type, schema, commune, the emitter's scope."""

    def __init__(self, index: IndexKey, requesters: Requesters, clock: Clock) -> None:
        self._key = index.derive(PURPOSE)
        self._requesters = requesters
        self._clock = clock

    def validate(
        self, envelope: Envelope, emitter: Principal, traceparent: str | None = None
    ) -> InboundEvent:
        """The event, ready to be applied; raises ``Problem``."""
        model = PUBLIC_TYPES.get(envelope.type)
        if model is None:
            raise UnknownType.at("type", UnknownType.title)
        if not emitter.may_emit(envelope.source):
            raise SourceNotAllowed.at("source", SourceNotAllowed.title)
        content, now = _canonical(envelope.data), self._clock()
        said, left_out = _taken(model, content, now)
        _check_time(envelope.time, now)
        check_commune(said.person.facts if said.person else None)
        source, time = normal_source(envelope.source).encode(), envelope.time
        instant = time.astimezone(UTC).isoformat() if time else ""
        return InboundEvent(
            id=envelope.id,
            source=envelope.source,
            said=said,
            time=time,
            key=keyed_digest(self._key, b"event", source, envelope.id.encode()),
            digest=keyed_digest(self._key, said.TYPE.encode(), instant.encode(), content),
            ref=self._ref(source, said.person),
            origin=keyed_digest(self._key, b"source", source),
            system=emitter.name,
            meta=EventMetadata(emitter.actor, traceparent=_trace(traceparent, envelope)),
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


def _canonical(data: Any) -> bytes:
    """Data as JSON with sorted names: what a repeat is compared by."""
    try:
        return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        raise Invalid.at("data", "The content is nested too deeply") from None


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
        raise Invalid.at("time", str(error)) from None


def check_commune(facts: Facts | None, field: str = "data.person.facts.commune.value") -> None:
    """Raise ``Problem`` if a commune is stated that there is not."""
    stated = facts.commune if facts else None
    if stated is not None and not commune_exists(stated.value):
        raise Invalid.at(field, "There is no commune of this INSEE code")


def _trace(header: str | None, envelope: Envelope) -> str:
    for given in (header, envelope.extensions.get("traceparent")):
        if isinstance(given, str) and TRACEPARENT.fullmatch(given):
            return given
    return new_traceparent()


def nir_refused(field: str) -> Problem:
    """A NIR was sent in a field."""
    return NirRefused.at(field, NirRefused.title)


def refuse_nir(body: BaseModel) -> None:
    """Raise ``Problem`` if a field of what staff wrote holds a NIR."""
    if (field := find_nir(body.model_dump(mode="json", exclude_none=True))) is not None:
        raise nir_refused(field)


def envelope_problem(error: ValueError) -> Problem:
    """What is wrong with a message that is no CloudEvent."""
    if isinstance(error, EnvelopeError):
        wrong = {"field": error.attribute, "detail": error.detail}
        return Invalid("This is not a CloudEvent", [wrong])
    if isinstance(error, ContentTypeError):
        return UnsupportedMediaType(str(error))
    return Malformed(str(error))
