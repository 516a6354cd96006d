"""No case is forgotten: a short month here, the whole one by ``make month``."""

import os
from collections.abc import AsyncIterator

import pytest

from infra.platform import Platform
from services.referrals import projections
from tests.e2e.month import STORIES, Month
from tests.support.postgres import Databases

CASES = int(os.environ.get("MONTH_CASES", "400"))
pytestmark = [pytest.mark.timeout(900)]


@pytest.fixture
async def month(platform: Platform, databases: Databases) -> AsyncIterator[Month]:
    made = Month(platform, CASES, 59459)
    yield made
    await made.close()


async def test_every_case_is_closed_waited_for_or_on_the_worklist(month: Month):
    """Checked after each of forty days (``Month.run``); the end is looked at closely."""
    await month.run()
    ends = await month.ends()
    assert month.said["cases"] == CASES
    assert {f"partner {name}" for name in STORIES} <= set(month.said)
    assert {"deadline remind", "deadline escalate", "deadline expire"} <= set(month.said)
    assert ends["case completed"]
    assert ends["referral cancelled no-response"]
    assert ends["worklist exhausted"]
    assert not await month.attempts()
    live = await _tables(month)
    async with month.service.database.transaction() as tx:
        await projections.READ_TABLES.rebuild(tx, month.platform.vault)
    assert await _tables(month) == live


async def test_without_the_calendar_silence_would_be_noticed_here(month: Month):
    """The check itself can fail: with nobody looking at the calendar, cases are forgotten."""

    async def nothing() -> int:
        return 0

    month.clock.step = nothing  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        await month.run()


async def _tables(month: Month) -> list[str]:
    async with month.service.database.reading() as connection:
        return [
            row["t"]
            for name in ("cases", "proposals", "referrals")
            for row in await connection.fetch(f"SELECT t::text AS t FROM {name} t ORDER BY 1")
        ]
