"""Contacts that keep coming while things break, and what must hold afterwards."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from services.hub.demo.processes import Hub
from tests.faults.campaign import NEEDS, Result, check, contacts, quiet, send

MOST = 6000
SENDERS = 2
PAUSE_SECONDS = 0.1
WAIT_SECONDS = 150


class Flow:
    """Systems that send each contact until it is accepted, whatever happens to the hub."""

    def __init__(self, hub: Hub, seed: int) -> None:
        self._hub = hub
        self._left = iter(enumerate(contacts(MOST, seed)))
        self._kinds: dict[str, tuple[str, ...]] = {}
        self.persons: dict[str, str] = {}
        self.result = Result()

    async def send(self, count: int) -> None:
        """Send so many, and return once they are accepted."""
        for _ in range(count):
            await self._next()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A steady flow; at the end, all that was begun is accepted."""
        enough = asyncio.Event()

        async def sender() -> None:
            while not enough.is_set():
                await self._next()
                await asyncio.sleep(PAUSE_SECONDS)

        async with asyncio.TaskGroup() as senders:
            for _ in range(SENDERS):
                senders.create_task(sender())
            try:
                yield
            finally:
                enough.set()

    async def accepted(self, more: int) -> None:
        """Wait until so many more are accepted."""
        wanted = len(self.persons) + more
        await until(lambda: _true(len(self.persons) >= wanted))

    async def _next(self) -> None:
        number, event = next(self._left)
        facts, ref = event["data"]["person"]["facts"], f"fault-{number}"
        looked_at = [facts[name]["value"] for name in ("birth_date", "minimum_benefit")]
        self._kinds[ref] = (NEEDS[number % len(NEEDS)], *looked_at)
        self.persons[ref] = (await send(self._hub, event, self.result))["person_id"]

    async def nothing_lost_or_doubled(self, partners: dict[str, str]) -> None:
        """Once all is quiet: every contact had its one effect everywhere, and its whole story.

        Contacts of one kind must have one story, whether they came before, during or after
        what happened.
        """
        await quiet(self._hub, partners, self.result)
        await check(self._hub, self.persons, self.result)
        assert not self.result.problems, self.result.problems
        stories = defaultdict(set)
        for ref, story in self.result.stories.items():
            stories[self._kinds[ref]].add(orjson.dumps(story, option=orjson.OPT_SORT_KEYS))
        for kind, found in stories.items():
            assert len(found) == 1, (kind, found)
        assert any(b"completed" in story for found in stories.values() for story in found)


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait until a condition holds; the bound only ends a test that fails."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await condition():
            await asyncio.sleep(0.1)


async def _true(value: bool) -> bool:
    return value


async def probe(hub: Hub, url: str, path: str) -> int:
    """The status of a probe of one process."""
    async with hub.session.get(url + path) as response:
        return response.status


async def all_answer(hub: Hub, urls: list[str], path: str, status: int) -> bool:
    """Whether every process answers a probe so."""
    try:
        found = await asyncio.gather(*(probe(hub, url, path) for url in urls))
    except (aiohttp.ClientError, TimeoutError):
        return False
    return set(found) == {status}


def pids(hub: Hub) -> dict[str, int]:
    """Name → process id of every child that lives."""
    running = {n: c.process for n, c in hub.children.items() if c.process is not None}
    return {name: p.pid for name, p in running.items() if p.returncode is None}
