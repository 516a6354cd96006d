"""Read tables are disposable: emptied, and filled again from the events heard so far."""

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.eventstore.events import Recorded
from infra.eventstore.store import EventStore
from infra.postgres.database import driver

BATCH = 1000
Keep = Callable[[AsyncConnection, Sequence[Recorded]], Awaitable[object]]


async def hold_still(tx: AsyncConnection) -> None:
    """Nothing is heard until the commit: the service's subscriptions wait."""
    await (await driver(tx)).execute("SELECT 1 FROM offsets FOR UPDATE")


async def fold(
    tx: AsyncConnection, service: str, keep: Keep, subscription: str | None = None
) -> int:
    """Hand a service's events to ``keep``, in order; answers how many.

    As far as ``subscription`` has heard them; all of them if none is given.
    """
    end = None if subscription is None else await heard_until(tx, subscription)
    store, after, count = EventStore(service), 0, 0
    while batch := await store.read(tx, after, BATCH):
        heard = [e for e in batch if end is None or e.position <= end]
        await keep(tx, heard)
        after, count = batch[-1].position, count + len(heard)
    return count


async def heard_until(tx: AsyncConnection, subscription: str) -> int:
    """The position of the last event that a subscription has heard; 0 before the first."""
    raw = await driver(tx)
    return int(
        await raw.fetchval(
            "SELECT coalesce(max(position), 0) FROM offsets WHERE subscription = $1",
            subscription,
        )
    )
