"""What partners have not been told stands on the worklist, in words of its own."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.partners import (
    DeliveryDeadLettered,
    DeliveryManual,
    DeliveryRedelivered,
    DeliverySucceeded,
)
from contracts.values import MessageKind, PartnerKind
from services.referrals.model.deadlines import working_day
from tests.support.platform import append, drain, published
from tests.support.referral_app import MONDAY, ReferralApp


def undelivered(kind: type[Any], referral: Any, message: MessageKind, **given: Any) -> Any:
    """What the partner service says of a message."""
    return kind(
        delivery_id=uuid4(), referral_id=referral["referral_id"], partner_id="p",
        message=message, **given,
    )  # fmt: skip


async def told(referral_app: ReferralApp, person_id: UUID, event: Any) -> list[str]:
    """The worklist's reasons after an event of the partner service."""
    await append(
        referral_app.platform, "partners", f"delivery-{event.delivery_id}", [event], person_id
    )
    await drain(referral_app.service)
    return [reason for reason, _ in await referral_app.reasons()]


DEAD: dict[str, Any] = {"attempts": 9, "error": "agreement-expired"}
BY_HAND: dict[str, Any] = {"service_id": "s", "error": "no-endpoint"}


async def test_undelivered_request_is_for_an_adviser_until_the_partner_answers(
    referral_app: ReferralApp,
):
    person_id = await referral_app.comes()
    (referral,) = (await referral_app.case(person_id))["referrals"]
    dead = undelivered(DeliveryDeadLettered, referral, MessageKind.REQUESTED, **DEAD)
    assert await told(referral_app, person_id, dead) == ["delivery-dead"]
    (item,) = (await referral_app.get("/v1/worklist"))["items"]
    assert item["detail"] == "agreement-expired"
    status, _ = await referral_app.post(
        f"/v1/referrals/{referral['referral_id']}/answer",
        {"status": "accepted", "comment": "par téléphone"},
    )
    assert status == 200
    assert await referral_app.reasons() == []


@pytest.mark.parametrize("done", [DeliverySucceeded, DeliveryRedelivered])
async def test_request_to_hand_over_is_on_the_worklist_until_it_is_on_its_way(
    referral_app: ReferralApp, done: type[Any]
):
    person_id = await referral_app.comes()
    (referral,) = (await referral_app.case(person_id))["referrals"]
    manual = undelivered(DeliveryManual, referral, MessageKind.REQUESTED, **BY_HAND)
    assert await told(referral_app, person_id, manual) == ["delivery-manual"]
    how = {"attempts": 1} if done is DeliverySucceeded else {"asked_by": "x"}
    over = undelivered(done, referral, MessageKind.REQUESTED, **how)
    assert await told(referral_app, person_id, over) == []


async def test_reminder_that_cannot_be_delivered_is_not_shown_as_a_request(
    referral_app: ReferralApp,
):
    person_id = await referral_app.comes()
    (referral,) = (await referral_app.case(person_id))["referrals"]
    await referral_app.on(working_day(MONDAY, 3))
    manual = undelivered(DeliveryManual, referral, MessageKind.REMINDED, **BY_HAND)
    assert await told(referral_app, person_id, manual) == ["reminder-manual"]
    (item,) = (await referral_app.get("/v1/worklist"))["items"]
    assert item["label"] == "Relance à faire par téléphone"
    await referral_app.on(working_day(MONDAY, 7))  # the next step takes its place
    assert [reason for reason, _ in await referral_app.reasons()] == ["escalated"]


async def test_moved_appointment_that_was_not_told_matters_until_it_is_over(
    referral_app: ReferralApp,
):
    person_id = await referral_app.comes()
    (referral,) = (await referral_app.case(person_id))["referrals"]
    path = f"/v1/referrals/{referral['referral_id']}/appointment"
    at = f"{working_day(MONDAY, 5)}T09:00:00+00:00"
    assert (await referral_app.post(path, {"appointment_at": at}))[0] == 200
    dead = undelivered(DeliveryDeadLettered, referral, MessageKind.APPOINTMENT, **DEAD)
    assert await told(referral_app, person_id, dead) == ["appointment-dead"]
    assert (await referral_app.post(f"{path}/outcome", {"outcome": "excused"}))[0] == 200
    again = undelivered(DeliveryDeadLettered, referral, MessageKind.APPOINTMENT, **DEAD)
    assert await told(referral_app, person_id, again) == []


async def test_appointment_called_off_that_was_not_told_matters_until_it_is(
    referral_app: ReferralApp,
):
    person_id = await referral_app.comes()
    (referral,) = (await referral_app.case(person_id))["referrals"]
    path = f"/v1/referrals/{referral['referral_id']}/appointment"
    at = f"{working_day(MONDAY, 5)}T09:00:00+00:00"
    assert (await referral_app.post(path, {"appointment_at": at}))[0] == 200
    assert (await referral_app.post(f"{path}/outcome", {"outcome": "excused"}))[0] == 200
    manual = undelivered(DeliveryManual, referral, MessageKind.CALLED_OFF, **BY_HAND)
    assert await told(referral_app, person_id, manual) == ["appointment-off-manual"]
    over = undelivered(DeliverySucceeded, referral, MessageKind.CALLED_OFF, attempts=1)
    assert await told(referral_app, person_id, over) == []


async def test_cancellation_that_cannot_be_delivered_stays_until_the_partner_is_told(
    referral_app: ReferralApp,
):
    person_id = await referral_app.comes()
    case = await referral_app.case(person_id)
    (referral,) = case["referrals"]
    closing = {"status": "revoked", "outcome": "moved-away", "reason": "client-declined"}
    await referral_app.post(f"/v1/cases/{case['case_id']}/close", closing)
    manual = undelivered(DeliveryManual, referral, MessageKind.CANCELLED, **BY_HAND)
    assert await told(referral_app, person_id, manual) == ["cancellation-manual"]
    over = undelivered(DeliverySucceeded, referral, MessageKind.CANCELLED, attempts=1)
    assert await told(referral_app, person_id, over) == []


async def test_nothing_is_to_be_told_of_somebody_who_was_erased(referral_app: ReferralApp):
    person_id = await referral_app.comes()
    (referral,) = (await referral_app.case(person_id))["referrals"]
    erased = {"attempts": 1, "error": "person-erased"}
    dead = undelivered(DeliveryDeadLettered, referral, MessageKind.CANCELLED, **erased)
    assert await told(referral_app, person_id, dead) == []


async def test_request_to_a_service_of_the_commune_is_worded_for_colleagues(
    referral_app: ReferralApp,
):
    own = published(PartnerKind.DIGITAL_SPACE, "auto")
    await append(referral_app.platform, "partners", "partner-own", [own])
    person_id = await referral_app.comes(agreed=[PartnerKind.DIGITAL_SPACE])
    case = await referral_app.case(person_id)
    choice = {"service_ids": [own.service_id], "comment": "pour un CV"}
    await referral_app.post(f"/v1/proposals/{case['proposal_id']}/choose", choice)
    referral = (await referral_app.case(person_id))["referrals"][-1]
    assert (referral["service_id"], referral["status"]) == (own.service_id, "requested")
    manual = undelivered(DeliveryManual, referral, MessageKind.REQUESTED, **BY_HAND)
    assert await told(referral_app, person_id, manual) == ["delivery-internal"]
