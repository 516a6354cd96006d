"""The model's errors as problem documents."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from contracts.checks.nir import find_nir
from contracts.webhooks import SpokenAnswer
from infra.keys.vault import PersonErasedError
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.privacy.restrictions import LimitedError, ProcessingRestriction
from infra.web.problems import (
    AgreementMissing,
    Conflict,
    ForbiddenTransition,
    Invalid,
    NirRefused,
    NotFound,
    PersonArchived,
    PersonErasedProblem,
    PersonRestricted,
    Problem,
)
from services.referrals.handlers.advisers import StaleProposalError
from services.referrals.model.advice import (
    AlreadyTriedError,
    CaseClosedError,
    UnknownServiceError,
)
from services.referrals.model.appointments import AppointmentRefusedError
from services.referrals.model.person import AgreementMissingError, PersonRestrictedError
from services.referrals.model.referral import ForbiddenTransitionError, InvalidMoveError
from services.referrals.problems import (
    AlreadyTried,
    AppointmentRefused,
    CaseClosed,
    StaleProposal,
)

_PROBLEMS: dict[type[Exception], Callable[[], Problem]] = {
    AgreementMissingError: lambda: AgreementMissing(
        "Record an agreement first: nothing may be disclosed without it"
    ),
    CaseClosedError: CaseClosed,
    AlreadyTriedError: lambda: AlreadyTried(
        "A service is asked once; after a late yes, as a new referral"
    ),
    StaleProposalError: StaleProposal,
    PersonErasedError: PersonErasedProblem,
}
DECIDING = (
    AgreementMissing,
    AlreadyTried,
    AppointmentRefused,
    CaseClosed,
    Conflict,
    ForbiddenTransition,
    Invalid,
    NirRefused,
    NotFound,
    PersonArchived,
    PersonErasedProblem,
    PersonRestricted,
    StaleProposal,
)
"""Problems that may refuse a decision of an adviser (``deciding``)."""


def refuse_nir(body: SpokenAnswer) -> None:
    """Raise ``Problem`` if a field holds a NIR."""
    if (place := find_nir(body.model_dump(mode="json", exclude_none=True))) is not None:
        raise NirRefused.at(place, "must not hold a NIR")


@asynccontextmanager
async def deciding(database: Database) -> AsyncIterator[Transaction]:
    """A transaction whose refusals become problem documents."""
    try:
        async with database.transaction() as tx:
            yield tx
    except UnknownServiceError as error:
        raise Invalid.at("service_ids", "the directory has no such service") from error
    except ForbiddenTransitionError as error:
        raise ForbiddenTransition(
            str(error), current_status=error.current, asked_status=error.asked
        ) from error
    except AppointmentRefusedError as error:
        raise AppointmentRefused(str(error)) from error
    except PersonRestrictedError as error:
        raise LimitedError(ProcessingRestriction.RESTRICTED) from error
    except InvalidMoveError as error:
        raise Invalid.at(error.field, error.detail) from error
    except tuple(_PROBLEMS) as error:
        raise _PROBLEMS[type(error)]() from error
