"""Workers outlive errors, show signs of life, and end when they are told to."""

import asyncio

import pytest

from infra.base import loop
from infra.base.loop import Loop


class Failing(Loop):
    """Fails a few turns, works once, and stops."""

    def __init__(self, failures: int, **retries: float) -> None:
        super().__init__("failing", **retries)
        self.failures = failures
        self.turns = 0
        self.delays: list[float] = []

    async def turn(self) -> None:
        self.turns += 1
        if self.turns <= self.failures:
            raise OSError("no database")
        self.stop()

    async def failed(self, error: Exception, delay: float) -> None:
        await super().failed(error, delay)
        self.delays.append(delay)


async def test_errors_are_waited_out_longer_each_time_within_a_bound() -> None:
    worker = Failing(5, first_retry=0.001, last_retry=0.004)
    await asyncio.wait_for(worker.run(), 10)
    assert worker.turns == 6
    assert worker.delays == [0.001, 0.002, 0.004, 0.004, 0.004]


async def test_stop_ends_a_wait_at_once() -> None:
    worker = Failing(99, first_retry=3600, last_retry=3600)
    task = asyncio.create_task(worker.run())
    while not worker.delays:
        await asyncio.sleep(0)
    worker.stop()
    await asyncio.wait_for(task, 10)
    assert worker.turns == 1


async def test_long_wait_shows_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "BEAT_SECONDS", 0.002)
    worker = Failing(0)
    begun = worker.last_step
    waiting = asyncio.create_task(worker.pause(3600))
    async with asyncio.timeout(10):
        while worker.last_step == begun:
            await asyncio.sleep(0.002)
    assert not waiting.done()
    worker.stop()
    await asyncio.wait_for(waiting, 10)
