"""Errors of handlers and models, as problem documents."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from pydantic import ValidationError

from infra.delivery.webhook.signature import SignatureError, StaleTimestampError
from infra.keys.vault import PersonErasedError
from infra.postgres.database import is_infrastructure
from infra.web.problems import (
    LATER,
    AgreementMissing,
    ForbiddenTransition,
    Invalid,
    Malformed,
    NirRefused,
    PersonErasedProblem,
    Problem,
    Unavailable,
    invalid,
    not_found,
    not_here_yet,
)
from services.partners.handlers.answers import (
    DuplicateIdError,
    MalformedAnswerError,
    NirError,
    NotAskedError,
    StateChangedError,
)
from services.partners.handlers.capacity import (
    MailedLatelyError,
    NoMailboxError,
    PastReportError,
    UnknownServiceError,
)
from services.partners.handlers.manual import (
    KeptBackError,
    NotByHandError,
    UnknownDeliveryError,
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
    MailedLately,
    NoMailbox,
    NotByHand,
    ReasonNotYours,
    SignatureInvalid,
    StateChanged,
    TimestampStale,
)

Translations = Mapping[type[Exception], Callable[[Any], Exception]]


def _kept_back(error: KeptBackError) -> Exception:
    if error.why.startswith("agreement-"):
        return AgreementMissing("It has ended: nothing may be handed over")
    return PersonErasedProblem() if error.why == "person-erased" else error


_ANSWER: Translations = {
    MalformedAnswerError: lambda error: Malformed(str(error)),
    StaleTimestampError: lambda _: TimestampStale(
        "webhook-timestamp must be within five minutes of our clock; sign again"
    ),
    # the same for an unknown referral: whether one exists is nobody's business
    SignatureError: lambda _: SignatureInvalid(),
    NirError: lambda error: NirRefused.at(error.field, "must not hold a NIR"),
    ValidationError: invalid,
    ReasonNotYoursError: lambda _: ReasonNotYours.at(
        "data.reason", "this reason is not one that a partner gives"
    ),
    AnswerFieldError: lambda error: Invalid.at(f"data.{error.field}", error.detail),
    StateChangedError: lambda error: StateChanged(current_status=error.current),
    ForbiddenTransitionError: lambda error: ForbiddenTransition(
        current_status=error.current, asked_status=error.asked
    ),
    NotAskedError: lambda _: not_here_yet(
        "The request that is answered has not reached us yet"
    ),
    CommissionNotMetError: lambda _: CommissionNotMet(
        "Answer commission-scheduled with commission_on; accept from that day on"
    ),
    DuplicateIdError: lambda _: DuplicateId(),
    PersonErasedError: lambda _: Erased(),
}
_CAPACITY: Translations = {
    UnknownServiceError: lambda _: not_found("service"),
    PastReportError: lambda error: Invalid.at(error.field, "must not be over already"),
    NoMailboxError: lambda error: NoMailbox(str(error)),
    MailedLatelyError: lambda error: MailedLately(
        headers={"retry-after": str(math.ceil(error.wait.total_seconds()))}
    ),
}
_HAND_OVER: Translations = {
    UnknownDeliveryError: lambda _: not_found("delivery"),
    NotByHandError: lambda _: NotByHand(),
    KeptBackError: _kept_back,
    PersonErasedError: lambda _: PersonErasedProblem(),
}


@contextmanager
def _translating(translations: Translations) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for kind in type(error).__mro__:
            if kind in translations and (problem := translations[kind](error)) is not error:
                raise problem from error
        raise


@contextmanager
def refusing_answers() -> Iterator[None]:
    """Raise the problem document of an answer that is refused, or cannot be stored now."""
    try:
        with _translating(_ANSWER):
            yield
    except Problem:
        raise
    except Exception as error:
        if is_infrastructure(error):
            raise Unavailable("Not stored; send it again", headers=LATER) from error
        raise


def refusing_reports() -> AbstractContextManager[None]:
    """Raise the problem document of a report, or a link, that is refused."""
    return _translating(_CAPACITY)


def refusing_hand_overs() -> AbstractContextManager[None]:
    """Raise the problem document of a message that is not to be handed over."""
    return _translating(_HAND_OVER)
