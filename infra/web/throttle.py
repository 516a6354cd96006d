"""Who fails to show who they are, again and again: told to wait, and never at others' cost.

A good key or signature passes, wherever it comes from: behind one address there may be a real
caller beside a stranger. So what is bounded is what failures cost. From an address with many of
them, attempts that need the database take turns: one at a time.
"""

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from infra.web.problems import TooManyFailures

BURST = 20
"""Failures of one address before it is told to wait."""
EVERY_SECONDS = 3.0
"""Each of these takes one failure off."""
ADDRESSES = 10_000
"""Addresses remembered; the one that failed least lately is forgotten first."""
SUBNET = 64
"""Of an IPv6 address, what one subscriber has."""


class Failures:
    """Failures by address, as buckets that leak, in bounded memory."""

    def __init__(self) -> None:
        self._full: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._turns = asyncio.Lock()

    @asynccontextmanager
    async def attempt(self, address: str | None) -> AsyncIterator[None]:
        """One attempt of an address; in turn, if it has failed often."""
        if self._level(_of(address)) < BURST - 1:
            yield
            return
        async with self._turns:
            yield

    def failed(self, address: str | None) -> None:
        """Count a failure; raises ``Problem`` 429 if there were too many before."""
        who = _of(address)
        level = self._level(who)
        if level + 1 > BURST:
            seconds = math.ceil((level + 1 - BURST) * EVERY_SECONDS)
            raise TooManyFailures(
                "Mend the key or the signature before you try again",
                headers={"retry-after": str(max(1, seconds))},
            )
        self._full[who] = (level + 1, time.monotonic())
        self._full.move_to_end(who)
        while len(self._full) > ADDRESSES:
            self._full.popitem(last=False)

    def _level(self, who: str) -> float:
        level, since = self._full.get(who, (0.0, 0.0))
        return max(0.0, level - (time.monotonic() - since) / EVERY_SECONDS)


def _of(address: str | None) -> str:
    """Whom failures are counted for."""
    try:
        known = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if known.version == 4:
        return str(known)
    return str(ipaddress.ip_network((known, SUBNET), strict=False))
