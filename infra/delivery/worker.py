"""Sends what is due, many at once, and records what became of it, many at a time.

Each step is one transaction: the results gathered since the last one go in, what is due next
comes out, leased. Nothing is held in the database while a message is on its way; if the
process dies there, the lease runs out and the message is sent again under the same id.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import structlog
from prometheus_client import Counter as Metric
from prometheus_client import Gauge

from infra.base.loop import Loop
from infra.delivery.webhook.sender import Outcome, Sent
from infra.postgres.notify import Notifier

J = TypeVar("J")
log = structlog.get_logger()

SENT = Metric("aiguillage_deliveries", "Sends of messages to partners", ["outcome"])
IN_FLIGHT = Gauge("aiguillage_deliveries_in_flight", "Messages on their way")

MAX_IN_FLIGHT = 600
KEPT_FOR_FIRST = 150
"""Places that no retry takes: a storm of them must not hold up what is new."""
LINGER_FROM = 50
LINGER_SECONDS = 0.03
LAST_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Job(Generic[J]):
    """A leased send: where it goes, what is sent, and the queue's own rows of it.

    One row each, but where a channel takes several messages as one.
    """

    endpoint_id: UUID
    message: Any
    rows: tuple[J, ...]
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Result(Generic[J]):
    """A job, what became of it, and how long that took."""

    job: Job[J]
    sent: Sent
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """Room for more messages, and for retries among them; what is under way to whom."""

    room: int
    retry_room: int
    in_flight: Mapping[UUID, int]


class Transport(Protocol):
    """Sends a message; never raises for what others do."""

    async def send(self, message: Any) -> Sent: ...
    async def close(self) -> None: ...


class DeliveryQueue(Protocol[J]):
    """Where messages wait."""

    async def due(self, load: Load) -> bool:
        """Whether anything is due that may leave now."""
        ...

    async def record_and_claim(self, results: Sequence[Result[J]], load: Load) -> list[Job[J]]:
        """Record results and lease what may leave next, in one transaction."""
        ...


class DeliveryWorker(Loop, Generic[J]):
    """Runs beside the routes of a service; errors of the database are waited out."""

    def __init__(
        self,
        name: str,
        queue: DeliveryQueue[J],
        sender: Transport,
        wakes_on: str,
        *,
        poll_seconds: float = 0.2,
        drain_seconds: float = 5.0,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        super().__init__(name, last_retry=LAST_RETRY_SECONDS)
        self._queue = queue
        self._sender = sender
        self._wakes_on = wakes_on
        self._poll = poll_seconds
        self._drain_seconds = drain_seconds
        self._max_in_flight = max_in_flight
        self._listener: Notifier | None = None
        self._sending: dict[asyncio.Task[None], Job[J]] = {}
        self._results: list[Result[J]] = []

    async def run(self) -> None:
        """Send until ``stop``, then wait for what is on its way."""
        self._listener = Notifier(self._wakes_on)
        try:
            await super().run()
            await self._drain()
        finally:
            self._listener.close()
            await self._abandon()
            await self._sender.close()

    def stop(self) -> None:
        """Claim nothing more; what is on its way ends, or is left to its lease."""
        super().stop()
        if self._listener:
            self._listener.wake()

    async def failed(self, error: Exception, delay: float) -> None:
        """Report that the database is away, or what else went wrong."""
        log.warning("deliveries wait", worker=self.name, error=type(error).__name__)

    async def turn(self) -> None:
        """Send what is due; wait where nothing is."""
        if await self.step():
            return
        assert self._listener is not None
        if not self._results:
            await self._listener.wait(self._poll)
        if len(self._sending) >= LINGER_FROM:
            # more results are about to come: fewer, larger transactions carry more of them
            await asyncio.sleep(LINGER_SECONDS)

    async def step(self) -> bool:
        """Record, claim and start sending once. Returns whether anything was leased."""
        room = max(0, self._max_in_flight - len(self._sending))
        most_retries = max(1, self._max_in_flight - KEPT_FOR_FIRST)
        retries = sum(job.retry for job in self._sending.values())
        under_way = Counter(job.endpoint_id for job in self._sending.values())
        load = Load(room, max(0, min(room, most_retries - retries)), under_way)
        if not self._results and (room <= 0 or not await self._queue.due(load)):
            return False

        results = list(self._results)
        jobs = await self._queue.record_and_claim(results, load)
        del self._results[: len(results)]
        for job in jobs:
            task = asyncio.create_task(self._send(job))
            self._sending[task] = job
            task.add_done_callback(self._ended)
        IN_FLIGHT.set(len(self._sending))
        return bool(jobs)

    async def _send(self, job: Job[J]) -> None:
        started = time.monotonic()
        try:
            sent = await self._sender.send(job.message)
        except Exception as error:
            log.error("send failed", worker=self.name, error=type(error).__name__)
            sent = Sent(Outcome.RETRY, "internal")
        SENT.labels(sent.outcome).inc(len(job.rows))
        took = round((time.monotonic() - started) * 1000)
        self._results.append(Result(job, sent, took))

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        IN_FLIGHT.set(len(self._sending))
        if self._listener:
            self._listener.wake()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._drain_seconds):
                while self._sending:
                    await asyncio.wait(self._sending)
        except TimeoutError:
            log.warning("sends left to their lease", count=len(self._sending))
        await self._abandon()
        if self._results:
            async with asyncio.timeout(self._drain_seconds):
                await self._queue.record_and_claim(list(self._results), Load(0, 0, {}))
            self._results.clear()

    async def _abandon(self) -> None:
        left = list(self._sending)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
