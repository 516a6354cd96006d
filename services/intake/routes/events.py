"""``POST /v1/events``: CloudEvents in, receipts out. The hot route: plain Starlette."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import FastAPI
from prometheus_client import Counter
from starlette.requests import Request
from starlette.responses import Response

from contracts import envelope
from contracts.checks.nir import find_nir, may_hold_nir
from contracts.envelope import ContentTypeError, EnvelopeError, Mode, NotJSONError
from infra.keys.vault import PersonErasedError
from infra.postgres.database import is_infrastructure
from infra.postgres.group_commit import GroupCommit, OverloadedError, UnavailableError
from infra.web.auth import Authenticator
from infra.web.bodies import KIB, Body
from infra.web.openapi import document_route
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
from services.intake.handlers.errors import NotTakenError, Reason
from services.intake.handlers.inbound import (
    Emitter,
    InboundEvent,
    InboundValidator,
    envelope_refused,
)
from services.intake.problems import (
    DuplicateId,
    SourceNotAllowed,
    TooManyEvents,
    UnknownAgreement,
    UnknownPerson,
    UnknownType,
)
from services.intake.routes.described import (
    batch_operation,
    component_schemas,
    event_operation,
)
from services.intake.routes.problems import problem_of

PATH, BATCH_PATH = "/v1/events", "/v1/events/batch"
MAX_BODY_BYTES = 256 * KIB
MAX_BATCH_EVENTS = 500
_BODY = Body(MAX_BODY_BYTES, seconds=30, roles=("municipal",))
BODIES = {PATH: _BODY, BATCH_PATH: _BODY}
ANSWER_SECONDS = 60
"""Longer than any commit with all of its queue: only a fault of ours lets it pass."""
PROBLEMS = Counter("aiguillage_intake_problems", "Refused events by kind", ["slug"])
REFUSALS = (
    *ALWAYS,
    *WITH_KEY,
    *WITH_BODY,
    DuplicateId,
    Invalid,
    NirRefused,
    Overloaded,
    PersonErasedProblem,
    SourceNotAllowed,
    TooManyEvents,
    UnknownAgreement,
    UnknownPerson,
    UnknownType,
)
"""Problems that the route may answer with, and each event of a batch."""


class EventsRoute:
    """One request: who, what, admitted, committed, answered.

    ``batches``: nothing else is taken here.
    """

    def __init__(
        self,
        validator: InboundValidator,
        group: GroupCommit[InboundEvent, Outcome],
        *,
        batches: bool = False,
    ) -> None:
        self._validator = validator
        self._group = group
        self._batches = batches

    async def __call__(self, request: Request) -> Response:
        """Answer 202 once everything accepted is durable; raises ``Problem`` otherwise."""
        try:
            return await self._answer(request)
        except NotTakenError as error:
            raise _counted(problem_of(error)) from None
        except Problem as problem:
            _counted(problem)
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
        caller = await authenticator.principal(request, "municipal")
        emitter = Emitter(caller.name, caller.actor, caller.scope)
        try:
            mode = envelope.http_mode(headers.get("content-type"), headers)
            if self._batches and mode is not Mode.BATCH:
                raise ContentTypeError(f"send {envelope.BATCH}")
            body = await request.body()
            if mode is Mode.BATCH:
                return await self._batch(request, emitter, body)
            if mode is Mode.STRUCTURED:
                event = envelope.read_json(body)
            else:
                binary = envelope.from_http_binary(headers.items(), body)
                event = envelope.to_object(binary)
        except (NotJSONError, EnvelopeError, ContentTypeError) as error:
            raise envelope_refused(error) from None
        look = mode is Mode.BINARY or may_hold_nir(body)
        arrival = self._validated(request, emitter, event, look=look)
        (outcome,) = await self._commit([arrival])
        if isinstance(outcome, NotTakenError):
            raise outcome
        return _accepted(arrival.receipt(outcome))

    async def _batch(self, request: Request, emitter: Emitter, body: bytes) -> Response:
        events = envelope.batch_items(body)
        if len(events) > MAX_BATCH_EVENTS:
            raise TooManyEvents(f"A batch has at most {MAX_BATCH_EVENTS} events")
        look = may_hold_nir(body)
        arrivals: dict[int, InboundEvent] = {}
        outcomes: dict[int, Outcome] = {}
        for index, event in enumerate(events):
            try:
                arrivals[index] = self._validated(request, emitter, event, look=look)
            except NotTakenError as error:
                outcomes[index] = error
        if arrivals:
            committed = await self._commit(list(arrivals.values()))
            outcomes |= zip(arrivals, committed, strict=True)
        results = []
        for index in range(len(events)):
            outcome = outcomes[index]
            if isinstance(outcome, NotTakenError):
                problem = _counted(problem_of(outcome))
                result = {"status": problem.status, "problem": problem.document()}
                results.append(orjson.dumps(result))
            else:
                receipt = arrivals[index].receipt(outcome)
                results.append(b'{"status":202,"receipt":' + receipt + b"}")
        return _accepted(b'{"results":[' + b",".join(results) + b"]}")

    def _validated(
        self, request: Request, emitter: Emitter, event: Any, *, look: bool
    ) -> InboundEvent:
        if look and (field := find_nir(event)) is not None:
            raise NotTakenError.at(Reason.NIR_REFUSED, field or "event")
        try:
            admitted = envelope.from_object(event)
        except (EnvelopeError, ContentTypeError) as error:
            raise envelope_refused(error) from None
        if "data_base64" in event and (field := find_nir(admitted.data, "data")) is not None:
            raise NotTakenError.at(Reason.NIR_REFUSED, field)
        return self._validator.validate(admitted, emitter, request.headers.get("traceparent"))

    async def _commit(self, arrivals: Sequence[InboundEvent]) -> list[Outcome]:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._group.submit(arrivals)


def add_routes(
    app: FastAPI, validator: InboundValidator, group: GroupCommit[InboundEvent, Outcome]
) -> None:
    """Put the routes on the application, past FastAPI's own machinery.

    Batches are taken at both addresses; in the description each has one kind of body and of
    answer, for clients are generated from it.
    """
    route, batches = EventsRoute(validator, group), EventsRoute(validator, group, batches=True)

    @raises(*REFUSALS)
    async def post_event(request: Request) -> Response:
        return await route(request)

    @raises(*REFUSALS)
    async def post_event_batch(request: Request) -> Response:
        return await batches(request)

    document_route(app, PATH, post_event, event_operation(REFUSALS), component_schemas())
    batches_described = batch_operation(MAX_BATCH_EVENTS, REFUSALS)
    document_route(app, BATCH_PATH, post_event_batch, batches_described)


def _counted(problem: Problem) -> Problem:
    PROBLEMS.labels(problem.slug).inc()
    return problem


def _accepted(body: bytes) -> Response:
    return Response(body, 202, media_type="application/json")
