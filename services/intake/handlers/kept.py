"""Refused records as they are kept: encrypted, bound to their place, naming known fields."""

import base64
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from contracts.public import PUBLIC_TYPES
from infra.base.field_errors import FieldError
from infra.keys.key_ring import MasterKeys
from infra.keys.rewrap import EncryptedColumn
from infra.messaging.sources.base import ForeignRecord


class Place(NamedTuple):
    """Place of a record on the broker."""

    topic: str
    partition: int
    offset: int


def closed(record: ForeignRecord, keys: MasterKeys) -> bytes:
    """Return a record as it is kept."""
    headers = [[name, _base64(value)] for name, value in record.headers]
    text = orjson.dumps([_base64(record.value), headers, record.size])
    return keys.wrap(text, _bound(place_of(record)))


def opened(place: Place, raw: bytes, keys: MasterKeys) -> ForeignRecord:
    """Undo ``closed``."""
    value, headers, size = orjson.loads(keys.unwrap(raw, _bound(place)))
    read = tuple((name, _bytes(text)) for name, text in headers)
    return ForeignRecord(*place, _bytes(value), read, size)


def place_of(record: ForeignRecord) -> Place:
    """Return the place of a record."""
    return Place(record.topic, record.partition, record.offset)


def _bound(place: Place) -> bytes:
    return f"refused record {place.topic} {place.partition} {place.offset}".encode()


REFUSED = EncryptedColumn(
    "intake",
    "refused_records",
    Place._fields,
    "raw",
    lambda row: _bound(Place(*(row[name] for name in Place._fields))),
)


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def known_fields(errors: Sequence[FieldError]) -> str:
    """Return the fields at fault, to be kept: a name that we do not know may be anybody's."""
    paths = (error.field.split(".") for error in errors)
    return " ".join(
        ".".join(
            name if name in _KNOWN_NAMES or (name.isdigit() and len(name) < 4) else "*"
            for name in path
        )
        for path in paths
    )


def _names(schema: Any) -> Iterator[str]:
    """Yield the names of all properties in a JSON Schema."""
    if isinstance(schema, dict):
        if isinstance(properties := schema.get("properties"), dict):
            yield from properties
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _names(part)


_ENVELOPE_NAMES = (
    "data event specversion id source type subject time datacontenttype dataschema "
    "data_base64 traceparent"
)
_KNOWN_NAMES = frozenset(
    name for model in PUBLIC_TYPES.values() for name in _names(model.model_json_schema())
) | set(_ENVELOPE_NAMES.split())
