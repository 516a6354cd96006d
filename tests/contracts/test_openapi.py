"""What the APIs answer has names, and keeps what was released."""

import json
import re
from collections import Counter
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
from pydantic import ValidationError

from contracts.base import Answered
from contracts.registry import SERVICES
from contracts.tools.publish import WEBHOOKS
from contracts.webhooks import Answer, PingMessage
from services.hub import openapi, promises
from services.hub.promises import operations, successes

document = cache(openapi.document)
REFERENCE = "#/components/schemas/"
NAME = re.compile(r"[A-Z][A-Za-z0-9]*")
JSON = re.compile(r"application/(?:[a-z.]+\+)?json")
CASES = "GET /v1/cases"
ENDPOINTS = "POST /v1/endpoints"


@pytest.mark.parametrize("service", SERVICES)
def test_every_answer_is_a_named_model_or_a_documented_media_type(service: str) -> None:
    described = document(service)
    nameless = [
        f"{name} {status} {media}"
        for name, operation in operations(described)
        for status, answered in successes(operation).items()
        for media, schema in (answered or {"nothing": {}}).items()
        if status != "204" and not _is_told(media, schema)
    ]
    assert nameless == []


def _is_told(media: str, schema: dict[str, Any]) -> bool:
    if JSON.fullmatch(media):
        return schema.get("$ref", "").startswith(REFERENCE)
    return media != "nothing"


def test_what_is_read_by_humans_too_is_told_in_both_media_types() -> None:
    told = {
        f"{service} {name}": set(answered)
        for service in ("referrals", "partners")
        for name, operation in operations(document(service))
        for answered in successes(operation).values()
        if len(answered) > 1
    }
    assert told == {
        "referrals GET /v1/proposals/{proposal_id}/explanation": {
            "application/json", "text/plain",
        },
        "partners GET /v1/manual/{delivery_id}/sheet": {"application/json", "text/html"},
    }  # fmt: skip


@pytest.mark.parametrize("service", SERVICES)
def test_no_two_schemas_have_one_name_and_every_name_can_be_said(service: str) -> None:
    schemas = document(service)["components"]["schemas"]
    titles = Counter(schema.get("title", name) for name, schema in schemas.items())
    assert [title for title, times in titles.items() if times > 1] == []
    assert [name for name in (*schemas, *titles) if not NAME.fullmatch(name)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_reference_leads_to_a_schema(service: str) -> None:
    described = document(service)
    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert referred == set(described["components"]["schemas"])


def test_a_message_is_told_whatever_its_kind() -> None:
    """Messages are given out as they were composed: nothing else compares them with this."""
    shown = {model.model_fields["data"].annotation for model in WEBHOOKS.values()}
    partner = shown - {PingMessage, Answer}  # to an endpoint alone; from the partner
    schemas = document("partners")["components"]["schemas"]
    for name in ("PartnerMessage", "MessageSheet"):
        told = {ref["$ref"] for ref in schemas[name]["properties"]["data"]["anyOf"]}
        assert told == {f"{REFERENCE}{model.__name__}" for model in partner}


def test_a_field_that_is_not_named_fails_instead_of_being_dropped() -> None:
    class Told(Answered):
        known: int

    with pytest.raises(ValidationError):
        Told(**{"known": 1, "forgotten": 2})


@pytest.mark.slow
@pytest.mark.parametrize("service", SERVICES)
def test_what_was_released_of_an_api_is_kept(service: str) -> None:
    assert openapi.released(service).exists(), "run python -m services.hub.openapi --release"
    assert openapi.breaches(service) == []


def _loses_a_field(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    del schemas["Case"]["properties"]["urgent"]
    schemas["Case"]["required"].remove("urgent")


def _leaves_a_field_out_at_times(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    schemas["Case"]["required"].remove("urgent")


def _answers_null(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    schemas["Case"]["properties"]["urgent"] = {"anyOf": [{"type": "boolean"}, {"type": "null"}]}


def _answers_another_value(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    schemas["CaseStatus"]["enum"].append("paused")


def _answers_another_format(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    schemas["Case"]["properties"]["opened_at"] = {"type": "string", "format": "date"}


def _gains_a_field(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    schemas["Case"]["properties"]["colour"] = {"type": "string"}
    schemas["Case"]["required"].append("colour")


def _answers_null_no_more(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    schemas["CasePage"]["properties"]["next"] = {"type": "string", "format": "uuid"}


def _succeeds_otherwise(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    operation["responses"]["202"] = operation["responses"].pop("200")


def _answers_text(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    operation["responses"]["200"]["content"] = {"text/plain": {}}


def _drops_a_parameter(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    del operation["parameters"][0]


def _wants_another_parameter(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    schema = {"type": "string"}
    wanted = {"name": "colour", "in": "query", "required": True, "schema": schema}
    operation["parameters"].append(wanted)


def _takes_another_parameter(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    operation["parameters"].append({"name": "colour", "in": "query", "schema": {}})


def _takes_smaller_pages(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    (limit,) = [p for p in operation["parameters"] if p["name"] == "limit"]
    limit["schema"]["maximum"] = 50


def _takes_larger_pages(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    (limit,) = [p for p in operation["parameters"] if p["name"] == "limit"]
    limit["schema"]["maximum"] = 5000


def _wants_another_role(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    operation["security"] = [{"key": ["auditor"]}]


def _takes_another_role(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    operation["security"].append({"key": ["auditor"]})


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (_loses_a_field, False),
        (_leaves_a_field_out_at_times, False),
        (_answers_null, False),
        (_answers_another_value, False),
        (_answers_another_format, False),
        (_succeeds_otherwise, False),
        (_answers_text, False),
        (_gains_a_field, True),
        (_answers_null_no_more, True),
        (_drops_a_parameter, False),
        (_wants_another_parameter, False),
        (_takes_smaller_pages, False),
        (_wants_another_role, False),
        (_takes_another_parameter, True),
        (_takes_larger_pages, True),
        (_takes_another_role, True),
    ],
)
def test_gate_catches_what_would_break_a_client(change: Any, kept: bool) -> None:
    old = _only("referrals", CASES)
    new = deepcopy(old)
    ((_, operation),) = operations(new)
    change(operation, new["components"]["schemas"])
    assert (promises.broken(old, new) == []) is kept


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"required": ["partner_id", "url", "rank"]}, False),
        ({"properties": {"colour": {"type": "string"}}}, True),
        ({"properties": {"rank": {"type": "integer", "minimum": 1, "maximum": 100}}}, False),
    ],
)
def test_gate_catches_a_body_that_is_taken_no_more(change: dict[str, Any], kept: bool) -> None:
    old = _only("partners", ENDPOINTS)
    new = deepcopy(old)
    body = new["components"]["schemas"]["EndpointRequest"]
    body["required"] = change.get("required", body["required"])
    body["properties"] |= change.get("properties", {})
    assert (promises.broken(old, new) == []) is kept


def test_gate_catches_an_operation_that_is_gone() -> None:
    old = _only("referrals", CASES)
    assert promises.broken(old, old | {"paths": {}}) == [f"{CASES}: is gone"]


def _only(service: str, name: str) -> dict[str, Any]:
    """A service's document with one of its operations."""
    method, path = name.split()
    item = {method.lower(): document(service)["paths"][path][method.lower()]}
    return deepcopy(document(service) | {"paths": {path: item}})
