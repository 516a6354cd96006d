"""The published schemas say what the models do, and never go back on what was released."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError as SchemaError
from pydantic import BaseModel, ValidationError

from contracts.base import Event, dataschema
from contracts.public import PUBLIC_TYPES
from contracts.registry import EVENT_TYPES, parse_event, sealed_model
from contracts.tools import publish
from tests.support.schemas import documents, load

NAMES = sorted(publish.published())
EXAMPLES = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def test_schemas_are_what_the_models_say() -> None:
    assert publish.drift() == [], "run python -m contracts.tools.publish"


def test_every_type_is_released() -> None:
    released = {path.stem for path in publish.RELEASED.glob("*.json")}
    assert released == set(NAMES), "run python -m contracts.tools.publish --release"


def test_no_schema_is_narrower_than_released() -> None:
    assert publish.incompatible() == []


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_closed_and_valid(name: str) -> None:
    schema = load(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == dataschema(name)
    objects = [schema, *schema.get("$defs", {}).values()]
    open_ones = [
        node["title"]
        for node in objects
        if "properties" in node and node.get("additionalProperties") is not False
    ]
    assert open_ones == []


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_sealed_part_is_no_part_of_the_clear_schema(name: str) -> None:
    schema = load(name)
    assert "sealed" not in schema["properties"]
    personal = {"Identity", "Facts", "Explanation", "Disclosure"}
    assert personal.isdisjoint(schema.get("$defs", {}))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(data=st.data())
def test_what_fits_the_schema_is_read_and_written_back_alike(
    name: str, data: st.DataObject
) -> None:
    schema, model = load(name), publish.published()[name]
    document = data.draw(documents(name))
    validator = Draft202012Validator(schema)
    validator.validate(document)
    read = _read(model, document)
    written = _written(read)
    validator.validate(written)
    assert _read(model, written) == read


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
@EXAMPLES
@given(data=st.data())
def test_event_survives_storage_with_its_sealed_part(name: str, data: st.DataObject) -> None:
    model = EVENT_TYPES[name]
    event = _read(model, data.draw(documents(name)))
    assert isinstance(event, Event)
    sealed_name = f"{name}.sealed"
    if sealed_name in publish.published():
        part = _read(sealed_model(model), data.draw(documents(sealed_name)))
        event = event.model_copy(update={"sealed": part})
    assert parse_event(name, event.clear_json(), event.sealed_json()) == event


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(data=st.data())
def test_unknown_member_is_against_the_schema_and_ignored_by_readers(
    name: str, data: st.DataObject
) -> None:
    schema, model = load(name), publish.published()[name]
    document = data.draw(documents(name))
    read = _read(model, document)
    newer = {**document, "added_later": 1}
    with pytest.raises(SchemaError):
        Draft202012Validator(schema).validate(newer)
    if model.model_config["extra"] == "forbid":
        with pytest.raises(ValidationError):
            model.model_validate(newer)
    else:
        assert model.model_validate(newer) == read


def _read(model: type[BaseModel], document: Any) -> BaseModel:
    """The document as its model; a rule between members, which no schema states, rejects it."""
    try:
        return model.model_validate_json(json.dumps(document))
    except ValidationError as error:
        if {item["type"] for item in error.errors()} == {"value_error"}:
            reject()
        raise


def _written(read: BaseModel) -> Any:
    if isinstance(read, Event):
        return json.loads(read.clear_json())
    return json.loads(read.model_dump_json(exclude_none=True))


def _change(schema: dict[str, Any], change: str) -> None:
    status = schema["$defs"]["ReferralStatus"]["enum"]
    changes: dict[str, Any] = {
        "a member becomes required": lambda: schema["required"].append("reason"),
        "a member is dropped": lambda: schema["properties"].pop("outcome"),
        "a value list shrinks": lambda: status.remove("on-hold"),
        "a text is bounded": lambda: schema["properties"].update(
            outcome={"type": "string", "maxLength": 5}
        ),
        "a format changes": lambda: schema["properties"].update(
            case_id={"type": "string", "format": "date"}
        ),
        "a pattern appears": lambda: schema["properties"].update(
            outcome={"type": "string", "pattern": "^[a-z]+$"}
        ),
        "a member is added": lambda: schema["properties"].update(extra={"type": "string"}),
        "a value list grows": lambda: status.append("paused"),
        "a member becomes optional": lambda: schema["required"].remove("author"),
    }
    changes[change]()


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ("a member becomes required", False),
        ("a member is dropped", False),
        ("a value list shrinks", False),
        ("a text is bounded", False),
        ("a format changes", False),
        ("a pattern appears", False),
        ("a member is added", True),
        ("a value list grows", True),
        ("a member becomes optional", True),
    ],
)
def test_gate_catches_what_would_break_a_reader(
    tmp_path: Path, change: str, allowed: bool
) -> None:
    file = "fr.aiguillage.referrals.referral.rejected.v1.json"
    copy = shutil.copytree(publish.SCHEMAS, tmp_path / "schemas")
    schema = json.loads((copy / file).read_text())
    _change(schema, change)
    (copy / file).write_text(json.dumps(schema))
    assert publish.incompatible(copy, publish.SCHEMAS) == ([] if allowed else [file])


def test_gate_catches_a_type_that_disappears(tmp_path: Path) -> None:
    copy = shutil.copytree(publish.SCHEMAS, tmp_path / "schemas")
    gone = f"{min(PUBLIC_TYPES)}.json"
    (copy / gone).unlink()
    assert publish.incompatible(copy, publish.SCHEMAS) == [gone]


@pytest.mark.slow
def test_drift_is_seen_both_ways(tmp_path: Path) -> None:
    publish.write(tmp_path)
    assert publish.drift(tmp_path) == []
    (tmp_path / "stray.json").write_text("{}")
    changed = f"{NAMES[0]}.json"
    (tmp_path / changed).write_text("{}")
    assert publish.drift(tmp_path) == sorted([changed, "stray.json"])
    publish.write(tmp_path)
    assert publish.drift(tmp_path) == []
