"""The frame of a worker: turn after turn until ``stop``, errors waited out, signs of life."""

import asyncio
import contextlib
import random
import time
from abc import ABC, abstractmethod

import structlog

log = structlog.get_logger()
FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 10.0
BEAT_SECONDS = 5.0
"""A long wait is no standstill: it shows a sign of life so often."""


class Loop(ABC):
    """Runs beside the routes of a service; a subclass says what a turn is.

    ``last_step``: when it last showed a sign of life (``time.monotonic``).
    """

    def __init__(
        self,
        name: str,
        *,
        first_retry: float = FIRST_RETRY_SECONDS,
        last_retry: float = LAST_RETRY_SECONDS,
    ) -> None:
        self.name = name
        self.last_step = time.monotonic()
        self._retries = (min(first_retry, last_retry), last_retry)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Go on until ``stop``; after an error wait, each time twice as long."""
        first, last = self._retries
        delay = first
        while not self.stopping:
            try:
                await self.turn()
                delay = first
            except Exception as error:
                await self.failed(error, delay)
                await self.pause(delay * random.uniform(0.5, 1))
                delay = min(delay * 2, last)
            self.alive()

    def stop(self) -> None:
        """End after the turn at hand."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopping.is_set()

    @abstractmethod
    async def turn(self) -> None:
        """Do what is due, and wait where nothing is."""

    async def failed(self, error: Exception, delay: float) -> None:
        """Report that a turn failed; the next one begins after ``delay`` at most."""
        log.warning("turn failed", worker=self.name, error=type(error).__name__)

    def alive(self) -> None:
        """Show a sign of life."""
        self.last_step = time.monotonic()

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until ``stop``."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0 and not self.stopping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, BEAT_SECONDS)):
                    await self._stopping.wait()
            self.alive()
