"""What the audit answers as it was put together is what its OpenAPI says, field by field."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.whole import Whole

PERSON = "/v1/persons/{person_id}"
ASKED = [
    ("auditor", "POST", PERSON + "/unmask", {"reason": "contrôle"}),
    ("privacy", "POST", PERSON + "/access", {}),
    ("auditor", "GET", PERSON + "/pathway", None),
    ("auditor", "GET", "/v1/entries", None),
]


def closed(node: Any) -> Any:
    """The schema, refusing every field that it does not list."""
    if isinstance(node, list):
        return [closed(child) for child in node]
    if not isinstance(node, dict):
        return node
    lists = "properties" in node and "additionalProperties" not in node
    return {n: closed(c) for n, c in node.items()} | (
        {"additionalProperties": False} if lists else {}
    )


async def test_every_field_of_an_answer_is_in_its_description(
    whole: Whole, subtests: pytest.Subtests
):
    person = await whole.comes()
    await whole.quiet()
    document = (await whole.http.get("/audit/openapi.json")).json()
    for role, method, path, body in ASKED:
        with subtests.test(path):
            at = "/audit" + path.format(person_id=person)
            answer = await whole.call(role, method, at, body)
            told = document["paths"][path][method.lower()]["responses"]["200"]["content"]
            schema = told["application/json"]["schema"]
            components = closed(document["components"])
            Draft202012Validator(schema | {"components": components}).validate(answer.json())
