"""Admits public events: what needs no database to be judged. The same at every door.

Raises ``NotTakenError`` for what cannot be taken, naming the field and never its value.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from pydantic import ValidationError

from contracts.checks.communes import commune_exists
from contracts.envelope import ContentTypeError, Envelope, EnvelopeError
from contracts.fields import Facts, Identity
from contracts.public import PUBLIC_TYPES, PublicEvent, PublicFacts
from contracts.receipts import LeftOut
from contracts.requesters import Requesters
from contracts.sources import covers, normal_source
from contracts.types import check_contact, judged_at
from infra.base.clock import Clock
from infra.base.field_errors import FieldError, field_errors
from infra.base.telemetry import TRACEPARENT, new_traceparent
from infra.eventstore.events import EventMetadata
from infra.keys.master_key import IndexKey
from infra.keys.vault import keyed_digest
from services.intake.handlers.errors import NotTakenError, Reason

_IDENTITY = "data.person.identity."
PURPOSE = "intake-inbox"
"""Of the key under which what systems send is kept as digests."""


@dataclass(frozen=True, slots=True)
class Emitter:
    """The system that emits: its name, how events name it, the sources that it may use."""

    name: str
    actor: str
    scope: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InboundEvent:
    """A public event that is sound in itself; its person is still to be found.

    ``key`` and ``ref`` stand for its source and id, and for its source and person's reference,
    ``origin`` for its source alone, ``digest`` for its content: keyed digests all, for any of
    these may be personal. A source is always meant as ``normal_source`` spells it.
    """

    id: str
    source: str
    payload: PublicEvent
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
        """Return the ``Receipt`` as JSON; the same for a repeat, byte for byte."""
        named = {"id": self.id, "source": self.source, "type": self.payload.TYPE}
        return orjson.dumps(named)[:-1] + b"," + created[1:]


class InboundValidator:
    """Checks what needs no database: type, schema, commune, the emitter's scope."""

    def __init__(self, index: IndexKey, requesters: Requesters, clock: Clock) -> None:
        self._key = index.derive(PURPOSE)
        self._requesters = requesters
        self._clock = clock

    def validate(
        self, envelope: Envelope, emitter: Emitter, traceparent: str | None = None
    ) -> InboundEvent:
        """Return the event, ready to be applied; raises ``NotTakenError``."""
        model = PUBLIC_TYPES.get(envelope.type)
        if model is None:
            raise NotTakenError.at(Reason.UNKNOWN_TYPE, "type")
        if not any(covers(allowed, envelope.source) for allowed in emitter.scope):
            raise NotTakenError.at(Reason.SOURCE_NOT_ALLOWED, "source")
        now, time = self._clock(), envelope.time
        try:  # sorted names: a repeat is compared by it
            content = orjson.dumps(envelope.data, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:
            detail = "The content is nested too deeply"
            raise NotTakenError.at(Reason.INVALID, "data", detail) from None
        payload, left_out = _parsed(model, content, now)
        try:
            if time is not None:
                check_contact(time, now)
        except ValueError as error:
            raise NotTakenError.at(Reason.INVALID, "time", str(error)) from None
        person = payload.person
        check_commune(person.facts if person else None)

        source = normal_source(envelope.source).encode()
        instant = time.astimezone(UTC).isoformat() if time else ""
        ref = person.ref.encode() if person and person.ref is not None else None
        traces = (traceparent, envelope.extensions.get("traceparent"))
        trace = next((t for t in traces if isinstance(t, str) and TRACEPARENT.fullmatch(t)), "")
        return InboundEvent(
            id=envelope.id,
            source=envelope.source,
            payload=payload,
            time=time,
            key=keyed_digest(self._key, b"event", source, envelope.id.encode()),
            digest=keyed_digest(self._key, payload.TYPE.encode(), instant.encode(), content),
            ref=None if ref is None else keyed_digest(self._key, b"person", source, ref),
            origin=keyed_digest(self._key, b"source", source),
            system=emitter.name,
            meta=EventMetadata(emitter.actor, traceparent=trace or new_traceparent()),
            requester=self._requesters.code_of(envelope.source, getattr(payload, "site", None)),
            left_out=left_out,
        )


def origin_of(index: IndexKey, source: str) -> bytes:
    """Return the digest of a system, by which ``person_sources`` names it."""
    return keyed_digest(index.derive(PURPOSE), b"source", normal_source(source).encode())


def _parsed(
    model: type[PublicEvent], content: bytes, now: datetime
) -> tuple[PublicEvent, tuple[LeftOut, ...]]:
    """Return the event, and the fields of identity that were badly written and left out.

    Nobody's visit is lost for a telephone number; what states facts must be right.
    """
    try:
        return _validated(model, content, now), ()
    except NotTakenError as error:
        faults = {e.field.removeprefix(_IDENTITY): e.detail for e in error.errors}
        if model is PublicFacts or not faults.keys() <= Identity.model_fields.keys():
            raise
    data = orjson.loads(content)
    for name in faults:
        del data["person"]["identity"][name]
    left_out = tuple(LeftOut(field=_IDENTITY + n, reason=r) for n, r in faults.items())
    return _validated(model, orjson.dumps(data), now), left_out


def _validated(model: type[PublicEvent], content: bytes, now: datetime) -> PublicEvent:
    try:
        with judged_at(now):
            return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        errors = field_errors(error.errors(include_input=False), "data")
        raise NotTakenError(Reason.INVALID, errors=errors) from None


def check_commune(facts: Facts | None, field: str = "data.person.facts.commune.value") -> None:
    """Raise ``NotTakenError`` if a commune is stated that there is not."""
    stated = facts.commune if facts else None
    if stated is not None and not commune_exists(stated.value):
        detail = "There is no commune of this INSEE code"
        raise NotTakenError.at(Reason.INVALID, field, detail)


def envelope_refused(error: ValueError) -> NotTakenError:
    """Return what is wrong with a message that is no CloudEvent."""
    if isinstance(error, EnvelopeError):
        fault = FieldError(error.attribute, error.detail)
        return NotTakenError(Reason.INVALID, "This is not a CloudEvent", [fault])
    if isinstance(error, ContentTypeError):
        return NotTakenError(Reason.UNSUPPORTED_MEDIA_TYPE, str(error))
    return NotTakenError(Reason.MALFORMED, str(error))
