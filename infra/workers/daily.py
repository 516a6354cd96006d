"""Work of the night: once a day, at an hour in France; nothing waits for it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from contracts.days import PARIS
from infra.base.clock import Clock
from infra.base.loop import BEAT_SECONDS, Loop

log = structlog.get_logger()


class DailyTask(Loop):
    """A worker that calls ``work`` each night at ``hour``; however long that takes, it lives.

    A night that is missed (the process was down) or that fails is not made up for: the next
    one comes.
    """

    def __init__(
        self, name: str, work: Callable[[], Awaitable[None]], clock: Clock, hour: int
    ) -> None:
        super().__init__(name)
        self._work = work
        self._clock = clock
        self._hour = hour

    async def run(self) -> None:
        """Go on until ``stop``; work under way is given up then: it changes nothing."""
        self._due = next_at(self._clock(), self._hour)
        await super().run()

    async def turn(self) -> None:
        """Work if the hour has come; wait a little."""
        if self._clock() >= self._due:
            await self._night()
            self._due = next_at(self._clock(), self._hour)
        await self.pause(BEAT_SECONDS)

    async def _night(self) -> None:
        work = asyncio.ensure_future(self._work())
        try:
            while not work.done() and not self.stopping:
                await asyncio.wait({work}, timeout=BEAT_SECONDS)
                self.alive()
        finally:
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await work
            except Exception as error:
                log.error("night work failed", worker=self.name, error=type(error).__name__)


def next_at(now: datetime, hour: int) -> datetime:
    """The next time that clocks in France show this hour."""
    local = now.astimezone(PARIS)
    today = local.replace(hour=hour, minute=0, second=0, microsecond=0)
    return today if today > local else today + timedelta(days=1)
