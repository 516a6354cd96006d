"""Our events as CloudEvents: Kafka binary headers, and one JSON text.

The clear part is the CloudEvent's ``data``, byte for byte as stored. The sealed part is the
extension ``sealed`` (CloudEvents type Binary, hence base64 in headers and JSON).
"""

import base64
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from contracts.base import dataschema
from infra.eventstore.events import Meta, Recorded, rfc3339

CONTENT_TYPE = "application/json"
SOURCE_PREFIX = "urn:aiguillage:"
Headers = list[tuple[str, bytes]]


class NotOurEventError(ValueError):
    """A record that is not an event of ours; the text names the attribute, never its value."""


def attributes(event: Recorded) -> dict[str, str]:
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
        "causationid": event.meta.causation_id,
        "correlationid": event.meta.correlation_id,
        "traceparent": event.meta.traceparent,
        "sealed": base64.b64encode(event.sealed).decode() if event.sealed else None,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def to_kafka(event: Recorded) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of an event's record (CloudEvents Kafka binding, binary mode).

    ``ce_traceparent`` is the origin of the trace, the plain header this hop's.
    """
    named = attributes(event)
    headers = [("content-type", CONTENT_TYPE.encode())]
    headers += [(f"ce_{name}", value.encode()) for name, value in named.items()]
    if event.meta.traceparent:
        headers.append(("traceparent", event.meta.traceparent.encode()))
    return event.key.encode(), event.data.encode(), headers


def from_kafka(value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> Recorded:
    """Read a record that ``to_kafka`` made; raises ``NotOurEventError`` for any other."""
    named = {name[3:]: text for name, text in headers if name.startswith("ce_")}
    try:
        texts = {name: text.decode() for name, text in named.items()}
        return _recorded(texts, (value or b"").decode())
    except UnicodeDecodeError as error:
        raise NotOurEventError("not UTF-8") from error


def to_record(event: Recorded) -> bytes:
    """One JSON text that keeps an event whole (for parked messages and exports)."""
    return orjson.dumps({**attributes(event), "data": event.data})


def parse_record(record: bytes) -> Recorded:
    """Undo ``to_record``."""
    named = orjson.loads(record)
    return _recorded(named, named.pop("data"))


def _recorded(named: dict[str, str], data: str) -> Recorded:
    def uuid(name: str) -> UUID | None:
        return UUID(named[name]) if name in named else None

    try:
        return Recorded(
            service=named["source"].removeprefix(SOURCE_PREFIX),
            position=int(named["position"]),
            event_id=UUID(named["id"]),
            stream=named["subject"],
            version=int(named["sequence"]),
            type=named["type"],
            person_id=uuid("personid"),
            occurred_at=datetime.fromisoformat(named["time"]),
            recorded_at=datetime.fromisoformat(named["recordedtime"]),
            data=data,
            sealed=base64.b64decode(named["sealed"]) if "sealed" in named else None,
            meta=Meta(
                named.get("actor", "hub"),
                uuid("causationid"),
                uuid("correlationid"),
                named.get("traceparent"),
            ),
        )
    except KeyError as error:
        raise NotOurEventError(f"attribute {error.args[0]} is missing") from error
    except ValueError as error:
        raise NotOurEventError("an attribute is malformed") from error
