"""Long work that must leave the event loop to others."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

SECONDS = 30
"""How long the work waits for its turn to end; only a test that fails waits so long."""


class Turn:
    """Work that ends only once a coroutine has run meanwhile: in the loop it never would."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self._work = work
        self._begun, self._given = threading.Event(), threading.Event()

    def __call__(self, *args: Any, **given: Any) -> Any:
        self._begun.set()
        assert self._given.wait(SECONDS), "nobody else got a turn"
        return self._work(*args, **given)

    @asynccontextmanager
    async def given(self) -> AsyncIterator[None]:
        """Somebody else who gets a turn once the work has begun."""
        other = asyncio.create_task(self._other())
        yield
        await other

    async def _other(self) -> None:
        while not self._begun.is_set():
            await asyncio.sleep(0.01)
        self._given.set()
