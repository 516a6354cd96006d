"""At 23:30 in UTC it is the day after in France: that day counts, everywhere."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from contracts.values import Reason, ReferralStatus
from tests.support.partners import Hub, Sink, platform_at, register
from tests.support.postgres import Databases
from tests.support.referral_app import ReferralApp

EVENING = datetime(2026, 7, 1, 20, tzinfo=UTC)
NIGHT = datetime(2026, 7, 1, 23, 30, tzinfo=UTC)
LAST_DAY = date(2026, 7, 1)
STATES = "SELECT state, last_error FROM deliveries"


@pytest.mark.parametrize(
    ("heard_at", "sent_at", "state", "error"),
    [
        (EVENING, EVENING, "succeeded", None),
        (EVENING, NIGHT, "dead", "agreement-expired"),
        (NIGHT, NIGHT, "cancelled", "agreement-expired"),
    ],
)
async def test_agreement_ends_with_its_last_day_in_france(
    databases: Databases,
    sink: Sink,
    heard_at: datetime,
    sent_at: datetime,
    state: str,
    error: str | None,
):
    now = heard_at
    hub = Hub(platform_at(databases, clock=lambda: now))
    await hub.prepare()
    await register(hub, sink.url)
    await hub.refer(agreed_until=LAST_DAY)
    await hub.hear()
    now = sent_at
    await hub.turn()
    (row,) = await hub.rows(STATES)
    assert row == {"state": state, "last_error": error}
    assert len(sink.received) == (state == "succeeded")
    await hub.close()
    await hub.platform.close()


async def test_answer_at_night_counts_for_the_day_in_france(referral_app: ReferralApp):
    """In the worklist, and in how many days a partner takes."""
    referral_app.now = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    person_id = await referral_app.comes()
    case: dict[str, Any] = await referral_app.case(person_id)
    referral_app.now = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)
    await referral_app.answers(case, ReferralStatus.REJECTED, reason=Reason.NO_CAPACITY)
    await referral_app.answers(case, ReferralStatus.ACCEPTED)
    assert ("answer-unclear", "2026-11-26") in await referral_app.reasons()
    found = {
        p["partner_id"]: p
        for p in (await referral_app.get("/v1/partners/silences"))["partners"]
    }
    assert found["p-mission-locale"]["median_days"] == 2
