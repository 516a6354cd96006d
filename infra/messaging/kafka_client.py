"""What all our Kafka clients share: topic names, and an end that does not hang.

aiokafka's ``stop()`` waits for a broker that may never come back: an idempotent producer never
gives a batch up, a consumer waits for its coordinator. So it gets a bound, then force.
"""

import asyncio
import contextlib
from typing import Any

import structlog

from infra.base.settings import Settings

START_SECONDS = 15.0
STOP_SECONDS = 3.0
REQUEST_MILLISECONDS = 10_000
MAX_TOPIC_BYTES = 2 * 1024 * 1024
"""Of one record of ours, and of a batch: what is larger travels as a
stand-in (``infra.messaging.relay``)."""
MAX_PUBLIC_BYTES = 256 * 1024
"""Of a stranger's record with its headers; of a batch as it is sent, so a little more."""
log = structlog.get_logger()

# Where aiokafka 0.14 keeps the tasks that ``stop()`` waits for.
_INNER_TASKS = (
    "_coordinator._coordination_task",
    "_coordinator._heartbeat_task",
    "_coordinator._commit_refresh_task",
    "_fetcher._fetch_task",
    "_sender._sender_task",
)


def topic_of(settings: Settings, service: str) -> str:
    """The topic that carries a service's events."""
    return settings.topic_prefix + service


def public_topic_of(settings: Settings) -> str:
    """The topic that municipal systems produce to."""
    return settings.topic_prefix + settings.public_topic


async def close(client: Any, seconds: float = STOP_SECONDS) -> None:
    """Stop a consumer, producer or admin client within about ``seconds``; never raises.

    In a task of its own: ``stop()`` may raise the ``CancelledError`` of one of its inner tasks,
    which must not be taken for our own.
    """
    stop = client.stop if hasattr(client, "stop") else client.close
    stopping = asyncio.create_task(stop())
    try:
        await asyncio.wait([stopping], timeout=seconds)
    finally:
        stopping.cancel()
    await asyncio.wait([stopping], timeout=1)
    if not stopping.done() or stopping.cancelled() or stopping.exception():
        log.warning("client closed by force", client=type(client).__name__)
        await _force(client)


async def _force(client: Any) -> None:
    inner = [_inner(client, path) for path in _INNER_TASKS]
    tasks = [task for task in inner if isinstance(task, asyncio.Task) and not task.done()]
    tasks += [task for task in _inner(client, "_fetcher._pending_tasks") or ()]
    queued = _inner(client, "_message_accumulator._batches") or {}
    batches = [batch for waiting in queued.values() for batch in waiting]
    batches += _inner(client, "_message_accumulator._pending_batches") or ()
    for batch in batches:  # or the task that flushes them would wait for ever
        for name in ("future", "_drain_waiter"):
            if (future := _inner(batch, name)) is not None:
                future.cancel()
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1)
    connection = _inner(client, "_client") or _inner(client, "client")
    if connection is not None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1):
                await connection.close()


def _inner(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name, None)
    return client
