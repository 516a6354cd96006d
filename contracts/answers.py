"""What an answer may say, whoever gives it: one rule for every door. Pure.

An adviser who types it in, a partner's signed message, its page and its file are all judged by
this before anything is stored.
"""

from datetime import datetime, timedelta

from contracts.values import Reason

LONGEST = timedelta(days=366)
"""How far ahead an appointment may be."""


def wrong_appointment(starts_at: datetime | None, now: datetime) -> str | None:
    """Return why an appointment cannot be then; None if it can, or if there is none."""
    if starts_at is None:
        return None
    if starts_at <= now:
        return "must lie in the future"
    return "must lie within a year" if starts_at - now > LONGEST else None


def wrong_suggestion(
    suggested: str | None, reason: Reason | None, own: str, *, known: bool
) -> str | None:
    """Return why another service cannot be suggested; None if it can, or if none is.

    ``own``: the service that answers; ``known``: whether the directory has the other one.
    """
    if suggested is None:
        return None
    if reason is not Reason.REFERRED_ONWARD:
        return "goes with the reason referred-onward only"
    return None if known and suggested != own else "the directory has no such other service"
