"""Something done again and again, by the clock: deadlines, retention."""

import random
from collections.abc import Awaitable, Callable

from infra.base.loop import Loop

LAST_RETRY_SECONDS = 60.0


class PeriodicTask(Loop):
    """A worker that calls ``step`` every ``seconds``, and at once while there is more to do.

    ``step`` returns how much it did; 0: nothing is due.
    """

    def __init__(self, name: str, step: Callable[[], Awaitable[int]], seconds: float) -> None:
        last_retry = max(LAST_RETRY_SECONDS, seconds)
        super().__init__(name, first_retry=2 * seconds, last_retry=last_retry)
        self._step = step
        self._seconds = seconds

    async def turn(self) -> None:
        """Do one step; wait if it did nothing."""
        done = await self._step()
        self.alive()
        if not done:
            await self.pause(self._seconds * random.uniform(0.8, 1))
