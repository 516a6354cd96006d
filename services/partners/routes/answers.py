"""POST /v1/answers, signed: a plain Starlette route for speed, documented by hand below."""

from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.responses import Response

from contracts.webhooks import AnswerWebhook
from infra.base.telemetry import next_hop
from infra.web.openapi import REFERENCE, document_route, refusals
from infra.web.problems import (
    ALWAYS,
    WITH_BODY,
    ForbiddenTransition,
    Invalid,
    NirRefused,
    NotHereYet,
    Problem,
    TooManyFailures,
    UnsupportedMediaType,
)
from infra.web.throttle import Failures
from services.partners.handlers.answers import (
    Answers,
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
from services.partners.routes.problems import refusing_answers

ANSWERS = "/v1/answers"


def add_answers(app: FastAPI, answers: Answers) -> None:
    """Mount the partners' route, and describe it."""

    failures = Failures()

    async def receive(request: Request) -> Response:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise UnsupportedMediaType("Send application/json")
        body = await request.body()
        trace = next_hop(request.headers.get("traceparent"))
        address = request.client.host if request.client else None
        async with failures.attempt(address):
            try:
                with refusing_answers():
                    accepted = await answers.receive(request.headers, body, trace)
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


_HEADERS = {
    "webhook-id": "Unique to the message; the same for a repeat of it.",
    "webhook-timestamp": "When it was signed, in seconds since 1970.",
    "webhook-signature": "v1,<base64 HMAC-SHA-256 of id.timestamp.body>; several by spaces.",
}
REFUSALS = (
    *ALWAYS,
    *WITH_BODY,
    CommissionNotMet,
    DuplicateId,
    Erased,
    ForbiddenTransition,
    Invalid,
    NirRefused,
    NotHereYet,
    ReasonNotYours,
    SignatureInvalid,
    StateChanged,
    TimestampStale,
    TooManyFailures,
)
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
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": text,
                "schema": {"type": "string"},
            }
            for name, text in _HEADERS.items()
        ],
        "requestBody": {"required": True} | _json(AnswerWebhook),
        "security": [],  # the signature says who it is
        "responses": {"202": accepted} | refusals(REFUSALS),
    }


def _json(model: type[BaseModel]) -> dict[str, Any]:
    reference = {"$ref": REFERENCE + model.__name__}
    return {"content": {"application/json": {"schema": reference}}}
