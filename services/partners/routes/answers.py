"""The door through which partners answer: a bare route, because it is hot."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import FastAPI, Request
from pydantic import ValidationError
from starlette.responses import Response

from contracts.webhooks import AnswerWebhook
from infra.database import is_infrastructure
from infra.telemetry import next_hop
from infra.vault import PersonErasedError
from infra.web.problems import Problem, invalid, not_here_yet
from infra.web.throttle import Failures
from infra.webhooks.signature import SignatureError, StaleTimestampError
from services.partners.handlers.answers import (
    Answers,
    DuplicateIdError,
    MalformedAnswerError,
    NirError,
    NotAskedError,
    StateChangedError,
)
from services.partners.model import (
    AnswerFieldError,
    CommissionNotMetError,
    ForbiddenTransitionError,
    ReasonNotYoursError,
)

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
        content = {
            "answer_id": str(accepted.answer_id),
            "referral_id": str(accepted.referral_id),
            "status": accepted.status,
        }
        return Response(orjson.dumps(content), 202, media_type="application/json")

    app.add_route(ANSWERS, receive, methods=["POST"], include_in_schema=False)
    _document(app)


async def _body(request: Request) -> bytes:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Problem(415, "unsupported-media-type", "Send application/json")
    return await request.body()


async def _refusing(receive: Callable[[], Awaitable[Any]]) -> Any:
    """Each reason not to take an answer, as its problem document."""
    try:
        return await receive()
    except MalformedAnswerError as error:
        raise Problem(400, "malformed", "The body cannot be read", str(error)) from error
    except StaleTimestampError as error:
        raise Problem(
            401,
            "timestamp-stale",
            "The message was signed too long ago",
            "webhook-timestamp must be within five minutes of our clock; sign again",
        ) from error
    except SignatureError as error:
        # the same for an unknown referral: whether one exists is nobody's business
        raise Problem(401, "signature-invalid", "The signature is not valid") from error
    except NirError as error:
        raise wrong_field(422, "nir-refused", error.field, "must not hold a NIR") from error
    except ValidationError as error:
        raise invalid(error) from error
    except Exception as error:
        raise _refused(error) from error


def _refused(error: Exception) -> Exception:
    """What a well-formed answer may be refused for."""
    if isinstance(error, ReasonNotYoursError):
        detail = "this reason is not one that a partner gives"
        return wrong_field(422, "reason-not-yours", "data.reason", detail)
    if isinstance(error, AnswerFieldError):
        return wrong_field(422, "invalid", f"data.{error.field}", error.detail)
    return _conflict(error)


def _conflict(error: Exception) -> Exception:
    if isinstance(error, StateChangedError):
        return Problem(
            409,
            "state-changed",
            "The referral is no longer in the state that you saw",
            current_status=error.current,
        )
    if isinstance(error, ForbiddenTransitionError):
        return Problem(
            409,
            "forbidden-transition",
            "The referral's state does not allow this",
            current_status=error.current,
            asked_status=error.asked,
        )
    if isinstance(error, NotAskedError):
        return not_here_yet("The request that is answered has not reached us yet")
    if isinstance(error, CommissionNotMetError):
        return Problem(
            409,
            "commission-not-met",
            "The commission has not met yet",
            "Answer commission-scheduled with commission_on; accept from that day on",
        )
    if isinstance(error, DuplicateIdError):
        return Problem(409, "duplicate-id", "This webhook-id was used for another message")
    if isinstance(error, PersonErasedError):
        return Problem(410, "erased", "The person asked to be forgotten")
    if is_infrastructure(error):
        return Problem(
            503,
            "unavailable",
            "Not stored; send it again",
            headers={"retry-after": "5"},
        )
    return error


def wrong_field(status: int, slug: str, name: str, detail: str) -> Problem:
    """A problem of one field."""
    return Problem(
        status,
        slug,
        "The content does not fit its schema",
        errors=[{"field": name, "detail": detail}],
    )


_HEADERS = {
    "webhook-id": "Unique to the message; the same for a repeat of it.",
    "webhook-timestamp": "When it was signed, in seconds since 1970.",
    "webhook-signature": "v1,<base64 HMAC-SHA-256 of id.timestamp.body>; several by spaces.",
}
_ANSWERS = {
    "202": "Stored. A repeat gets the same answer.",
    "400": "Not JSON, or without data.referral_id.",
    "401": "Not signed with a secret of the partner, or too long ago.",
    "409": "The referral's state does not allow it, or the id was used before.",
    "410": "The person was erased.",
    "413": "Too large.",
    "415": "Not application/json.",
    "422": "A field is wrong; `errors` names it.",
    "503": "Not stored; send it again.",
}


def _document(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        if ANSWERS not in schema["paths"]:
            body = AnswerWebhook.model_json_schema(ref_template="#/components/schemas/{model}")
            components = schema.setdefault("components", {}).setdefault("schemas", {})
            components |= body.pop("$defs", {}) | {"AnswerWebhook": body}
            schema["paths"][ANSWERS] = {"post": _operation()}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _operation() -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/AnswerWebhook"}
    return {
        "tags": ["answers"],
        "summary": "Answer a referral",
        "description": "A Standard Webhook, signed with the secret of an endpoint.",
        "operationId": "answer",
        "parameters": [
            _header(name, text) for name, text in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": reference}},
        },
        "responses": {status: {"description": text} for status, text in _ANSWERS.items()},
    }  # fmt: skip


def _header(name: str, text: str) -> dict[str, Any]:
    kind = {"type": "string"}
    return {"name": name, "in": "header", "required": True, "description": text, "schema": kind}
