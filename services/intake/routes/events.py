"""``POST /v1/events``: CloudEvents in, receipts out. The hot route: plain Starlette."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import FastAPI
from prometheus_client import Counter
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from contracts import envelope
from contracts.envelope import ContentTypeError, EnvelopeError, Mode, NotJSONError
from contracts.intake import PUBLIC_TYPES
from contracts.nir import find_nir, may_hold_nir
from contracts.receipts import Receipt
from infra.database import is_infrastructure
from infra.groupcommit import GroupCommit, OverloadedError, UnavailableError
from infra.vault import PersonErasedError
from infra.web.auth import Authenticator, Principal
from infra.web.bodies import KIB, Body
from infra.web.openapi import REFERENCE, add_operation, refusals, security
from infra.web.problems import (
    ALWAYS,
    LATER,
    WITH_BODY,
    WITH_KEY,
    Invalid,
    NirRefused,
    Overloaded,
    PersonErasedProblem,
    Problem,
    Unavailable,
    raises,
)
from services.intake.handlers.arrivals import Outcome
from services.intake.handlers.gate import Arrival, Gate, envelope_problem, nir_refused
from services.intake.problems import (
    DuplicateId,
    SourceNotAllowed,
    TooManyEvents,
    UnknownAgreement,
    UnknownPerson,
    UnknownType,
)

PATH = "/v1/events"
MAX_BODY_BYTES = 256 * KIB
MAX_BATCH_EVENTS = 500
BODIES = {PATH: Body(MAX_BODY_BYTES, seconds=30, roles=("municipal",))}
ANSWER_SECONDS = 60
"""Longer than any commit with all of its queue: only a fault of ours lets it pass."""
PROBLEMS = Counter("aiguillage_intake_problems", "Refused events by kind", ["slug"])


class EventsRoute:
    """One request: who, what, admitted, committed, answered."""

    def __init__(self, gate: Gate, group: GroupCommit[Arrival, Outcome]) -> None:
        self._gate = gate
        self._group = group

    async def __call__(self, request: Request) -> Response:
        """Answer 202 once everything accepted is durable; raises ``Problem`` otherwise."""
        try:
            return await self._answer(request)
        except Problem as problem:
            PROBLEMS.labels(problem.slug).inc()
            raise
        except OverloadedError:
            raise Overloaded(headers={"retry-after": "1"}) from None
        except (UnavailableError, TimeoutError):
            raise Unavailable("The event could not be stored", headers=LATER) from None
        except PersonErasedError:
            raise PersonErasedProblem from None
        except Exception as error:
            if is_infrastructure(error):
                raise Unavailable("The event could not be stored", headers=LATER) from None
            raise

    async def _answer(self, request: Request) -> Response:
        authenticator: Authenticator = request.app.state.authenticator
        headers = request.headers
        emitter = await authenticator.principal(request, "municipal")
        try:
            mode = envelope.http_mode(headers.get("content-type"), headers)
            body = await request.body()
            if mode is Mode.BATCH:
                return await self._batch(request, emitter, body)
            event = self._object(request, mode, body)
        except (NotJSONError, EnvelopeError, ContentTypeError) as error:
            raise envelope_problem(error) from None
        look = mode is Mode.BINARY or may_hold_nir(body)
        arrival = self._admit(request, emitter, event, look=look)
        (outcome,) = await self._commit([arrival])
        if isinstance(outcome, Problem):
            raise outcome
        return _accepted(arrival.receipt(outcome))

    def _object(self, request: Request, mode: Mode, body: bytes) -> Any:
        if mode is Mode.STRUCTURED:
            return envelope.read_json(body)
        return envelope.to_object(envelope.from_http_binary(request.headers.items(), body))

    async def _batch(self, request: Request, emitter: Principal, body: bytes) -> Response:
        events = envelope.batch_items(body)
        if len(events) > MAX_BATCH_EVENTS:
            raise TooManyEvents(f"A batch has at most {MAX_BATCH_EVENTS} events")
        look = may_hold_nir(body)
        tried = [self._try(request, emitter, event, look=look) for event in events]
        arrivals = [item for item in tried if isinstance(item, Arrival)]
        outcomes = iter(await self._commit(arrivals) if arrivals else [])
        results = [_result(item, outcomes) for item in tried]
        return _accepted(b'{"results":[' + b",".join(results) + b"]}")

    def _try(
        self, request: Request, emitter: Principal, event: Any, *, look: bool
    ) -> Arrival | Problem:
        try:
            return self._admit(request, emitter, event, look=look)
        except Problem as problem:
            return problem

    def _admit(
        self, request: Request, emitter: Principal, event: Any, *, look: bool
    ) -> Arrival:
        if look and (field := find_nir(event)) is not None:
            raise nir_refused(field or "event")
        try:
            found = envelope.from_object(event)
        except (EnvelopeError, ContentTypeError) as error:
            raise envelope_problem(error) from None
        if "data_base64" in event and (field := find_nir(found.data, "data")) is not None:
            raise nir_refused(field)
        return self._gate.admit(found, emitter, request.headers.get("traceparent"))

    async def _commit(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._group.submit(arrivals)


def add_routes(app: FastAPI, gate: Gate, group: GroupCommit[Arrival, Outcome]) -> None:
    """Put the route on the application, past FastAPI's own machinery."""
    route = EventsRoute(gate, group)

    @raises(*REFUSALS)
    async def post_events(request: Request) -> Response:
        return await route(request)

    app.add_route(PATH, post_events, methods=["POST"])
    add_operation(app, "post", PATH, _operation(), _component_schemas())


def _result(item: Arrival | Problem, outcomes: Any) -> bytes:
    outcome = item if isinstance(item, Problem) else next(outcomes)
    if isinstance(outcome, Problem):
        PROBLEMS.labels(outcome.slug).inc()
        return orjson.dumps({"status": outcome.status, "problem": outcome.document()})
    assert isinstance(item, Arrival)
    return b'{"status":202,"receipt":' + item.receipt(outcome) + b"}"


def _accepted(body: bytes) -> Response:
    return Response(body, 202, media_type="application/json")


def _component_schemas() -> dict[str, Any]:
    models: list[Any] = [*PUBLIC_TYPES.values()]
    wanted = [(model, "validation") for model in models] + [(Receipt, "serialization")]
    _, schema = models_json_schema(wanted, ref_template=_REF + "{model}")  # type: ignore[arg-type]
    events = {f"{model.__name__}Event": _event_schema(model) for model in models}
    event = {"anyOf": [{"$ref": _REF + name} for name in events]}
    return {**schema["$defs"], **events, "CloudEvent": event, **_ANSWERS}


def _event_schema(model: type[Any]) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1, "maxLength": envelope.MAX_ATTRIBUTE_CHARS}
    return {
        "type": "object",
        "title": f"{model.__name__}Event",
        "description": model.__doc__,
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text,
            "source": text | {"format": "uri-reference"},
            "type": {"const": model.TYPE},
            "subject": text,
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"type": "string", "example": envelope.JSON},
            "data": {"$ref": _REF + model.__name__},
        },
        "additionalProperties": {"type": ["string", "integer", "boolean"]},
    }


def _operation() -> dict[str, Any]:
    one, data = {"$ref": _REF + "CloudEvent"}, {"$ref": _REF + "PublicContact"}
    batch = {"type": "array", "items": one, "maxItems": MAX_BATCH_EVENTS}
    bodies = {envelope.STRUCTURED: one, envelope.BATCH: batch, envelope.JSON: data}
    answer = {"oneOf": [{"$ref": _REF + "Receipt"}, {"$ref": _REF + "BatchAnswer"}]}
    accepted = {"description": "Stored; a repeat gets the same answer.",
                "content": {"application/json": {"schema": answer}}}  # fmt: skip
    return {
        "operationId": "post_events",
        "tags": ["intake"],
        "summary": "Emit one CloudEvent, or a batch",
        "description": _DESCRIPTION,
        "security": security(["municipal"]),
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in bodies.items()},
        },
        "responses": {"202": accepted} | refusals(REFUSALS),
    }


_REF = REFERENCE
_DESCRIPTION = (
    "Structured, batch, or binary (`ce-` headers; the body is the data). 202 is sent once all "
    "accepted events are durable. An event is known by its source and id: a repeat gets the "
    "same answer. In a batch each event has its own result; one that is refused stops no other."
)
REFUSALS = (
    *ALWAYS, *WITH_KEY, *WITH_BODY, DuplicateId, Invalid, NirRefused, Overloaded,
    PersonErasedProblem, SourceNotAllowed, TooManyEvents, UnknownAgreement, UnknownPerson,
    UnknownType,
)  # fmt: skip
"""What the route may answer with, and each event of a batch."""
_ANSWERS: dict[str, Any] = {
    "BatchAnswer": {
        "type": "object",
        "required": ["results"],
        "properties": {
            "results": {
                "type": "array",
                "description": "One for each event, in order.",
                "items": {
                    "type": "object",
                    "required": ["status"],
                    "properties": {
                        "status": {"type": "integer"},
                        "receipt": {"$ref": _REF + "Receipt"},
                        "problem": {"$ref": _REF + "Problem"},
                    },
                },
            }
        },
    },
}
