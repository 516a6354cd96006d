"""Partners' words that a referral's row keeps, folded from both services' events.

Live, the row changes with each answer, and with each batch that is handled. An answer carries
the version that was handled before it, so the order of both is known from the events alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from contracts.base import Event
from contracts.partners import AnswerReceived
from contracts.referrals import AnswerRefused, ReferralMoved
from contracts.values import Author, ReferralStatus


@dataclass(slots=True)
class Words:
    """``asked_status``: of the last answer, until the referral service has dealt with it.

    ``reference``: the partner's own number of the file.
    """

    asked_status: ReferralStatus | None = None
    asked_answer_id: UUID | None = None
    commission_on: date | None = None
    reference: str | None = None


def fold_words(moves: Sequence[tuple[int, Event]], answers: Sequence[AnswerReceived]) -> Words:
    """Fold one referral's events: (stream version, event) of others, and its answers.

    As the row met them: an answer after all that had been handled when it was judged.
    """
    places = [((version, 0), event) for version, event in moves]
    places += [((answer.seen_version, 1), answer) for answer in answers]
    text = Words()
    for _, event in sorted(places, key=lambda placed: placed[0]):
        if isinstance(event, AnswerReceived):
            text.asked_status, text.asked_answer_id = event.status, event.answer_id
        elif isinstance(event, ReferralMoved | AnswerRefused) and (
            event.answer_id in (None, text.asked_answer_id)
        ):  # somebody else moved the referral, or the answer that is asked for was dealt with
            text.asked_status = None
        if isinstance(event, AnswerReceived | ReferralMoved):
            text.commission_on = event.commission_on or text.commission_on
        text.reference = reference_in(event) or text.reference
    return text


def speaks(event: Event) -> bool:
    """Return whether these are the partner's words: its own, or typed in by an adviser."""
    if isinstance(event, ReferralMoved):  # a move by an answer repeats what the answer said
        return event.on_behalf_of is Author.PARTNER
    return isinstance(event, AnswerReceived)


def reference_in(event: Event) -> str | None:
    """Return the partner's own number of the file, if its words give one and were opened."""
    if isinstance(event, AnswerReceived | ReferralMoved) and speaks(event) and event.sealed:
        return event.sealed.partner_reference
    return None
