"""What a partner may answer on the page, by its kind."""

from typing import Any
from uuid import uuid4

import pytest

from contracts.values import BusinessStatus, PartnerKind, ReferralStatus
from services.partners.model.choices import CHOICES, FormError, open_choices, spoken

REFERRAL, OPEN = uuid4(), ReferralStatus.REQUESTED
SESSION = {"choice": "information-session", "appointment_at": "2027-01-12T14:00"}


@pytest.mark.parametrize("kind", [None, *PartnerKind])
def test_only_training_bodies_invite_to_an_information_session(kind: PartnerKind | None):
    codes = {choice.code for choice in open_choices(OPEN, REFERRAL, kind)}
    assert ("information-session" in codes) == (kind is PartnerKind.TRAINING_BODY)
    assert {"under-study", "accepted", "rejected"} <= codes


def test_invitation_leaves_the_request_open_and_names_the_session():
    answer = spoken(SESSION, OPEN, REFERRAL, PartnerKind.TRAINING_BODY)
    assert answer.status is OPEN
    assert answer.business_status is BusinessStatus.APPOINTMENT_SCHEDULED
    assert answer.appointment_at is not None
    assert answer.appointment_at.isoformat() == "2027-01-12T14:00:00+01:00"


@pytest.mark.parametrize(
    ("form", "kind", "field"),
    [
        (SESSION | {"appointment_at": ""}, PartnerKind.TRAINING_BODY, "appointment_at"),
        (SESSION, PartnerKind.PLIE, "choice"),
    ],
)
def test_invitation_needs_a_date_and_a_training_body(form: Any, kind: PartnerKind, field: str):
    with pytest.raises(FormError) as caught:
        spoken(form, OPEN, REFERRAL, kind)
    assert caught.value.field == field


def test_every_choice_has_words_and_a_code_of_its_own():
    assert len({choice.code for choice in CHOICES}) == len(CHOICES)
    assert all(choice.label for choice in CHOICES)
