"""Errors as RFC 9457 problem documents: what is wrong, and in which field.

A text never quotes a value that was sent: it may be personal.
"""

from collections.abc import Sequence
from typing import Any

import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from contracts.sizes import EventTooLargeError
from infra.database import is_infrastructure, is_unique_violation
from infra.limits import Limit, LimitedError
from infra.missing import NotFoundError

log = structlog.get_logger()
CONTENT_TYPE = "application/problem+json"
MOST_ERRORS, MOST_NAME = 100, 64
"""How many fields at fault are named, and how many characters of a name."""
HEARD_OF = ("case", "person")
TYPE_BASE = "https://aiguillage.fr/problems/"


class Problem(Exception):
    """A request that we refuse: ``slug`` names the kind (docs/reference/problems.md).

    ``errors`` holds one ``{"field": …, "detail": …}`` for each field at fault.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str | None = None,
        errors: Sequence[dict[str, str]] = (),
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(f"{slug}: {detail or title}")
        self.status = status
        self.slug = slug
        self.title = title
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers or {}
        self.extra = extra

    def document(self) -> dict[str, Any]:
        """The problem document's members."""
        document: dict[str, Any] = {
            "type": TYPE_BASE + self.slug,
            "title": self.title,
            "status": self.status,
        }
        if self.detail:
            document["detail"] = self.detail
        if self.errors:
            document["errors"] = self.errors
        return document | self.extra

    def response(self) -> Response:
        """The answer to send."""
        body, headers = orjson.dumps(self.document()), {"cache-control": "no-store"}
        headers |= self.headers
        return Response(body, self.status, headers=headers, media_type=CONTENT_TYPE)


def unavailable() -> Response:
    """What is answered while the database cannot be reached, or the service is starting."""
    again = {"retry-after": "5"}
    return Problem(503, "unavailable", "Try again in a moment", headers=again).response()


def overloaded(title: str, seconds: int = 1) -> Problem:
    """There is too much to do already: come again."""
    return Problem(503, "overloaded", title, headers={"retry-after": str(seconds)})


def not_here_yet(title: str) -> Problem:
    """What is asked about was decided, and is on its way to the service that is asked."""
    return Problem(503, "not-here-yet", title, headers={"retry-after": "1"})


def conflict() -> Problem:
    """Somebody else was quicker."""
    title = "Somebody else changed the same thing in the meantime"
    return Problem(409, "conflict", title, "Look again, then decide again")


def not_found(what: str) -> Problem:
    """Nothing under that id, or nothing that the caller may see."""
    return Problem(404, "not-found", f"No such {what}")


def invalid(error: ValidationError, prefix: str = "") -> Problem:
    """A body that does not fit its schema; names fields, quotes no value."""
    found = error.errors(include_input=False)[:MOST_ERRORS]
    return Problem(
        422,
        "invalid",
        "The content does not fit its schema",
        errors=[_field_error(item, prefix) for item in found],
    )


def _field_error(item: Any, prefix: str = "") -> dict[str, str]:
    path = [_name(str(part)) for part in item["loc"]]
    field = ".".join([prefix, *path] if prefix else path)
    detail = item["msg"].removeprefix("Value error, ")
    return {"field": field, "detail": detail}


def _name(part: str) -> str:
    """A field's name, which a stranger may have chosen."""
    return part if len(part) <= MOST_NAME else f"{part[:MOST_NAME]}…"


async def on_problem(request: Request, error: Exception) -> Response:
    """FastAPI's handler for ``Problem``."""
    assert isinstance(error, Problem)
    return error.response()


async def on_request_invalid(request: Request, error: Exception) -> Response:
    """FastAPI's handler for parameters and bodies that do not fit."""
    assert isinstance(error, RequestValidationError)
    if any(e["type"] == "json_invalid" for e in error.errors()):
        return Problem(400, "malformed", "This is not JSON").response()
    found = error.errors()[:MOST_ERRORS]
    errors = [_field_error({"loc": e["loc"][1:], "msg": e["msg"]}) for e in found]
    return Problem(422, "invalid", "The request is not valid", errors=errors).response()


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors (404, 405 …) as problem documents."""
    assert isinstance(error, HTTPException)
    slug = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http")
    headers = dict(error.headers or {})
    return Problem(error.status_code, slug, str(error.detail), headers=headers).response()


async def on_limited(request: Request, error: Exception) -> Response:
    """The person is restricted or archived: whoever answers for personal data may go on."""
    assert isinstance(error, LimitedError)
    if error.limit is Limit.ARCHIVED:
        return Problem(403, "person-archived", "The person is archived").response()
    title = "Nothing may be done with the person's data now"
    return Problem(409, "person-restricted", title).response()


async def on_missing(request: Request, error: Exception) -> Response:
    """What a handler did not find."""
    assert isinstance(error, NotFoundError)
    # the intake's receipt names a case and a person a moment before others hear of them
    if error.what in HEARD_OF and await request.app.state.service.behind():
        return not_here_yet(f"No such {error.what} is known here yet").response()
    return not_found(error.what).response()


async def on_too_large(request: Request, error: Exception) -> Response:
    """What was sent would make an event that no reader takes: nothing of it is stored."""
    assert isinstance(error, EventTooLargeError)
    return Problem(413, "too-large", "More than one event holds").response()


async def on_conflict(request: Request, error: Exception) -> Response:
    """Two changed, or created, the same thing at once: the later one is told to look again."""
    if isinstance(error, IntegrityError) and not is_unique_violation(error):
        return await on_unexpected(request, error)
    return conflict().response()


async def on_unexpected(request: Request, error: Exception) -> Response:
    """Anything else: says that it is our fault, and nothing about what was being handled.

    Where the database is away for a while it says so, and when to come back.
    """
    log.error("request failed", exc_info=error)
    if is_infrastructure(error):
        return unavailable()
    return Problem(500, "internal", "Something went wrong on our side").response()
