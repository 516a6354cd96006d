"""Work of the night comes once a night, and neither its length nor its failure matters."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from infra.workers import daily
from infra.workers.daily import DailyTask, next_at


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-01-10T01:59:59+00:00", "2026-01-10T02:00:00+00:00"),
        ("2026-01-10T02:00:00+00:00", "2026-01-11T02:00:00+00:00"),
        ("2026-07-10T00:30:00+00:00", "2026-07-10T01:00:00+00:00"),
        ("2026-07-10T23:30:00+00:00", "2026-07-11T01:00:00+00:00"),
        ("2026-03-28T12:00:00+00:00", "2026-03-29T01:00:00+00:00"),  # clocks go forward
        ("2026-10-24T12:00:00+00:00", "2026-10-25T02:00:00+00:00"),  # clocks go back
    ],
)
def test_three_in_the_morning_is_three_in_france(now: str, due: str) -> None:
    assert next_at(datetime.fromisoformat(now), 3) == datetime.fromisoformat(due)


class Night:
    """A clock that a test sets, and work that counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(daily, "BEAT_SECONDS", 0.005)
        self.now = datetime(2026, 1, 10, tzinfo=UTC)
        self.done = 0
        self.fails = False
        self.worker = DailyTask("test", self.work, lambda: self.now, 3)

    async def work(self) -> None:
        self.done += 1
        if self.fails:
            raise OSError("no database")

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.done < count:
                await asyncio.sleep(0.002)
        await asyncio.sleep(0.02)  # more would come by now


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch) -> Night:
    return Night(monkeypatch)


async def test_each_night_has_its_work_once_also_after_one_that_failed(night: Night) -> None:
    task = asyncio.create_task(night.worker.run())
    await night.until(0)
    assert night.done == 0
    for count, fails in ((1, False), (2, True), (3, False)):
        night.fails = fails
        night.now += timedelta(days=1)
        await night.until(count)
        assert night.done == count
    night.worker.stop()
    await asyncio.wait_for(task, 10)


async def test_long_work_shows_signs_of_life_and_is_given_up_at_the_end(night: Night) -> None:
    begun, given_up = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            given_up.set()

    night.worker._work = work
    task = asyncio.create_task(night.worker.run())
    await asyncio.sleep(0)
    night.now += timedelta(days=1)
    await asyncio.wait_for(begun.wait(), 10)
    seen = night.worker.last_step
    async with asyncio.timeout(10):
        while night.worker.last_step == seen:
            await asyncio.sleep(0.002)
    night.worker.stop()
    await asyncio.wait_for(task, 10)
    assert given_up.is_set()
