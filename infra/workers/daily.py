"""Work of the night: once a day, at an hour in France; nothing waits for it."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from contracts.days import PARIS
from infra.base.clock import Clock
from infra.workers.periodic import BEAT_SECONDS

log = structlog.get_logger()


class DailyTask:
    """A worker that calls ``work`` each night at ``hour``; however long that takes, it lives.

    A night that is missed (the process was down) or that fails is not made up for: the next
    one comes.
    """

    def __init__(
        self, name: str, work: Callable[[], Awaitable[None]], clock: Clock, hour: int
    ) -> None:
        self.name = name
        self.last_step = time.monotonic()
        self._work = work
        self._clock = clock
        self._hour = hour
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Go on until ``stop``; work under way is given up then."""
        due = next_at(self._clock(), self._hour)
        while not self._stopping.is_set():
            if self._clock() >= due:
                await self._night()
                due = next_at(self._clock(), self._hour)
            await self._beat(self._stopping.wait())

    def stop(self) -> None:
        """End at once: what is compared at night changes nothing."""
        self._stopping.set()

    async def _night(self) -> None:
        work = asyncio.ensure_future(self._work())
        try:
            while not work.done() and not self._stopping.is_set():
                await self._beat(asyncio.wait({work}))
        finally:
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await work
            except Exception as error:
                log.error("night work failed", worker=self.name, error=type(error).__name__)

    async def _beat(self, waited: Awaitable[object]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT_SECONDS):
                await waited
        self.last_step = time.monotonic()


def next_at(now: datetime, hour: int) -> datetime:
    """The next time that clocks in France show this hour."""
    local = now.astimezone(PARIS)
    today = local.replace(hour=hour, minute=0, second=0, microsecond=0)
    return today if today > local else today + timedelta(days=1)
