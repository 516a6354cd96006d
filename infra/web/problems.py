"""Errors as RFC 9457 problem documents: what is wrong, and in which field.

A text never quotes a value that was sent: it may be personal.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, TypeVar

import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from contracts.sizes import EventTooLargeError
from infra.base.field_errors import field_errors
from infra.base.missing import NotFoundError
from infra.postgres.database import is_infrastructure, is_unique_violation
from infra.privacy.restrictions import LimitedError, ProcessingRestriction

log = structlog.get_logger()
CONTENT_TYPE = "application/problem+json"
HEARD_OF = ("case", "person")
LATER = {"retry-after": "5"}
F = TypeVar("F", bound=Callable[..., Any])
TYPE_BASE = "https://aiguillage.fr/problems/"


class Problem(Exception):
    """A request that we refuse. Each kind is a class of its own, with the HTTP status, the name
    that ``type`` ends with, and the title; its docstring says what it means.

    ``detail``: what is wrong here, if the title does not say it. ``errors`` holds one
    ``{"field": …, "detail": …}`` for each field at fault. ``extra``: further members.
    """

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self,
        detail: str | None = None,
        errors: Sequence[dict[str, str]] = (),
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(f"{self.slug}: {detail or self.title}")
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers or {}
        self.extra = extra

    @classmethod
    def at(cls, field: str, detail: str) -> Self:
        """With one field at fault."""
        return cls(errors=[{"field": field, "detail": detail}])

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


class Malformed(Problem):
    """The body is not what it says it is (JSON, a form), or not whole."""

    status, slug, title = 400, "malformed", "The request cannot be read"


class Unauthorized(Problem):
    """No key was sent, an unknown one, or one that was revoked."""

    status, slug, title = 401, "unauthorized", "No valid key"


class Forbidden(Problem):
    """The key's role may not do this."""

    status, slug, title = 403, "forbidden", "The key may not do this"


class PersonArchived(Problem):
    """Only whoever answers for personal data sees the person, until a new contact."""

    status, slug, title = 403, "person-archived", "The person is archived"


class NotFound(Problem):
    """Nothing is under that id, or nothing that the caller may see."""

    status, slug, title = 404, "not-found", "There is no such thing"


class MethodNotAllowed(Problem):
    """The address exists, the method does not."""

    status, slug, title = 405, "method-not-allowed", "The address does not take this method"


class RequestTimeout(Problem):
    """The request line, the headers or the body did not come in time."""

    status, slug, title = 408, "request-timeout", "The request did not come in time"


class Conflict(Problem):
    """Somebody else changed the same thing meanwhile."""

    status, slug = 409, "conflict"
    title = "Somebody else changed the same thing in the meantime"


class AgreementMissing(Problem):
    """The person's agreement does not cover this partner, or has ended."""

    status, slug = 409, "agreement-missing"
    title = "The person's agreement does not cover this partner"


class ForbiddenTransition(Problem):
    """The referral's state does not lead where the caller asks."""

    status, slug = 409, "forbidden-transition"
    title = "The referral's state does not allow this"


class PersonRestricted(Problem):
    """The person's data may only be kept for now (RGPD art. 18)."""

    status, slug = 409, "person-restricted"
    title = "Nothing may be done with the person's data now"


class PersonErasedProblem(Problem):
    """Nothing is kept about the person any more."""

    status, slug, title = 410, "person-erased", "The person was erased"


class TooLarge(Problem):
    """The body, or what it would make, is larger than allowed."""

    status, slug, title = 413, "too-large", "The content is too large"


class UnsupportedMediaType(Problem):
    """The content type, or a content coding, is not read here."""

    status, slug, title = 415, "unsupported-media-type", "The content type is not read here"


class Invalid(Problem):
    """A parameter or the body does not fit its schema; ``errors`` names the fields."""

    status, slug, title = 422, "invalid", "The request is not valid"


class NirRefused(Problem):
    """A field holds what looks like a social security number."""

    status, slug = 422, "nir-refused"
    title = "A NIR (social security number) is never taken"


class TooManyFailures(Problem):
    """The caller's address sent too many bad keys, signatures or links lately."""

    status, slug, title = 429, "too-many-failures", "Too many failures"


class HeadersTooLarge(Problem):
    """The request line and the headers are larger than allowed."""

    status, slug, title = 431, "headers-too-large", "The headers are too large"


class Internal(Problem):
    """Something went wrong on our side."""

    status, slug, title = 500, "internal", "Something went wrong on our side"


class NotHereYet(Problem):
    """What is asked about was decided, and is on its way to the service that is asked."""

    status, slug, title = 503, "not-here-yet", "This is not known here yet: ask again"


class Overloaded(Problem):
    """There is too much to do already: nothing was stored."""

    status, slug, title = 503, "overloaded", "Too much is waiting already"


class Unavailable(Problem):
    """The database cannot be reached just now: nothing was stored."""

    status, slug, title = 503, "unavailable", "Try again in a moment"


class OtherHttp(Problem):
    """Any other error that the framework answers with; ``status`` says which."""

    status, slug, title = 400, "http", "The request cannot be answered"

    def __init__(self, status: int, detail: str, headers: dict[str, str]) -> None:
        super().__init__(detail, headers=headers)
        self.status = status  # type: ignore[misc]


ALWAYS: tuple[type[Problem], ...] = (Internal, Unavailable)
"""What any operation may answer."""
WITH_BODY: tuple[type[Problem], ...] = (
    Malformed, RequestTimeout, TooLarge, UnsupportedMediaType,
)  # fmt: skip
"""What an operation that takes a body may answer."""
WITH_KEY: tuple[type[Problem], ...] = (Unauthorized, Forbidden, TooManyFailures)
"""What an operation that asks for a key may answer."""


ABOUT_PERSON: tuple[type[Problem], ...] = (
    PersonArchived, PersonErasedProblem, PersonRestricted,
)  # fmt: skip
"""What an operation that shows or changes something of a person may answer."""


def raises(*kinds: type[Problem]) -> Callable[[F], F]:
    """Say which problems an operation answers with, besides those that follow from what it
    takes (``infra.web.openapi``). Stands under the route's decorator."""

    def declare(endpoint: F) -> F:
        endpoint.problems = kinds  # type: ignore[attr-defined]
        return endpoint

    return declare


def unavailable() -> Response:
    """What is answered while the database cannot be reached, or the service is starting."""
    return Unavailable(headers=LATER).response()


def overloaded(detail: str, seconds: int = 1) -> Problem:
    """There is too much to do already: come again."""
    return Overloaded(detail, headers={"retry-after": str(seconds)})


def not_here_yet(detail: str) -> Problem:
    """Decided elsewhere, and on its way: come again."""
    return NotHereYet(detail, headers={"retry-after": "1"})


def not_found(what: str) -> Problem:
    """Nothing under that id, or nothing that the caller may see."""
    return NotFound(f"No such {what}")


def invalid(error: ValidationError, prefix: str = "") -> Problem:
    """A body that does not fit its schema; names fields, quotes no value."""
    errors = field_errors(error.errors(include_input=False), prefix)
    return Invalid(errors=[item._asdict() for item in errors])


def on_undeclared(operation: str, slug: str) -> None:
    """Called when an operation answers with a problem that its description does not name."""
    log.error("problem not described", operation=operation, problem=slug)


def _answer(request: Request, problem: Problem) -> Response:
    route: Any = request.scope.get("route")
    described = getattr(route, "described_problems", None)
    if described is not None and type(problem) not in described:
        on_undeclared(f"{request.method} {route.path}", problem.slug)
    return problem.response()


async def on_problem(request: Request, error: Exception) -> Response:
    """FastAPI's handler for ``Problem``."""
    assert isinstance(error, Problem)
    return _answer(request, error)


async def on_request_invalid(request: Request, error: Exception) -> Response:
    """FastAPI's handler for parameters and bodies that do not fit."""
    assert isinstance(error, RequestValidationError)
    if any(e["type"] == "json_invalid" for e in error.errors()):
        return _answer(request, Malformed("This is not JSON"))
    errors = field_errors([e | {"loc": e["loc"][1:]} for e in error.errors()])
    return _answer(request, Invalid(errors=[item._asdict() for item in errors]))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors (404, 405 …) as problem documents."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == NotFound.status:
        return NotFound(headers=headers).response()
    if error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed(headers=headers).response()
    return OtherHttp(error.status_code, str(error.detail), headers).response()


async def on_limited(request: Request, error: Exception) -> Response:
    """The person is restricted or archived: whoever answers for personal data may go on."""
    assert isinstance(error, LimitedError)
    if error.limit is ProcessingRestriction.ARCHIVED:
        return _answer(request, PersonArchived())
    return _answer(request, PersonRestricted())


async def on_missing(request: Request, error: Exception) -> Response:
    """What a handler did not find."""
    assert isinstance(error, NotFoundError)
    # the intake's receipt names a case and a person a moment before others hear of them
    if error.what in HEARD_OF and await request.app.state.service.behind():
        return _answer(request, not_here_yet(f"No such {error.what} is known here yet"))
    return _answer(request, not_found(error.what))


async def on_too_large(request: Request, error: Exception) -> Response:
    """What was sent would make an event that no reader takes: nothing of it is stored."""
    assert isinstance(error, EventTooLargeError)
    return _answer(request, TooLarge("More than one event holds"))


async def on_conflict(request: Request, error: Exception) -> Response:
    """Two changed, or created, the same thing at once: the later one is told to look again."""
    if isinstance(error, IntegrityError) and not is_unique_violation(error):
        return await on_unexpected(request, error)
    return _answer(request, Conflict())


async def on_unexpected(request: Request, error: Exception) -> Response:
    """Anything else: says that it is our fault, and nothing about what was being handled.

    Where the database is away for a while it says so, and when to come back.
    """
    log.error("request failed", exc_info=error)
    return unavailable() if is_infrastructure(error) else Internal().response()
