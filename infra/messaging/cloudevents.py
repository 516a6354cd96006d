"""Our events as CloudEvents: Kafka binary headers, and one JSON text.

The clear part is the CloudEvent's ``data``, byte for byte as stored. The sealed part is the
extension ``sealed`` (CloudEvents type Binary, hence base64 in headers and JSON), as are the
salts by which the audit log makes the same entry of the event as the table has.
"""

import base64
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import orjson

from contracts.base import dataschema
from infra.base.clock import rfc3339
from infra.base.telemetry import next_hop
from infra.eventstore.events import MAX_NAME, UNREADABLE, EventMetadata, StoredEvent
from infra.tlog.commitment import SALT_BYTES

T = TypeVar("T")
CONTENT_TYPE = "application/json"
SOURCE_PREFIX = "urn:aiguillage:"
ATTRIBUTES = frozenset(
    (
        "source", "id", "type", "subject", "time", "sequence", "personid", "position",
        "recordedtime", "actor", "origin", "causationid", "correlationid", "traceparent",
        "sealed", "salt", "sealedsalt", "sealedcommitment",
    )
)  # fmt: skip
"""What is read back; readers ignore all others."""
Headers = list[tuple[str, bytes]]


class NotOurEventError(ValueError):
    """A record that is not an event of ours; the text names the attribute, never its value."""


def attributes(event: StoredEvent) -> dict[str, str]:
    """The CloudEvents context attributes of an event, as text."""
    given: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.event_id,
        "source": SOURCE_PREFIX + event.service,
        "type": event.type,
        "subject": event.stream,
        "time": rfc3339(event.occurred_at),
        "dataschema": dataschema(event.type),
        "partitionkey": event.key,
        "sequence": f"{event.version:010d}",
        "personid": event.person_id,
        "position": event.position,
        "recordedtime": rfc3339(event.recorded_at),
        "actor": event.meta.actor,
        "origin": event.meta.origin,
        "causationid": event.meta.causation_id,
        "correlationid": event.meta.correlation_id,
        "traceparent": event.meta.traceparent,
        "sealed": _text(event.sealed),
        "salt": _text(event.salt),
        "sealedsalt": _text(event.sealed_salt),
        "sealedcommitment": _text(event.sealed_commitment),
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def to_kafka(event: StoredEvent) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of an event's record (CloudEvents Kafka binding, binary mode).

    ``ce_traceparent`` is the origin of the trace, the plain header this hop's.
    """
    named = attributes(event)
    headers = [("content-type", CONTENT_TYPE.encode())]
    headers += [(f"ce_{name}", value.encode()) for name, value in named.items()]
    if event.meta.traceparent:
        headers.append(("traceparent", next_hop(event.meta.traceparent).encode()))
    return event.key.encode(), event.data.encode(), headers


def from_kafka(value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> StoredEvent:
    """Read a record that ``to_kafka`` made; raises ``NotOurEventError`` for any other."""
    given = {name.removeprefix("ce_"): text for name, text in headers if name[:3] == "ce_"}
    texts = {name: _utf8(name, text) for name, text in given.items() if name in ATTRIBUTES}
    return _recorded({**texts, "data": _utf8("data", value or b"")})


def to_record(event: StoredEvent) -> bytes:
    """One JSON text that keeps an event whole (for parked messages and exports)."""
    return orjson.dumps({**attributes(event), "data": event.data})


def parse_record(record: bytes) -> StoredEvent:
    """Undo ``to_record``; raises ``NotOurEventError`` for any other text."""
    try:
        named = orjson.loads(record)
    except orjson.JSONDecodeError:
        raise NotOurEventError("not JSON") from None
    if not isinstance(named, dict) or not all(isinstance(v, str) for v in named.values()):
        raise NotOurEventError("not an object of texts")
    return _recorded(named)


def _utf8(name: str, text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise NotOurEventError(f"attribute {name} is not UTF-8") from None


def _recorded(named: dict[str, str]) -> StoredEvent:
    if (service := _required(named, "source")).startswith(SOURCE_PREFIX):
        service = service.removeprefix(SOURCE_PREFIX)
    else:
        raise NotOurEventError("attribute source is not ours")
    if ("sealed" in named) != ("sealedsalt" in named):
        raise NotOurEventError("attributes sealed and sealedsalt come together")
    return StoredEvent(
        service=service,
        position=_read(named, "position", _number),
        event_id=_read(named, "id", UUID),
        stream=_read(named, "subject", _plain),
        version=_read(named, "sequence", _number),
        type=_read(named, "type", _plain),
        person_id=_optional(named, "personid", UUID),
        occurred_at=_read(named, "time", _moment),
        recorded_at=_read(named, "recordedtime", _moment),
        data=_read(named, "data", _json),
        sealed=_optional(named, "sealed", _binary),
        meta=EventMetadata(
            _optional(named, "actor", _plain) or "hub",
            _optional(named, "causationid", UUID),
            _optional(named, "correlationid", UUID),
            _optional(named, "traceparent", _plain),
            _optional(named, "origin", _plain),
        ),
        salt=_read(named, "salt", _hash),
        sealed_salt=_optional(named, "sealedsalt", _hash),
        sealed_commitment=_optional(named, "sealedcommitment", _hash),
    )


def _required(named: dict[str, str], name: str) -> str:
    if name not in named:
        raise NotOurEventError(f"attribute {name} is missing")
    return named[name]


def _read(named: dict[str, str], name: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(_required(named, name))
    except NotOurEventError:
        raise
    except ValueError:  # its text would quote the value
        raise NotOurEventError(f"attribute {name} is malformed") from None


def _optional(named: dict[str, str], name: str, parse: Callable[[str], T]) -> T | None:
    return _read(named, name, parse) if name in named else None


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < 1:
        raise ValueError
    return int(text)


def _plain(text: str) -> str:
    """CloudEvents strings hold no control characters; PostgreSQL takes no NUL at all."""
    if not text or len(text) > MAX_NAME or UNREADABLE.search(text):
        raise ValueError
    return text


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError
    return moment


def _json(text: str) -> str:
    orjson.loads(text)
    return text


def _hash(text: str) -> bytes:
    found = _binary(text)
    if len(found) != SALT_BYTES:
        raise ValueError
    return found


def _text(value: bytes | None) -> str | None:
    return base64.b64encode(value).decode() if value else None


def _binary(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
