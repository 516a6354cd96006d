"""Something done again and again, by the clock: deadlines, retention."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()
LAST_RETRY_SECONDS = 60.0
BEAT_SECONDS = 5.0
"""A long wait is no standstill: it shows a sign of life so often."""


class PeriodicTask:
    """A worker that calls ``step`` every ``seconds``, and at once while there is more to do.

    ``step`` answers how much it did; 0: nothing is due. Its errors are waited out, never fatal.
    """

    def __init__(self, name: str, step: Callable[[], Awaitable[int]], seconds: float) -> None:
        self.name = name
        self.last_step = time.monotonic()
        self._step = step
        self._seconds = seconds
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Go on until ``stop``."""
        failures = 0
        while not self._stopping.is_set():
            try:
                done, failures = await self._step(), 0
            except Exception as error:
                failures += 1
                done = 0
                log.warning("tick failed", worker=self.name, error=type(error).__name__)
            self.last_step = time.monotonic()
            if not done:
                await self._sleep(failures)

    def stop(self) -> None:
        """End after the step at hand."""
        self._stopping.set()

    async def _sleep(self, failures: int) -> None:
        seconds = min(self._seconds * 2**failures, max(LAST_RETRY_SECONDS, self._seconds))
        ends = time.monotonic() + seconds * random.uniform(0.8, 1)
        while (left := ends - time.monotonic()) > 0 and not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, BEAT_SECONDS)):
                    await self._stopping.wait()
            self.last_step = time.monotonic()
