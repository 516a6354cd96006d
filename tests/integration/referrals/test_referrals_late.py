"""A contact that reached the hub late, through the whole hub: whose clock decides what."""

from datetime import UTC, date, datetime, timedelta

from contracts.days import local_day
from infra.workers.periodic import PeriodicTask
from tests.support.whole import Whole


async def look_at_the_calendar(whole: Whole) -> None:
    for service in whole.running.services:
        for worker in service.workers:
            if isinstance(worker, PeriodicTask) and worker.name == "deadlines":
                while await worker._step():
                    pass


async def test_request_of_a_contact_that_is_sixty_days_old_waits_for_its_partner(whole: Whole):
    """Once it was requested and given up as ``no-response`` within 45 seconds."""
    long_ago = datetime.now(UTC) - timedelta(days=60)
    person = await whole.comes(at=long_ago)
    await whole.referral(person)
    await whole.quiet()
    await look_at_the_calendar(whole)
    await whole.quiet()
    referral = await whole.referral(person)
    today = local_day(datetime.now(UTC))
    assert referral["status"] == "requested"
    assert date.fromisoformat(referral["next_on"]) > today
    assert date.fromisoformat(referral["expire_on"]) > today + timedelta(days=9)
    assert [received.json["type"] for received in whole.sink.received] == ["referral.requested"]
