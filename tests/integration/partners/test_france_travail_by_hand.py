"""What France Travail's API does not bring, and an adviser does."""

from datetime import UTC, datetime

from contracts.referrals import AppointmentExcused, AppointmentMissed, ReferralRequested
from tests.support.advisers import AtDesk
from tests.support.bureau import Bureau
from tests.support.france_travail import STRANGER

PROPOSED = "le 03/12/2026 à 10 h 30"


async def left_to_advisers(bureau: Bureau) -> tuple[AtDesk, ReferralRequested]:
    """A request about somebody whom France Travail does not know."""
    await bureau.connect()
    referral = await bureau.asks(fields={"france_travail_number": STRANGER})
    await bureau.turn()
    bureau.travail.calls.clear()
    return await AtDesk.of(bureau), referral


async def test_sheet_shows_the_appointment_that_is_proposed(bureau: Bureau):
    advisers, _ = await left_to_advisers(bureau)
    delivery = await advisers.only()
    said = (await advisers.sheet(delivery)).json()["data"]["appointment_at"]
    assert datetime.fromisoformat(said) == datetime(2026, 12, 3, 9, 30, tzinfo=UTC)
    page = await advisers.page(delivery)
    assert "Rendez-vous proposé" in page
    assert PROPOSED in page


async def test_api_is_not_told_of_what_an_adviser_handed_over(bureau: Bureau):
    advisers, referral = await left_to_advisers(bureau)
    assert (await advisers.handed_over(await advisers.only())).status_code == 200
    await bureau.says(referral)
    await bureau.says(referral, AppointmentMissed)
    assert [row["state"] for row in await bureau.changes()] == ["manual"]
    await bureau.cancels(referral)
    await bureau.round()
    (told,) = await advisers.waiting()
    assert told["message"] == "referral.cancelled"
    assert bureau.travail.calls == []


async def test_what_waits_for_an_adviser_is_not_told_to_the_api_either(bureau: Bureau):
    advisers, referral = await left_to_advisers(bureau)
    await bureau.says(referral)
    await bureau.round()
    assert await bureau.changes() == []
    assert bureau.travail.calls == []
    page = await advisers.page(await advisers.only())
    assert "le 04/12/2026 à 10 h 30" in page  # as moved
    assert PROPOSED not in page
    await bureau.says(referral, AppointmentExcused)
    assert "Rendez-vous" not in await advisers.page(await advisers.only())


async def test_without_an_address_an_adviser_tells_the_change_and_then_the_end(
    bureau: Bureau,
):
    await bureau.connect()
    referral = await bureau.made()
    async with bureau.database.transaction() as tx:
        await tx.execute("UPDATE endpoints SET state = 'disabled'")
    await bureau.says(referral)
    advisers = await AtDesk.of(bureau)
    (told,) = await advisers.waiting()
    assert (told["message"], told["error"]) == ("appointment.changed", "no-endpoint")
    await bureau.cancels(referral)
    (told,) = await advisers.waiting()
    assert (told["message"], told["error"]) == ("referral.cancelled", "no-endpoint")


async def test_change_that_they_refuse_is_told_by_an_adviser(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.made()
    bureau.travail.appointments.clear()
    await bureau.says(referral)
    await bureau.round()
    assert [row["state"] for row in await bureau.changes()] == ["manual"]
    (told,) = await (await AtDesk.of(bureau)).waiting()
    assert told["message"] == "appointment.changed"


async def test_who_came_is_no_work_for_advisers(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.made()
    bureau.travail.appointments.clear()
    await bureau.says(referral, AppointmentMissed)
    await bureau.round()
    assert [row["state"] for row in await bureau.changes()] == ["dead"]
    assert await (await AtDesk.of(bureau)).waiting() == []
