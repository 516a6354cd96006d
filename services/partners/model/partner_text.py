"""What a referral's row keeps of its partner's words, folded from both services' events.

Live, the row changes with each answer, and with each batch that is heard. An answer carries
the version that was heard before it, so the order of both is known from the events alone.
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


def fold_words(heard: Sequence[tuple[int, Event]], answers: Sequence[AnswerReceived]) -> Words:
    """What one referral's events come to: (stream version, event) heard, and its answers."""
    words = Words()
    for event in _in_order(heard, answers):
        if isinstance(event, AnswerReceived):
            words.asked_status, words.asked_answer_id = event.status, event.answer_id
        elif _settles(event, words.asked_answer_id):
            words.asked_status = None
        if isinstance(event, AnswerReceived | ReferralMoved):
            words.commission_on = event.commission_on or words.commission_on
        words.reference = reference_in(event) or words.reference
    return words


def speaks(event: Event) -> bool:
    """Whether these are the partner's words: its own answer, or typed in by an adviser."""
    if isinstance(event, ReferralMoved):  # a move by an answer repeats what the answer said
        return event.on_behalf_of is Author.PARTNER
    return isinstance(event, AnswerReceived)


def reference_in(event: Event) -> str | None:
    """The partner's own number of the file, if its words give one and were opened."""
    if isinstance(event, AnswerReceived | ReferralMoved) and speaks(event) and event.sealed:
        return event.sealed.partner_reference
    return None


def _settles(event: Event, asked_answer_id: UUID | None) -> bool:
    """Somebody else moved the referral, or the answer that is asked for was dealt with."""
    if isinstance(event, ReferralMoved | AnswerRefused):
        return event.answer_id in (None, asked_answer_id)
    return False


def _in_order(
    heard: Sequence[tuple[int, Event]], answers: Sequence[AnswerReceived]
) -> list[Event]:
    """As the row met them: an answer after all that had been heard when it was judged."""
    places = [((version, 0), event) for version, event in heard]
    places += [((answer.seen_version, 1), answer) for answer in answers]
    return [event for _, event in sorted(places, key=lambda placed: placed[0])]
