"""Kinds of messages to partners, and when one is not sent."""

from datetime import date

from contracts.referrals import AppointmentEvent, ReferralCancelled
from contracts.values import Author, MessageKind

REQUESTED, CANCELLED = MessageKind.REQUESTED, MessageKind.CANCELLED
REMINDED, WITHDRAWN = MessageKind.REMINDED, MessageKind.WITHDRAWN
APPOINTMENT, CALLED_OFF = MessageKind.APPOINTMENT, MessageKind.CALLED_OFF
ERASED = MessageKind.ERASED
ABOUT_PERSON = frozenset({REQUESTED, REMINDED, APPOINTMENT, CALLED_OFF})
"""Messages that leave only while something may be done about their person."""
WITHOUT_PERSON = frozenset({CANCELLED, WITHDRAWN, ERASED})
"""Messages that say nothing of the person, and may leave when the person is gone."""


def tells_partner(event: ReferralCancelled | AppointmentEvent) -> bool:
    """Return whether this is news to the partner: not if it said so itself."""
    return Author.PARTNER not in (event.author, event.on_behalf_of)


def expired(agreed_until: date | None, today: date) -> bool:
    """Return whether the agreement has ended; its last day still covers a disclosure."""
    return agreed_until is not None and agreed_until < today
