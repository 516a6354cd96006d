"""The largest event that a type takes: every text, list and open object at its bound."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from contracts.base import Event, Sealed
from contracts.bounds import MAX_BYTES
from contracts.registry import EVENT_TYPES, sealed_model
from contracts.tools.publish import schema_of
from contracts.types import STORED

FILLS = ("x", "é", "字", "😀", '"', "\\", "\n", "\x01")
"""Characters of one to six bytes in JSON; not every text may hold each of them."""
_SAMPLES = {"uuid": "f" * 8 + "-ffff-4fff-bfff-" + "f" * 12, "date": "2026-11-30"}
_SAMPLES["date-time"] = "2026-11-30T12:00:00.123456+01:00"
_PARTS = ("{0}", "a{0}", "1{0}", "+{0}", "{0}@example.org")
_PLAIN = ("x", "a", "1")


def largest_event(event_type: str, fill: str = "x") -> Event:
    """An event of a type at its largest, texts made of ``fill`` where they may hold it."""
    model = EVENT_TYPES[event_type]
    clear = _value(schema_of(event_type, model), {}, fill)
    event = model.model_validate(clear, context=STORED)
    part = sealed_model(model)
    if part is Sealed:
        return event
    sealed = _value(schema_of(f"{event_type}.sealed", part), {}, fill)
    return event.model_copy(update={"sealed": part.model_validate(sealed, context=STORED)})


def _value(node: Mapping[str, Any], parts: Mapping[str, Any], fill: str) -> Any:
    parts = node.get("$defs", parts)
    if MAX_BYTES in node:
        return _open(node, fill)
    if "$ref" in node:
        return _value(parts[node["$ref"].removeprefix("#/$defs/")], parts, fill)
    if "anyOf" in node:
        found = [_value(option, parts, fill) for option in node["anyOf"]]
        return max(found, key=lambda value: len(orjson.dumps(value)))
    if "const" in node:
        return node["const"]
    if "enum" in node:
        return max(node["enum"], key=lambda value: len(str(value)))
    return _of_type(node, parts, fill)


def _of_type(node: Mapping[str, Any], parts: Mapping[str, Any], fill: str) -> Any:
    match node.get("type"):
        case "string":
            return _SAMPLES.get(node.get("format", "")) or _text(node, fill)
        case "array":
            return [_value(node["items"], parts, fill)] * node["maxItems"]
        case "object" if "properties" in node:
            return {n: _value(field, parts, fill) for n, field in node["properties"].items()}
        case "object":
            (value,) = node["patternProperties"].values()
            names = (f"{'n' * 18}-{chr(97 + n)}" for n in range(node["maxProperties"]))
            return {name: _value(value, parts, fill) for name in names}
        case "integer":
            return 2**63 - 1
        case "number":
            return -123456.789
        case "boolean":
            return False
    return None


def _text(node: Mapping[str, Any], fill: str) -> str:
    pattern = node.get("pattern", "(?s).*")
    width = re._parser.parse(pattern).getwidth()[1]  # type: ignore[attr-defined]
    most = min(width, node.get("maxLength", width))
    for character in (fill, *_PLAIN):
        for shape in _PARTS:
            text = shape.format(character * (most - len(shape) + 3))
            if re.fullmatch(pattern, text):
                return text
    raise AssertionError(f"no text for {pattern}")


def _open(node: Mapping[str, Any], fill: str) -> Any:
    each, most = len(orjson.dumps(fill)) - 2, node[MAX_BYTES]
    if node.get("type") == "object":
        return {"k": fill * ((most - 8) // each)}
    if node.get("type") == "array":
        return [fill * ((most - 4) // each)]
    return fill * ((most - 2) // each)
