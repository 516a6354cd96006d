"""Errors of the handlers, as problem documents."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel

from contracts.checks.nir import find_nir
from infra.keys.vault import PersonErasedError
from infra.web.problems import (
    Internal,
    Invalid,
    Malformed,
    NirRefused,
    PersonErasedProblem,
    Problem,
    TooLarge,
    UnsupportedMediaType,
    not_found,
)
from services.intake.handlers.errors import NotTakenError, Reason
from services.intake.handlers.persons import MergeRefusedError, UnknownPersonError
from services.intake.problems import (
    DuplicateId,
    MergeRefused,
    SourceNotAllowed,
    UnknownAgreement,
    UnknownPerson,
    UnknownType,
)

_KINDS: dict[Reason, type[Problem]] = {
    Reason.DUPLICATE_ID: DuplicateId,
    Reason.INTERNAL: Internal,
    Reason.INVALID: Invalid,
    Reason.MALFORMED: Malformed,
    Reason.NIR_REFUSED: NirRefused,
    Reason.PERSON_ERASED: PersonErasedProblem,
    Reason.SOURCE_NOT_ALLOWED: SourceNotAllowed,
    Reason.TOO_LARGE: TooLarge,
    Reason.UNKNOWN_AGREEMENT: UnknownAgreement,
    Reason.UNKNOWN_PERSON: UnknownPerson,
    Reason.UNKNOWN_TYPE: UnknownType,
    Reason.UNSUPPORTED_MEDIA_TYPE: UnsupportedMediaType,
}


def problem_of(error: NotTakenError) -> Problem:
    """Return the problem of an event that is not taken; a field's text may be the title."""
    kind = _KINDS[error.reason]
    faults = [{"field": e.field, "detail": e.detail or kind.title} for e in error.errors]
    return kind(error.detail or None, faults)


def refuse_nir(body: BaseModel) -> None:
    """Raise ``Problem`` if a field of what staff wrote holds a NIR."""
    if (field := find_nir(body.model_dump(mode="json", exclude_none=True))) is not None:
        raise NirRefused.at(field, NirRefused.title)


@asynccontextmanager
async def refusing() -> AsyncIterator[None]:
    """Turn what handlers refuse into problem documents."""
    try:
        yield
    except UnknownPersonError as error:
        raise not_found(str(error)) from error
    except MergeRefusedError as error:
        raise MergeRefused(str(error)) from error
    except PersonErasedError as error:
        raise PersonErasedProblem from error
    except NotTakenError as error:
        raise problem_of(error) from error
