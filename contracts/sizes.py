"""The largest size of every event type: derived from what its model allows.

A writer refuses what is larger, so that whatever is stored fits every reader behind it: the
topics, the log, an export, both verifiers (docs/adr/0026). A model that leaves a field without
a bound has no largest size: that is an error, not infinity.
"""

import re
import re._parser  # type: ignore[import-not-found]
from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson

from contracts.base import Sealed
from contracts.bounds import MAX_BYTES
from contracts.registry import EVENT_TYPES, sealed_model
from contracts.tools.publish import schema_of

MOST_BYTES = 1024 * 1024
"""Of the clear and the sealed part of any event together, as they are stored."""
CIPHER_BYTES = 1 + 16 + 12 + 16
"""What sealing adds to the personal part: version, key id, nonce, tag (infra/vault)."""
ESCAPED = 6
"""Bytes that one character of a text may take in JSON."""
NUMBER = 25
_FORMATS = {"uuid": 38, "date": 12, "date-time": 34}
_UNCOUNTED = 2**31
_ANY_CHARACTER = re.compile(r"\[\^|\\[sSwWdD]|(?<!\\)\.")
_LISTED = re.compile(r"\[(?!\^)(?:\\.|[^\]\\])*\]")
Schema = Mapping[str, Any]


class UnboundedError(Exception):
    """A field of an event may be of any size: which."""


class EventTooLargeError(Exception):
    """An event is larger than its type may be; nothing of it is stored."""

    def __init__(self, event_type: str, size: int, most: int) -> None:
        super().__init__(f"{event_type} of {size} bytes; at most {most}")
        self.event_type, self.size, self.most = event_type, size, most


@cache
def largest_clear(event_type: str) -> int:
    """Return the bytes of the largest clear part of a type.

    Raises ``UnboundedError``, and ``KeyError`` for a type nobody knows.
    """
    schema = schema_of(event_type, EVENT_TYPES[event_type])
    return _largest(schema, schema.get("$defs", {}), event_type)


@cache
def largest_sealed(event_type: str) -> int:
    """Return the bytes of a type's largest personal part before sealing; 0 for none.

    Raises as ``largest_clear`` does.
    """
    part = sealed_model(EVENT_TYPES[event_type])
    if part is Sealed:
        return 0
    schema = schema_of(f"{event_type}.sealed", part)
    return _largest(schema, schema.get("$defs", {}), f"{event_type}.sealed")


def largest(event_type: str) -> int:
    """Return the bytes of a type's largest event as stored: clear and sealed part."""
    sealed = largest_sealed(event_type)
    return largest_clear(event_type) + (sealed + CIPHER_BYTES if sealed else 0)


def check_size(event_type: str, clear: bytes, sealed: bytes | None) -> None:
    """Raise ``EventTooLargeError`` if a part, as it is stored, is larger than its type's."""
    if len(clear) > (most := largest_clear(event_type)):
        raise EventTooLargeError(event_type, len(clear), most)
    if sealed and len(sealed) > (most := largest_sealed(event_type) + CIPHER_BYTES):
        raise EventTooLargeError(event_type, len(sealed), most)


def _largest(node: Schema, parts: Schema, where: str) -> int:
    """Bytes of the largest JSON that fits a schema."""
    if MAX_BYTES in node:
        return int(node[MAX_BYTES])
    if "$ref" in node:
        return _largest(parts[node["$ref"].removeprefix("#/$defs/")], parts, where)
    if "anyOf" in node:
        return max(_largest(option, parts, where) for option in node["anyOf"])
    if values := node.get("enum") or ([node["const"]] if "const" in node else []):
        return max(len(orjson.dumps(value)) for value in values)
    return _of_type(node, parts, where)


def _of_type(node: Schema, parts: Schema, where: str) -> int:
    match node.get("type"):
        case "string":
            return _text(node, where)
        case "array" if "maxItems" in node:
            each = _largest(node["items"], parts, f"{where}[]") + 1
            return 2 + int(node["maxItems"]) * each
        case "object":
            return _object(node, parts, where)
        case "integer" | "number" | "boolean" | "null":
            return NUMBER
    raise UnboundedError(where)


def _text(node: Schema, where: str) -> int:
    if node.get("format") in _FORMATS:
        return _FORMATS[node["format"]]
    most, bytes_each, pattern = node.get("maxLength"), ESCAPED, node.get("pattern")
    if pattern:
        width = re._parser.parse(pattern).getwidth()[1]
        most = min(width, most or width) if width < _UNCOUNTED else most
        if not _ANY_CHARACTER.search(_LISTED.sub("", pattern)):
            bytes_each = 1  # it lists its characters, none of which JSON escapes
    if most is None:
        raise UnboundedError(where)
    return 2 + bytes_each * int(most)


def _object(node: Schema, parts: Schema, where: str) -> int:
    if "properties" in node:
        return 2 + sum(
            len(name) + 4 + _largest(field, parts, f"{where}.{name}")
            for name, field in node["properties"].items()
        )
    if "maxProperties" not in node or "patternProperties" not in node:
        raise UnboundedError(where)
    each = max(
        _text({"pattern": name}, where) + 2 + _largest(value, parts, f"{where}.*")
        for name, value in node["patternProperties"].items()
    )
    return 2 + int(node["maxProperties"]) * each
