"""The AsyncAPI document is valid, complete, and says what is really sent."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from contracts.base import Sealed
from contracts.public import PUBLIC_TYPES
from contracts.registry import EVENT_TYPES, SERVICES, sealed_model
from contracts.tools.publish import WEBHOOKS
from infra.base.settings import Settings
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.messaging.cloudevents import to_kafka
from infra.messaging.record_codes import RecordKey, Stamp
from infra.platform import open_vault
from tests.support.asyncapi import MissingError, official_schema

DOCUMENT = Path(__file__).parents[2] / "contracts" / "asyncapi.yaml"
SOME_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
SOME_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@cache
def document() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text())
    return read


def resolve(reference: str) -> Any:
    """What a ``$ref`` of the document points at; raises where it points at nothing."""
    file, _, pointer = reference.partition("#")
    node: Any = json.loads((DOCUMENT.parent / file).read_text()) if file else document()
    for step in pointer.strip("/").split("/") if pointer.strip("/") else []:
        node = node[step.replace("~1", "/").replace("~0", "~")]
    return node


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(found := node.get("$ref"), str):
            yield found
        yield from (node[key] for key in node if key == "x-sealed")
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def messages(channel: str) -> dict[str, dict[str, Any]]:
    """Messages of a channel by their name."""
    listed = document()["channels"][channel].get("messages", {}).values()
    found = [resolve(message["$ref"]) for message in listed]
    return {message["name"]: message for message in found}


def recorded(person: UUID | None, sealed: bytes | None, meta: EventMetadata) -> StoredEvent:
    moment = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
    return StoredEvent(
        service="referrals",
        position=1,
        event_id=SOME_ID,
        stream=f"case-{SOME_ID}",
        version=1,
        type="fr.aiguillage.referrals.case.opened.v1",
        person_id=person,
        occurred_at=moment,
        recorded_at=moment,
        data="{}",
        sealed=sealed,
        meta=meta,
        salt=bytes(32),
        sealed_salt=bytes(32) if sealed else None,
    )


def official() -> Any:
    try:
        schema = official_schema()
    except MissingError as missing:
        pytest.fail(str(missing), pytrace=False)
    return validator_for(schema)(schema)


def test_document_fits_the_official_schema() -> None:
    found = [
        f"{list(e.absolute_path)}: {e.message}" for e in official().iter_errors(document())
    ]
    assert found == []


def test_official_schema_refuses_a_wrong_document() -> None:
    wrong = {**document(), "operations": {"x": {"action": "shout", "channel": {"$ref": "#/"}}}}
    assert not official().is_valid(wrong)


def test_every_reference_points_at_something() -> None:
    found = list(references(document()))
    assert len(found) > len(EVENT_TYPES)
    for reference in found:
        assert resolve(reference)


@pytest.mark.parametrize("service", SERVICES)
def test_every_event_stands_in_its_services_topic(service: str) -> None:
    expected = {name for name in EVENT_TYPES if name.split(".")[2] == service}
    assert set(messages(service)) == expected
    assert document()["channels"][service]["address"] == f"{{prefix}}{service}"


def test_public_types_stand_in_the_municipal_topic() -> None:
    assert set(messages("municipal")) == set(PUBLIC_TYPES)
    topic = Settings.model_fields["public_topic"].default
    assert document()["channels"]["municipal"]["address"] == f"{{prefix}}{topic}"


def test_default_prefix_is_the_settings() -> None:
    prefix = document()["components"]["parameters"]["prefix"]["default"]
    assert prefix == Settings.model_fields["topic_prefix"].default


def test_webhooks_and_answer_name_their_published_schemas() -> None:
    both = {**messages("webhooks"), **messages("answers")}
    payloads = {message["payload"]["$ref"] for message in both.values()}
    assert payloads == {f"./schemas/{name}.json" for name in WEBHOOKS}
    named = {model.model_fields["type"].default for model in WEBHOOKS.values()}
    assert set(both) == named


@pytest.mark.parametrize("channel", [*SERVICES, "municipal"])
def test_payload_is_the_schema_of_the_messages_own_type(channel: str) -> None:
    for name, message in messages(channel).items():
        assert message["payload"] == {"$ref": f"./schemas/{name}.json"}


def test_sealed_parts_are_named_where_there_are_some() -> None:
    for name, model in EVENT_TYPES.items():
        named = messages(name.split(".")[2])[name].get("x-sealed")
        has_one = sealed_model(model) is not Sealed
        assert named == (f"./schemas/{name}.sealed.json" if has_one else None)


@pytest.mark.parametrize(
    ("person", "sealed", "meta"),
    [
        (None, None, EventMetadata()),
        (
            SOME_ID,
            b"\x01\x02",
            EventMetadata("adviser:anne", SOME_ID, SOME_ID, SOME_TRACE, "partner:p"),
        ),
    ],
    ids=["least", "all"],
)
def test_headers_are_those_of_our_records(
    person: UUID | None, sealed: bytes | None, meta: EventMetadata, tmp_path: Path
) -> None:
    schema = document()["components"]["schemas"]["EventHeaders"]
    Draft202012Validator.check_schema(schema)
    headers = sent_headers(recorded(person, sealed, meta), tmp_path)
    Draft202012Validator(schema).validate({name: value.decode() for name, value in headers})


def sent_headers(event: StoredEvent, directory: Path) -> list[tuple[str, bytes]]:
    """As a relay sends them."""
    vault = open_vault(Settings(data=directory), "postgresql://nowhere/vault")
    _, value, headers = to_kafka(event)
    return RecordKey(vault.master).sign(0, value, headers, Stamp(SOME_ID, 0, absent=True))


def test_every_documented_header_is_sent(tmp_path: Path) -> None:
    meta = EventMetadata("adviser:anne", SOME_ID, SOME_ID, SOME_TRACE, "partner:p")
    whole = recorded(SOME_ID, b"\x01", meta)
    events = (whole, whole.stripped())
    sent = {name for event in events for name, _ in sent_headers(event, tmp_path)}
    schema = document()["components"]["schemas"]["EventHeaders"]
    assert set(schema["properties"]) == sent


def test_types_follow_the_pattern_of_the_header() -> None:
    schema = document()["components"]["schemas"]["EventHeaders"]
    for name in EVENT_TYPES:
        assert re.fullmatch(schema["properties"]["ce_type"]["pattern"], name)
