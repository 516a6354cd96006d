"""In-process hint that a service appended something, so that readers need not wait for a poll.

Only a hint: a reader in another process, or one that missed it, polls anyway.
"""

import asyncio
import contextlib
from collections import defaultdict

_waiting: dict[str, set[asyncio.Event]] = defaultdict(set)


def notify(service: str) -> None:
    """Wake whoever waits for ``service`` in this process."""
    for event in _waiting[service]:
        event.set()


class Notifier:
    """Remembers hints between two waits, so that none is lost while its owner works."""

    def __init__(self, service: str) -> None:
        self._event = asyncio.Event()
        self._service = service
        _waiting[service].add(self._event)

    async def wait(self, seconds: float) -> None:
        """Return at the next hint, or after ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()

    def wake(self) -> None:
        """Wake this listener only."""
        self._event.set()

    def close(self) -> None:
        """Stop listening."""
        _waiting[self._service].discard(self._event)
