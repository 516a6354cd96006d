"""The event reference, docs/reference/events.md, written from the models' own words.

``python -m contracts.tools.catalogue`` writes it; a test compares.
"""

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from contracts.base import Sealed
from contracts.public import PUBLIC_TYPES
from contracts.registry import EVENT_TYPES, SERVICES, sealed_model
from contracts.sizes import largest
from contracts.tools.publish import WEBHOOKS, published, schema_of

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "events.md"
SHORT_LIST = 10
DATED = ("Dated", "Sensitive")  # how statements about the person are named
HEAD = """\
# Events and messages

Written by `python -m contracts.tools.catalogue` from the models in `contracts/`: change those.
Each type links its JSON Schema. *Sealed* fields say something about the person: they are
encrypted under the person's key and never stand in the clear part. A field marked `?` may be
missing; a *statement of* something is an object: `value`, `source` (declared, document or
partner), `as_of` (the day it was true).

Each event type has a largest size, clear and sealed part together as stored, that follows
from the bounds of its fields; a writer refuses what is larger, and none reaches 1 MiB
([ADR 0026](../adr/0026-every-event-has-a-largest-size.md)).

How events are framed: [AsyncAPI](../../contracts/asyncapi.yaml); what may change:
[ADR 0006](../adr/0006-contracts-and-versioning.md).
"""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, "## What municipal systems send\n"]
    parts += [_entry(name, model) for name, model in PUBLIC_TYPES.items()]
    for service in SERVICES:
        events = {n: e for n, e in EVENT_TYPES.items() if n.split(".")[2] == service}
        if events:
            parts.append(f"## What {service} says\n")
        parts += [_entry(name, event) for name, event in events.items()]
    parts.append("## Between the hub and partners\n")
    parts += [_entry(name, model) for name, model in WEBHOOKS.items()]
    parts.append("## Parts of the above\n")
    parts += [_part(name, schema) for name, schema in sorted(_parts().items())]
    return "\n".join(parts)


def _parts() -> dict[str, dict[str, Any]]:
    """Every object, and every long value list, that several messages hold."""
    parts: dict[str, dict[str, Any]] = {}
    for name, model in published().items():
        definitions = schema_of(name, model).get("$defs", {})
        for title, schema in definitions.items():
            is_short = 0 < len(schema.get("enum", ())) <= SHORT_LIST
            if not title.startswith(DATED) and not is_short:
                parts[title] = {**schema, "$defs": definitions}
    return parts


def _part(name: str, schema: dict[str, Any]) -> str:
    summary = cleandoc(schema.get("description", "")).partition("\n\n")[0].replace("\n", " ")
    lines = [f"### {name}\n", *([f"{summary}\n"] if summary else [])]
    if "enum" in schema:
        lines.append(", ".join(f"`{value}`" for value in schema["enum"]))
    else:
        lines += _fields(schema)
    return "\n".join(lines) + "\n"


def _entry(name: str, model: type[BaseModel]) -> str:
    size = [f"At most {-(-largest(name) // 1024)} KiB.\n"] if name in EVENT_TYPES else []
    lines = [
        f"### `{name}`\n",
        f"{cleandoc(model.__doc__ or '')} ([schema](../../contracts/schemas/{name}.json))\n",
        *size,
        *_fields(schema_of(name, model)),
    ]
    if name in EVENT_TYPES and (part := sealed_model(EVENT_TYPES[name])) is not Sealed:
        sealed = schema_of(f"{name}.sealed", part)
        lines += ["\nSealed:\n", *_fields(sealed)]
    return "\n".join(lines) + "\n"


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        optional = "" if name in required else "?"
        remark = f": {field['description']}" if "description" in field else ""
        yield f"- `{name}`{optional} {_type(field, schema.get('$defs', {}))}{remark}"


def _type(node: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        if name.startswith(DATED):
            value = definitions[name]["properties"]["value"]
            return f"statement of {_type(value, definitions)}"
        values = definitions[name].get("enum", ())
        return f"{name} ({', '.join(values)})" if 0 < len(values) <= SHORT_LIST else name
    if "anyOf" in node:
        options = [option for option in node["anyOf"] if option.get("type") != "null"]
        return " or ".join(_type(option, definitions) for option in options)
    if node.get("type") == "array":
        return f"list of {_type(node['items'], definitions)}"
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return f"one of {', '.join(node['enum'])}"
    return str(node.get("format") or node.get("type", "anything"))


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stderr.write(f"{PAGE.name} written\n")
