"""The door through which partners answer: a bare route, because it is hot."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from contracts.webhooks import AnswerWebhook
from infra.base.telemetry import next_hop
from infra.delivery.webhook.signature import SignatureError, StaleTimestampError
from infra.keys.vault import PersonErasedError
from infra.postgres.database import is_infrastructure
from infra.web.openapi import REFERENCE, document_route, refusals
from infra.web.problems import (
    ALWAYS,
    LATER,
    WITH_BODY,
    ForbiddenTransition,
    Invalid,
    Malformed,
    NirRefused,
    NotHereYet,
    Problem,
    TooManyFailures,
    Unavailable,
    UnsupportedMediaType,
    invalid,
    not_here_yet,
)
from infra.web.throttle import Failures
from services.partners.handlers.answers import (
    Answers,
    DuplicateIdError,
    MalformedAnswerError,
    NirError,
    NotAskedError,
    StateChangedError,
)
from services.partners.model.answers import (
    AnswerFieldError,
    CommissionNotMetError,
    ForbiddenTransitionError,
    ReasonNotYoursError,
)
from services.partners.problems import (
    CommissionNotMet,
    DuplicateId,
    Erased,
    ReasonNotYours,
    SignatureInvalid,
    StateChanged,
    TimestampStale,
)
from services.partners.routes.models import AnswerReceipt

ANSWERS = "/v1/answers"


def add_answers(app: FastAPI, answers: Answers) -> None:
    """The partners' route: a bare one, because it is hot; so its documentation is by hand."""

    failures = Failures()

    async def receive(request: Request) -> Response:
        body = await _body(request)
        trace = next_hop(request.headers.get("traceparent"))
        address = request.client.host if request.client else None
        async with failures.attempt(address):
            try:
                accepted = await _refusing(
                    lambda: answers.receive(request.headers, body, trace)
                )
            except Problem as problem:
                if problem.slug == "signature-invalid":
                    failures.failed(address)
                raise
        receipt = AnswerReceipt(
            answer_id=accepted.answer_id,
            referral_id=accepted.referral_id,
            status=accepted.status,
        )
        return Response(receipt.model_dump_json(), 202, media_type="application/json")

    document_route(app, ANSWERS, receive, _operation(), _schemas())


async def _body(request: Request) -> bytes:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMediaType("Send application/json")
    return await request.body()


async def _refusing(receive: Callable[[], Awaitable[Any]]) -> Any:
    """Each reason not to take an answer, as its problem document."""
    try:
        return await receive()
    except MalformedAnswerError as error:
        raise Malformed(str(error)) from error
    except StaleTimestampError as error:
        raise TimestampStale(
            "webhook-timestamp must be within five minutes of our clock; sign again"
        ) from error
    except SignatureError as error:
        # the same for an unknown referral: whether one exists is nobody's business
        raise SignatureInvalid from error
    except NirError as error:
        raise NirRefused.at(error.field, "must not hold a NIR") from error
    except ValidationError as error:
        raise invalid(error) from error
    except Exception as error:
        raise _refused(error) from error


def _refused(error: Exception) -> Exception:
    """What a well-formed answer may be refused for."""
    if isinstance(error, ReasonNotYoursError):
        detail = "this reason is not one that a partner gives"
        return ReasonNotYours.at("data.reason", detail)
    if isinstance(error, AnswerFieldError):
        return Invalid.at(f"data.{error.field}", error.detail)
    return _conflict(error)


def _conflict(error: Exception) -> Exception:
    if isinstance(error, StateChangedError):
        return StateChanged(current_status=error.current)
    if isinstance(error, ForbiddenTransitionError):
        return ForbiddenTransition(current_status=error.current, asked_status=error.asked)
    if isinstance(error, NotAskedError):
        return not_here_yet("The request that is answered has not reached us yet")
    if isinstance(error, CommissionNotMetError):
        return CommissionNotMet(
            "Answer commission-scheduled with commission_on; accept from that day on"
        )
    if isinstance(error, DuplicateIdError):
        return DuplicateId()
    if isinstance(error, PersonErasedError):
        return Erased()
    if is_infrastructure(error):
        return Unavailable("Not stored; send it again", headers=LATER)
    return error


_HEADERS = {
    "webhook-id": "Unique to the message; the same for a repeat of it.",
    "webhook-timestamp": "When it was signed, in seconds since 1970.",
    "webhook-signature": "v1,<base64 HMAC-SHA-256 of id.timestamp.body>; several by spaces.",
}
REFUSALS = (
    *ALWAYS, *WITH_BODY, CommissionNotMet, DuplicateId, Erased, ForbiddenTransition, Invalid,
    NirRefused, NotHereYet, ReasonNotYours, SignatureInvalid, StateChanged, TimestampStale,
    TooManyFailures,
)  # fmt: skip
"""What an answer may be refused for."""


def _schemas() -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    for model in (AnswerWebhook, AnswerReceipt):
        schema = model.model_json_schema(ref_template=REFERENCE + "{model}")
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    return schemas


def _operation() -> dict[str, Any]:
    accepted = {"description": "Stored; a repeat gets the same answer."} | _json(AnswerReceipt)
    return {
        "tags": ["answers"],
        "summary": "Answer a referral",
        "description": "A Standard Webhook, signed with the secret of an endpoint.",
        "operationId": "answer",
        "parameters": [
            _header(name, text) for name, text in _HEADERS.items()
        ],
        "requestBody": {"required": True} | _json(AnswerWebhook),
        "security": [],  # the signature says who it is
        "responses": {"202": accepted} | refusals(REFUSALS),
    }  # fmt: skip


def _json(model: type[BaseModel]) -> dict[str, Any]:
    reference = {"$ref": REFERENCE + model.__name__}
    return {"content": {"application/json": {"schema": reference}}}


def _header(name: str, text: str) -> dict[str, Any]:
    kind = {"type": "string"}
    return {"name": name, "in": "header", "required": True, "description": text, "schema": kind}
