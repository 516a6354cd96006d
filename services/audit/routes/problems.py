"""Errors of the audit service's domain as HTTP problems."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from fastapi.responses import Response

from infra.base.missing import NotFoundError
from infra.keys.vault import PersonErasedError
from infra.web.problems import Invalid, NotFound, PersonErasedProblem, Problem
from services.audit.handlers.replay import UnknownSubjectError
from services.audit.problems import LogDamaged
from services.audit.projections import MAX_ENTRIES, PathwayTooLongError

NEVER = {"cache-control": "no-store"}


async def on_damage(request: Request, error: Exception) -> Response:
    """Answer ``LogDamagedError``, wherever it was raised."""
    return LogDamaged().response()


def no_tile() -> Problem:
    """Return the problem of a tile that is not there, or not yet."""
    return NotFound("No such tile", headers=NEVER)


def nonsense(field: str, detail: str) -> Problem:
    """Return the problem of a parameter that makes no sense."""
    return Invalid.at(field, detail)


@asynccontextmanager
async def domain_errors() -> AsyncIterator[None]:
    """Translate what reading a person's pathway raises."""
    try:
        yield
    except UnknownSubjectError:
        raise NotFoundError("person") from None
    except PathwayTooLongError:
        raise Invalid(f"The pathway has more than {MAX_ENTRIES} entries") from None
    except PersonErasedError as error:
        raise PersonErasedProblem from error
