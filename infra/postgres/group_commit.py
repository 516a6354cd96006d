"""Many callers, one transaction: concurrent requests are gathered and committed together.

A durable commit costs the same for one event as for hundreds. Whoever calls ``submit`` waits
for the commit that holds its items; nobody is answered before. While one group commits, the
next gathers, so groups grow with the load and a lone caller waits for nobody. Under load a
second group is decided while the first is being written: else this process and the database
would wait for each other in turn.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from prometheus_client import Gauge, Histogram

from infra.postgres.database import is_infrastructure

T = TypeVar("T")
R = TypeVar("R")
Commit = Callable[[Sequence[T]], Awaitable[list[R]]]
log = structlog.get_logger()

WAITING = Gauge("aiguillage_group_waiting", "Items waiting for a commit", ["group"])
SIZE = Histogram(
    "aiguillage_group_size", "Items per commit", ["group"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)  # fmt: skip

GROUP_ITEMS = 500
WAITING_ITEMS = 5_000
LANES = 2
CROWD_ITEMS = 16
"""With fewer waiting, a further group at the same time would cost more than it gains."""
COMMIT_SECONDS = 20.0
IDLE_SECONDS = 1.0


class OverloadedError(Exception):
    """Too much is waiting already, or the process is stopping: try again later."""


class UnavailableError(Exception):
    """The database is not there. What was submitted was not written, unless the connection
    broke during the commit itself: so a caller repeats it, and repeats must be harmless."""


@dataclass(slots=True)
class _Unit(Generic[T, R]):
    items: Sequence[T]
    done: asyncio.Future[list[R]]


class GroupCommit(Generic[T, R]):
    """A bounded queue in front of ``commit``, which does one transaction for all it is given.

    ``commit`` answers one result per item, in order, and retries its own conflicts. Items
    submitted together are committed together. Only ``run`` commits, so groups never overlap.
    """

    def __init__(
        self,
        name: str,
        commit: Commit[T, R],
        *,
        group_items: int = GROUP_ITEMS,
        waiting_items: int = WAITING_ITEMS,
        commit_seconds: float = COMMIT_SECONDS,
        lanes: int = LANES,
    ) -> None:
        self.name = name
        self.last_step = time.monotonic()
        self._commit = commit
        self._group_items = group_items
        self._waiting_items = waiting_items
        self._commit_seconds = commit_seconds
        self._lanes = lanes
        self._running: set[asyncio.Task[None]] = set()
        self._queue: deque[_Unit[T, R]] = deque()
        self._items = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self._waiting_gauge = WAITING.labels(name)
        self._size_histogram = SIZE.labels(name)

    async def submit(self, items: Sequence[T]) -> list[R]:
        """Results of ``items``, once committed.

        Raises ``OverloadedError`` at once if the queue is full, ``UnavailableError`` if the
        database is away, and what ``commit`` raised for these items alone.
        """
        if self._stopping or (self._queue and self._items + len(items) > self._waiting_items):
            raise OverloadedError
        unit = _Unit(items, asyncio.get_running_loop().create_future())
        self._queue.append(unit)
        self._items += len(items)
        self._wake.set()
        return await unit.done

    async def run(self) -> None:
        """Commit group after group until ``stop``, then what is still waiting."""
        try:
            while self._queue or self._running or not self._stopping:
                self.last_step = time.monotonic()
                busy = len(self._running)
                crowded = busy < self._lanes and self._items >= CROWD_ITEMS
                if self._queue and (not busy or crowded):
                    self._start(self._take())
                else:
                    await self._idle()
        finally:
            self._stopping = True
            self._fail_waiting(UnavailableError())
            for lane in self._running:
                lane.cancel()

    def stop(self) -> None:
        """Take nothing more, commit what waits, then end."""
        self._stopping = True
        self._wake.set()

    def _take(self) -> list[_Unit[T, R]]:
        units: list[_Unit[T, R]] = []
        count = 0
        while self._queue and (
            not units or count + len(self._queue[0].items) <= self._group_items
        ):
            unit = self._queue.popleft()
            self._items -= len(unit.items)
            if not unit.done.done():  # else its caller has gone
                units.append(unit)
                count += len(unit.items)
        self._waiting_gauge.set(self._items)
        return units

    def _start(self, units: list[_Unit[T, R]]) -> None:
        if not units:  # every caller has gone
            return
        lane = asyncio.create_task(self._round(units))
        self._running.add(lane)
        lane.add_done_callback(self._ended)

    def _ended(self, lane: asyncio.Task[None]) -> None:
        self._running.discard(lane)
        self._wake.set()

    async def _round(self, units: list[_Unit[T, R]]) -> None:
        try:
            await self._commit_units(units)
        except asyncio.CancelledError:
            _fail(units, UnavailableError())
            raise
        except Exception as error:
            if is_infrastructure(error):
                log.warning("commit failed", group=self.name, error=type(error).__name__)
                _fail(units, UnavailableError())
                self._fail_waiting(UnavailableError())
            elif len(units) == 1:
                _fail(units, error)
            else:
                await self._one_by_one(units)

    async def _one_by_one(self, units: list[_Unit[T, R]]) -> None:
        """One of them cannot be committed: find out which, so that the others are."""
        for unit in units:
            await self._round([unit])

    async def _commit_units(self, units: list[_Unit[T, R]]) -> None:
        items = [item for unit in units for item in unit.items]
        self._size_histogram.observe(len(items))
        async with asyncio.timeout(self._commit_seconds):
            results = iter(await self._commit(items))
        for unit in units:
            own = [next(results) for _ in unit.items]
            if not unit.done.done():
                unit.done.set_result(own)

    async def _idle(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return

    def _fail_waiting(self, error: Exception) -> None:
        units, self._items = list(self._queue), 0
        self._queue.clear()
        _fail(units, error)


def _fail(units: Sequence[_Unit[T, R]], error: Exception) -> None:
    for unit in units:
        if not unit.done.done():
            unit.done.set_exception(error)
