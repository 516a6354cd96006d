"""What a referral's row keeps of its partner's words is told by the events alone."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from contracts.base import Event
from contracts.partners import AnswerReceived, AnswerSealed
from contracts.referrals import AnswerRefused, ReferralReceived, SpokenSealed
from contracts.values import Author, ReferralStatus
from services.partners.model.life_cycle import fold_states
from services.partners.model.partner_text import Words, fold_words, reference_in

R = ReferralStatus
REFERRAL, FIRST, SECOND = UUID(int=1), UUID(int=2), UUID(int=3)
MEETS = date(2026, 12, 1)


def answer(answer_id: UUID, seen: int, status: R = R.REQUESTED, **given: Any) -> AnswerReceived:
    reference = given.pop("reference", None)
    return AnswerReceived(
        answer_id=answer_id, referral_id=REFERRAL, partner_id="p", person_id=UUID(int=9),
        seen_version=seen, status=status, **given,
        sealed=AnswerSealed(partner_reference=reference) if reference else None,
    )  # fmt: skip


def moved(**given: Any) -> ReferralReceived:
    reference = given.pop("reference", None)
    sealed = SpokenSealed(partner_reference=reference) if reference else None
    author = {"author": Author.PARTNER if "answer_id" in given else Author.ADVISER}
    return ReferralReceived(
        referral_id=REFERRAL, case_id=UUID(int=8), status=R.REQUESTED, sealed=sealed,
        **author | given,
    )  # fmt: skip


def refused(answer_id: UUID) -> AnswerRefused:
    return AnswerRefused(
        referral_id=REFERRAL, answer_id=answer_id, status=R.REJECTED, asked=R.ACCEPTED,
        problem="",
    )  # fmt: skip


def typed(reference: str) -> ReferralReceived:
    return moved(on_behalf_of=Author.PARTNER, reference=reference)


def asked(words: Words) -> tuple[R | None, UUID | None]:
    return words.asked_status, words.asked_answer_id


def test_last_answer_is_asked_for_until_it_is_dealt_with():
    answers = [answer(FIRST, 2, R.ACCEPTED), answer(SECOND, 2, R.IN_PROGRESS)]
    first, both = [(3, moved(answer_id=FIRST))], [(3, moved(answer_id=FIRST))]
    both += [(4, moved(answer_id=SECOND))]
    assert asked(fold_words([], answers)) == (R.IN_PROGRESS, SECOND)
    assert asked(fold_words(first, answers)) == (R.IN_PROGRESS, SECOND)
    assert asked(fold_words(both, answers)) == (None, SECOND)


def test_answer_that_is_refused_is_dealt_with_and_a_late_one_changes_nothing():
    given = [answer(FIRST, 2, R.REJECTED)]
    assert asked(fold_words([(3, refused(FIRST))], given)) == (None, FIRST)
    assert asked(fold_words([(3, refused(SECOND))], given)) == (R.REJECTED, FIRST)


def test_move_by_somebody_else_settles_only_what_was_asked_before_it():
    cancelled = [(3, moved())]
    assert asked(fold_words(cancelled, [answer(FIRST, 2)])) == (None, FIRST)
    assert asked(fold_words(cancelled, [answer(FIRST, 3)])) == (R.REQUESTED, FIRST)


def test_newest_commission_day_counts_whoever_said_it():
    later = MEETS + timedelta(days=7)
    given = [answer(FIRST, 2, commission_on=MEETS), answer(SECOND, 2, commission_on=later)]
    heard = [(3, moved(answer_id=FIRST, commission_on=MEETS))]
    assert fold_words([], given).commission_on == later
    assert fold_words(heard, given).commission_on == MEETS  # until the second is heard too
    heard += [(4, moved(answer_id=SECOND, commission_on=later)), (5, moved())]
    assert fold_words(heard, given).commission_on == later


def test_newest_number_counts_whether_the_partner_gave_it_or_an_adviser_typed_it_in():
    given = [answer(FIRST, 2, reference="A"), answer(SECOND, 3)]
    assert fold_words([], given).reference == "A"
    assert fold_words([(3, typed("B"))], given).reference == "B"
    assert fold_words([(2, typed("B"))], given).reference == "A"


def test_move_that_repeats_an_answer_gives_no_number_of_its_own():
    repeated = moved(answer_id=FIRST, reference="A")
    assert reference_in(repeated) is None
    assert reference_in(typed("B")) == "B"
    assert reference_in(refused(FIRST)) is None


Live = tuple[list[tuple[int, Event]], list[AnswerReceived], Words]


def days() -> st.SearchStrategy[date | None]:
    return st.none() | st.dates(MEETS, MEETS + timedelta(days=5))


@st.composite
def live(draw: st.DrawFn) -> Live:
    """Answers come and batches are heard in any order; the row changes as each arrives."""
    heard, answers, words, version = [], [], Words(), 2
    for _ in range(draw(st.integers(1, 8))):
        if draw(st.booleans()):
            came = answer(
                uuid4(), version, draw(st.sampled_from(R)), commission_on=draw(days())
            )
            answers.append(came)
            words.asked_status, words.asked_answer_id = came.status, came.answer_id
            words.commission_on = came.commission_on or words.commission_on
            continue
        batch = [(version + n, draw(dealt(answers))) for n in range(1, draw(st.integers(2, 4)))]
        (change,) = fold_states(batch).values()
        if change.settles or words.asked_answer_id in change.answers:
            words.asked_status = None
        words.commission_on = change.commission_on or words.commission_on
        heard, version = heard + batch, batch[-1][0]
    return heard, answers, words


def dealt(answers: list[AnswerReceived]) -> st.SearchStrategy[Event]:
    ids = [a.answer_id for a in answers] + [uuid4()]
    return st.one_of(
        st.builds(moved, commission_on=days()),
        st.builds(moved, answer_id=st.sampled_from(ids), commission_on=days()),
        st.builds(refused, st.sampled_from(ids)),
    )


@given(live())
def test_folded_from_the_events_is_what_the_live_row_came_to(came: Live):
    heard, answers, words = came
    assert fold_words(heard, answers) == words
