"""The events' routes as OpenAPI: they are none of FastAPI's, so they are described by hand."""

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from contracts import envelope
from contracts.public import PUBLIC_TYPES
from contracts.receipts import Receipt
from infra.web.openapi import REFERENCE, refusals, security
from infra.web.problems import Problem

Schema = dict[str, Any]
EVENT = (
    "One CloudEvent, structured or binary (`ce-` headers; the body is the data). 202 is sent "
    "once it is durable. An event is known by its source and id: a repeat gets the same "
    f"answer. A batch (`{envelope.BATCH}`) is taken here too, as at `/v1/events/batch`."
)
BATCH = (
    "Several CloudEvents. 202 is sent once all accepted events are durable. Each event has its "
    "own result; one that is refused stops no other."
)
HEADERS = {
    "ce-specversion": "`1.0`.",
    "ce-id": "Of the event, for its source.",
    "ce-source": "Who sends it: a URI reference.",
    "ce-type": "Which event it is.",
    "ce-time": "When it happened: RFC 3339, with its offset.",
    "ce-subject": "About what.",
}
_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": envelope.MAX_ATTRIBUTE_CHARS}


def component_schemas() -> dict[str, Schema]:
    """Return the schemas that the operations refer to: events, receipts and results."""
    models: list[Any] = [*PUBLIC_TYPES.values()]
    wanted: list[Any] = [(m, "validation") for m in models] + [(Receipt, "serialization")]
    _, schema = models_json_schema(wanted, ref_template=REFERENCE + "{model}")
    events = {f"{model.__name__}Event": _event(model) for model in models}
    return {**schema["$defs"], **events, "CloudEvent": {"anyOf": _all(events)}, **_ANSWERS}


def event_operation(kinds: Iterable[type[Problem]]) -> Schema:
    """Return the operation for one event, in either of two modes."""
    data = {"anyOf": _all(model.__name__ for model in PUBLIC_TYPES.values())}
    bodies = {envelope.STRUCTURED: _to("CloudEvent"), envelope.JSON: data}
    named: Schema = {
        "operationId": "post_event",
        "summary": "Emit one CloudEvent",
        "description": EVENT,
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": False,
                "description": f"{meaning} In binary mode.",
                "schema": _TEXT,
            }
            for name, meaning in HEADERS.items()
        ],
    }
    return named | _operation(bodies, "Receipt", kinds)


def batch_operation(most: int, kinds: Iterable[type[Problem]]) -> Schema:
    """Return the operation for at most so many events at once."""
    events = {"type": "array", "items": _to("CloudEvent"), "maxItems": most}
    named = {
        "operationId": "post_event_batch",
        "summary": "Emit several CloudEvents",
        "description": BATCH,
    }
    return named | _operation({envelope.BATCH: events}, "BatchAnswer", kinds)


def _operation(
    bodies: dict[str, Schema], answer: str, kinds: Iterable[type[Problem]]
) -> Schema:
    accepted = {
        "description": "Stored; a repeat gets the same answer.",
        "content": {"application/json": {"schema": _to(answer)}},
    }
    return {
        "tags": ["intake"],
        "security": security(["municipal"]),
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in bodies.items()},
        },
        "responses": {"202": accepted} | refusals(kinds),
    }


def _event(model: type[Any]) -> Schema:
    return {
        "type": "object",
        "title": f"{model.__name__}Event",
        "description": model.__doc__,
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": _TEXT,
            "source": _TEXT | {"format": "uri-reference"},
            "type": {"const": model.TYPE},
            "subject": _TEXT,
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"type": "string", "examples": [envelope.JSON]},
            "data": _to(model.__name__),
        },
        "additionalProperties": {"type": ["string", "integer", "boolean"]},
    }


def _to(name: str) -> Schema:
    return {"$ref": REFERENCE + name}


def _all(names: Iterable[str]) -> list[Schema]:
    return [_to(name) for name in names]


_ANSWERS: dict[str, Schema] = {
    "BatchAnswer": {
        "type": "object",
        "title": "BatchAnswer",
        "description": "What became of each event of a batch.",
        "required": ["results"],
        "properties": {
            "results": {
                "type": "array",
                "description": "One for each event, in order.",
                "items": _to("EventResult"),
            }
        },
    },
    "EventResult": {
        "type": "object",
        "title": "EventResult",
        "description": "The receipt of one event, or why it was refused.",
        "required": ["status"],
        "properties": {
            "status": {"type": "integer", "description": "As HTTP says it of one event."},
            "receipt": _to("Receipt"),
            "problem": _to("Problem"),
        },
    },
}
