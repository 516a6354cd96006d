"""Documents that fit a published schema, made up by hypothesis from the schema alone."""

import json
from datetime import datetime
from functools import cache
from typing import Any

from hypothesis import strategies as st

from contracts.tools.publish import SCHEMAS

Json = Any
Formats = dict[str, st.SearchStrategy[str]]
_TEXT = st.text(
    st.characters(exclude_categories=("C", "Z")), max_size=12
)  # no space: a model that trims would make another document of it


def _formats(first: datetime, last: datetime) -> Formats:
    return {
        "uuid": st.uuids().map(str),
        "date": st.dates(first.date(), last.date()).map(str),
        "date-time": st.builds(
            lambda moment, zone: f"{moment.isoformat()}{zone}",
            st.datetimes(first, last),
            st.sampled_from(["Z", "+02:00", "-11:30"]),
        ),
    }


_STRANGERS = _formats(datetime(2000, 1, 2), datetime(2026, 1, 1))  # noqa: DTZ001 - see _formats
"""What every horizon of ``contracts.types`` takes."""
_STORED = _formats(datetime(1900, 1, 1), datetime(9999, 12, 30))  # noqa: DTZ001


@cache
def load(name: str) -> dict[str, Any]:
    """A published schema by its name; not to be changed by the caller."""
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text())
    return schema


@cache
def documents(name: str) -> st.SearchStrategy[Json]:
    """Documents that fit a published schema, optional members present or not."""
    schema = load(name)
    told = any(part in name for part in (".public.", ".answered.", ".facts."))
    return _node(schema, schema.get("$defs", {}) | {"": _STRANGERS if told else _STORED})


def _node(node: dict[str, Any], defs: dict[str, Any]) -> st.SearchStrategy[Json]:
    if "$ref" in node:
        return _node(defs[node["$ref"].removeprefix("#/$defs/")], defs)
    if "anyOf" in node:
        return st.one_of([_node(option, defs) for option in node["anyOf"]])
    if "const" in node:
        return st.just(node["const"])
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if node.get("type") == "object":
        return _object(node, defs)
    if node.get("type") == "array":
        most = min(4, node.get("maxItems", 4))
        return st.lists(
            _node(node["items"], defs), min_size=node.get("minItems", 0), max_size=most
        )
    return _scalar(node, defs[""])


def _object(node: dict[str, Any], defs: dict[str, Any]) -> st.SearchStrategy[Json]:
    members = {key: _node(child, defs) for key, child in node.get("properties", {}).items()}
    required = set(node.get("required", ()))
    for pattern, of_it in node.get("patternProperties", {}).items():
        names = st.from_regex(pattern.strip("^$"), fullmatch=True)
        return st.dictionaries(names, _node(of_it, defs), max_size=3)
    if not members and isinstance(of := node.get("additionalProperties"), dict):
        return st.dictionaries(_TEXT, _node(of, defs), max_size=3)
    if not members:
        return st.dictionaries(_TEXT, st.none() | st.booleans() | _TEXT, max_size=3)
    return st.fixed_dictionaries(
        {key: members[key] for key in required},
        optional={key: child for key, child in members.items() if key not in required},
    )


def _scalar(node: dict[str, Any], formats: Formats) -> st.SearchStrategy[Json]:
    kinds: dict[str | None, st.SearchStrategy[Json]] = {
        "string": _string(node, formats),
        "boolean": st.booleans(),
        "integer": st.integers(-(2**31), 2**31),
        "number": st.floats(-1e6, 1e6),
        "null": st.none(),
        None: st.none() | st.booleans() | _TEXT,
    }
    return kinds[node.get("type")]


def _string(node: dict[str, Any], formats: Formats) -> st.SearchStrategy[str]:
    if "format" in node:
        return formats[node["format"]]
    shortest, longest = node.get("minLength", 0), node.get("maxLength", 4000)
    if "pattern" in node:
        return st.from_regex(node["pattern"]).filter(
            lambda text: text == text.strip() and shortest <= len(text) <= longest
        )
    return _TEXT.filter(lambda text: shortest <= len(text) <= longest)
