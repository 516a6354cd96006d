"""What the partner service decides."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.referrals import (
    AnswerRefused,
    AppointmentMissed,
    AppointmentSet,
    DeadlinePassed,
    ReferralAccepted,
    ReferralCancelled,
    ReferralProposed,
    ReferralReceived,
    ReferralRequested,
)
from contracts.values import (
    AUTHOR_OF_REASON,
    TRANSITIONS,
    Author,
    BusinessStatus,
    DeadlineStep,
    PartnerKind,
    Reason,
    ReferralStatus,
    RequesterKind,
    Thematique,
)
from contracts.webhooks import NEEDS_REASON, Answer, RequesterPart
from services.partners.model.answers import (
    AnswerFieldError,
    CommissionCheck,
    CommissionNotMetError,
    ForbiddenTransitionError,
    ReasonNotYoursError,
    check_answer,
    check_commission,
    check_suggestion,
    received,
)
from services.partners.model.delivery import RetrySchedule
from services.partners.model.life_cycle import fold_states
from services.partners.model.message_kinds import expired, tells_partner
from services.partners.model.messages import (
    About,
    compose_cancellation,
    compose_reminder,
    compose_request,
)

R = ReferralStatus
ASKABLE = [s for s in R if s not in (R.DRAFT, R.ENTERED_IN_ERROR)]
AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
DESK = RequesterPart(kind=RequesterKind.MUNICIPAL_DESK, name="Espace Emploi et Numérique")


def answer(status: ReferralStatus, **given: Any) -> Answer:
    words: dict[str, Any] = {"referral_id": uuid4(), "status": status}
    if status in NEEDS_REASON:
        words["reason"] = Reason.CLIENT_DECLINED
    if status is R.COMPLETED:
        words["outcome"] = "job-found"
    if status is R.REQUESTED:
        words["business_status"] = BusinessStatus.RECEIVED
    return Answer.model_validate(words | given)


@pytest.mark.parametrize("current", list(R))
@pytest.mark.parametrize("asked", ASKABLE)
def test_only_transitions_of_a_partner_are_allowed(current: R, asked: R):
    allowed = Author.PARTNER in TRANSITIONS.get((current, asked), ())
    allowed |= current is asked is R.REQUESTED
    if allowed:
        check_answer(current, answer(asked))
    else:
        with pytest.raises(ForbiddenTransitionError) as caught:
            check_answer(current, answer(asked))
        assert (caught.value.current, caught.value.asked) == (current, asked)


@pytest.mark.parametrize("current", [R.REQUESTED, R.ACCEPTED, R.IN_PROGRESS, R.ON_HOLD])
def test_open_referral_may_be_refined_in_place(current: R):
    check_answer(current, answer(current, business_status=BusinessStatus.WAITLISTED))


@pytest.mark.parametrize("current", [R.REJECTED, R.COMPLETED, R.FAILED, R.CANCELLED])
def test_closed_referral_is_not_refined(current: R):
    with pytest.raises(ForbiddenTransitionError):
        check_answer(current, answer(current, business_status=BusinessStatus.WAITLISTED))


@pytest.mark.parametrize("reason", list(Reason))
def test_reason_must_be_one_that_partners_give(reason: Reason):
    asked = answer(R.REJECTED, reason=reason, comment="why")
    if Author.PARTNER in AUTHOR_OF_REASON[reason]:
        check_answer(R.REQUESTED, asked)
    else:
        with pytest.raises(ReasonNotYoursError):
            check_answer(R.REQUESTED, asked)


TODAY = date(2026, 11, 23)


@pytest.mark.parametrize(
    ("needed", "scheduled", "given", "allowed"),
    [
        (True, None, None, False),
        (True, date(2026, 11, 24), None, False),
        (True, TODAY, None, True),
        (True, date(2026, 11, 20), None, True),
        (True, date(2026, 11, 20), date(2026, 11, 24), False),
        (True, date(2026, 11, 24), TODAY, True),
        (False, None, None, True),
        (False, date(2026, 11, 24), None, True),
    ],
)
def test_person_is_accepted_from_the_day_of_the_commission_on(
    needed: bool, scheduled: date | None, given: date | None, allowed: bool
):
    asked, commission = (
        answer(R.ACCEPTED, commission_on=given),
        CommissionCheck(needed, scheduled, TODAY),
    )
    if allowed:
        check_commission(asked, commission)
    else:
        with pytest.raises(CommissionNotMetError):
            check_commission(asked, commission)


@pytest.mark.parametrize("asked", [s for s in ASKABLE if s is not R.ACCEPTED])
def test_commission_is_asked_for_acceptance_only(asked: R):
    check_commission(answer(asked), CommissionCheck(True, None, TODAY))


def test_suggestion_is_of_another_known_service_and_with_its_reason():
    onward = {"reason": Reason.REFERRED_ONWARD, "suggested_service_id": "other"}
    check_suggestion(answer(R.REJECTED, **onward), "own", known=True)
    check_suggestion(answer(R.REJECTED), "own", known=False)
    with pytest.raises(AnswerFieldError, match="no such other service"):
        check_suggestion(answer(R.REJECTED, **onward), "own", known=False)
    with pytest.raises(AnswerFieldError, match="no such other service"):
        check_suggestion(answer(R.REJECTED, **onward), "other", known=True)
    elsewhere = onward | {"reason": Reason.NO_CAPACITY}
    with pytest.raises(AnswerFieldError, match="goes with the reason referred-onward only"):
        check_suggestion(answer(R.REJECTED, **elsewhere), "own", known=True)


def test_answer_event_carries_commission_day_and_suggestion():
    scheduled = answer(
        R.REQUESTED, business_status=BusinessStatus.COMMISSION_SCHEDULED, commission_on=TODAY
    )
    onward = answer(R.REJECTED, reason=Reason.REFERRED_ONWARD, suggested_service_id="other")
    assert received(uuid4(), "p", uuid4(), 2, scheduled).commission_on == TODAY
    assert received(uuid4(), "p", uuid4(), 2, onward).suggested_service_id == "other"


def test_reminder_says_which_referral_since_when_and_until_when():
    event = DeadlinePassed(
        referral_id=UUID(int=1), case_id=UUID(int=2), partner_id="p", service_id="s",
        step=DeadlineStep.REMIND, due_on=date(2026, 11, 26), requested_on=TODAY,
        expire_on=date(2026, 12, 7),
    )  # fmt: skip
    about = About(UUID(int=1), "p", "s", "D-42")
    body = compose_reminder(event, about, AT, "https://hub.example/v1/answers")
    assert orjson.loads(body) == {
        "type": "referral.reminded",
        "timestamp": "2026-11-23T10:00:00Z",
        "data": {
            "referral_id": str(UUID(int=1)),
            "partner_id": "p",
            "service_id": "s",
            "partner_reference": "D-42",
            "requested_on": "2026-11-23",
            "expires_on": "2026-12-07",
            "answer_url": "https://hub.example/v1/answers",
        },
    }


def test_newest_commission_day_of_a_batch_counts_and_survives_other_moves():
    referral = uuid4()
    first = moved(ReferralReceived, referral, R.REQUESTED, commission_on=date(2026, 11, 20))
    second = moved(ReferralReceived, referral, R.REQUESTED, commission_on=TODAY)
    accepted = moved(ReferralAccepted, referral, R.ACCEPTED)
    (change,) = fold_states([(3, first), (4, second), (5, accepted)]).values()
    assert (change.status, change.commission_on) == (R.ACCEPTED, TODAY)


def test_newest_word_on_an_appointment_counts():
    referral = uuid4()
    about: dict[str, Any] = {"referral_id": referral, "case_id": uuid4()}
    given = AppointmentSet(**about, starts_at=AT, author=Author.ADVISER)
    moved_to = given.model_copy(update={"starts_at": AT + timedelta(days=1)})
    missed = AppointmentMissed(**about, starts_at=AT, author=Author.PARTNER)
    (change,) = fold_states([(3, given), (4, moved_to)]).values()
    assert (change.status, change.version) == (None, 4)
    assert (change.appointed, change.appointment_at) == (True, AT + timedelta(days=1))
    (change,) = fold_states([(3, given), (4, missed)]).values()
    assert (change.appointed, change.appointment_at) == (True, None)


def test_request_gives_the_appointment_that_it_proposes_and_a_move_leaves_it():
    referral = uuid4()
    requested = request(referral, appointment_at=AT)
    accepted = moved(ReferralAccepted, referral, R.ACCEPTED)
    (change,) = fold_states([(2, requested), (3, accepted)]).values()
    assert (change.status, change.appointment_at) == (R.ACCEPTED, AT)
    (change,) = fold_states([(3, accepted)]).values()
    assert change.appointed is False


def test_partner_learns_of_the_appointment_that_is_proposed():
    body = compose_request(
        request(uuid4(), appointment_at=AT), {}, DESK, AT, "https://hub.example"
    )
    assert orjson.loads(body)["data"]["appointment_at"] == "2026-11-23T10:00:00Z"
    body = compose_request(request(uuid4()), {}, DESK, AT, "https://hub.example")
    assert "appointment_at" not in orjson.loads(body)["data"]


def test_words_of_an_answer_are_only_in_its_sealed_part():
    given = answer(R.ACCEPTED, comment="Canari", partner_reference="Canari/1")
    event = received(uuid4(), "p", uuid4(), 2, given)
    assert b"Canari" not in event.clear_json()
    assert b"Canari" in (event.sealed_json() or b"")
    assert received(uuid4(), "p", uuid4(), 2, answer(R.ACCEPTED)).sealed is None


def request(referral_id: UUID, **given: Any) -> ReferralRequested:
    return ReferralRequested(
        **{
            "referral_id": referral_id,
            "case_id": uuid4(),
            "person_id": uuid4(),
            "partner_id": "p",
            "partner_kind": PartnerKind.PLIE,
            "service_id": "s",
            "thematique": Thematique("se-former--trouver-sa-formation"),
            "agreement_id": uuid4(),
            "agreed_until": date(2027, 1, 1),
            "requested_on": date(2026, 11, 23),
        }
        | given
    )


def moved(kind: Any, referral_id: UUID, status: R, **given: Any) -> Any:
    author = {"author": Author.PARTNER} | given
    return kind(referral_id=referral_id, case_id=uuid4(), status=status, **author)


def test_last_event_of_a_batch_tells_the_state():
    referral, answer_id = uuid4(), uuid4()
    requested = request(referral)
    proposed = ReferralProposed(
        **requested.model_dump(include=set(ReferralProposed.model_fields) - {"replaces"}),
        proposal_id=uuid4(),
    )
    accepted = moved(ReferralAccepted, referral, R.ACCEPTED, answer_id=answer_id)
    (change,) = fold_states([(1, proposed), (3, requested), (4, accepted)]).values()
    assert (change.status, change.version, change.origin) == (R.ACCEPTED, 4, proposed)
    assert (change.settles, change.answers) == (False, {answer_id})


def test_move_by_somebody_else_settles_what_the_partner_asked():
    referral, late = uuid4(), uuid4()
    cancelled = moved(ReferralCancelled, referral, R.CANCELLED, author=Author.HUB)
    refused = AnswerRefused(
        referral_id=referral, answer_id=late, status=R.CANCELLED, asked=R.ACCEPTED, problem=""
    )
    (change,) = fold_states([(4, cancelled), (5, refused)]).values()
    assert (change.status, change.settles, change.answers) == (R.CANCELLED, True, {late})


@pytest.mark.parametrize(
    ("author", "on_behalf_of", "told"),
    [
        (Author.HUB, None, True),
        (Author.ADVISER, None, True),
        (Author.PARTNER, None, False),
        (Author.ADVISER, Author.PARTNER, False),
    ],
)
def test_cancellation_is_told_unless_the_partner_asked_for_it(
    author: Author, on_behalf_of: Author | None, told: bool
):
    event = moved(
        ReferralCancelled, uuid4(), R.CANCELLED, author=author, on_behalf_of=on_behalf_of
    )
    assert tells_partner(event) is told


def test_agreement_covers_its_last_day():
    assert not expired(date(2026, 11, 23), date(2026, 11, 23))
    assert expired(date(2026, 11, 22), date(2026, 11, 23))
    assert not expired(None, date(2026, 11, 23))


def test_body_composed_again_is_the_same_bytes():
    event, fields = request(uuid4(), urgent=True), {"phone": "+33600000001", "a": [1]}
    first = compose_request(event, fields, DESK, AT, "https://hub.example/v1/answers")
    again = ReferralRequested.model_validate_json(event.clear_json())
    assert compose_request(again, fields, DESK, AT, "https://hub.example/v1/answers") == first
    assert b"agreement_id" not in first
    assert b"person_id" not in first


def test_cancellation_says_nothing_that_somebody_wrote():
    event = moved(ReferralCancelled, uuid4(), R.CANCELLED, reason=Reason.OTHER)
    assert b"reason" not in compose_cancellation(event, About(uuid4(), "p", "s"), AT)


@given(st.integers(1, 10), st.floats(0, 1))
def test_delay_is_within_a_fifth_of_the_schedule(attempts: int, share: float):
    schedule = RetrySchedule.parse("5,60,300,1800,7200,18000,36000,50400,72000,86400")
    delay = schedule.delay(attempts, share)
    assert delay is not None
    assert 0.8 <= delay / schedule.seconds[attempts - 1] <= 1.2000001


def test_wait_asked_for_only_lengthens_the_delay():
    schedule = RetrySchedule((60,))
    assert schedule.delay(1, 0.5, 600) == 600
    assert schedule.delay(1, 0.5, 1) == 60


def test_schedule_that_has_ended_gives_up():
    assert RetrySchedule((1, 2)).delay(3, 0.5) is None
    assert RetrySchedule(()).delay(1, 0.5) is None


@pytest.mark.parametrize("text", ["5,soon", "-1", "99999999"])
def test_schedule_that_is_malformed_is_refused(text: str):
    with pytest.raises(ValueError, match=r"30 days|could not convert"):
        RetrySchedule.parse(text)
