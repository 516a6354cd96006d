"""What the model refuses, as problem documents."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.nir import find_nir
from contracts.webhooks import SpokenAnswer
from infra.database import Database
from infra.limits import Limit, LimitedError
from infra.vault import PersonErasedError
from infra.web.problems import Problem
from services.referrals.handlers.advisers import StaleProposalError
from services.referrals.model.advice import (
    AlreadyTriedError,
    CaseClosedError,
    UnknownServiceError,
)
from services.referrals.model.appointments import AppointmentRefusedError
from services.referrals.model.person import AgreementMissingError, PersonRestrictedError
from services.referrals.model.referral import ForbiddenTransitionError, InvalidMoveError

_PROBLEMS: dict[type[Exception], Callable[[], Problem]] = {
    AgreementMissingError: lambda: Problem(
        409,
        "agreement-missing",
        "The person's agreement does not cover this partner",
        "Record an agreement first: nothing may be disclosed without it",
    ),
    CaseClosedError: lambda: Problem(409, "case-closed", "The case has ended"),
    AlreadyTriedError: lambda: Problem(
        409,
        "already-tried",
        "The service was asked before in this case",
        "A service is asked once; after a late yes, as a new referral",
    ),
    StaleProposalError: lambda: Problem(
        409, "stale-proposal", "The case has a newer proposal: look again"
    ),
    PersonErasedError: lambda: Problem(410, "person-erased", "The person's data were erased"),
}


def refuse_nir(body: SpokenAnswer) -> None:
    """Raise ``Problem`` if a field holds a NIR."""
    if (found := find_nir(body.model_dump(mode="json", exclude_none=True))) is not None:
        field = {"field": found, "detail": "must not hold a NIR"}
        raise Problem(422, "nir-refused", "The request is not valid", errors=[field])


@asynccontextmanager
async def deciding(database: Database) -> AsyncIterator[AsyncConnection]:
    """A transaction whose refusals become problem documents."""
    try:
        async with database.transaction() as tx:
            yield tx
    except UnknownServiceError as error:
        field = {"field": "service_ids", "detail": "the directory has no such service"}
        raise Problem(422, "invalid", "The request is not valid", errors=[field]) from error
    except ForbiddenTransitionError as error:
        raise Problem(
            409,
            "forbidden-transition",
            "The referral's state does not allow this",
            str(error),
            current_status=error.current,
            asked_status=error.asked,
        ) from error
    except AppointmentRefusedError as error:
        raise Problem(
            409, "appointment-refused", "This appointment cannot be", str(error)
        ) from error
    except PersonRestrictedError as error:
        raise LimitedError(Limit.RESTRICTED) from error
    except InvalidMoveError as error:
        field = {"field": error.field, "detail": error.detail}
        raise Problem(422, "invalid", "The request is not valid", errors=[field]) from error
    except tuple(_PROBLEMS) as error:
        raise _PROBLEMS[type(error)]() from error
