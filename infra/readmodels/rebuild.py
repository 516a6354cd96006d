"""Read tables are disposable: emptied, and filled again from the events heard so far."""

from collections.abc import Awaitable, Callable, Sequence

from infra.eventstore.events import StoredEvent
from infra.eventstore.store import EventStore
from infra.postgres.transaction import Transaction

BATCH = 1000
Keep = Callable[[Transaction, Sequence[StoredEvent]], Awaitable[object]]


async def hold_still(tx: Transaction) -> None:
    """Nothing is heard until the commit: the service's subscriptions wait."""
    await tx.execute("SELECT 1 FROM offsets FOR UPDATE")


async def fold(
    tx: Transaction, service: str, keep: Keep, subscription: str | None = None
) -> int:
    """Hand a service's events to ``keep``, in order; answers how many.

    As far as ``subscription`` has heard them; all of them if none is given.
    """
    end = None if subscription is None else await heard_until(tx, subscription)
    store, after, count = EventStore(service), 0, 0
    while batch := await store.read(tx, after, BATCH):
        events = [e for e in batch if end is None or e.position <= end]
        await keep(tx, events)
        after, count = batch[-1].position, count + len(events)
    return count


async def heard_until(tx: Transaction, subscription: str) -> int:
    """The position of the last event that a subscription has heard; 0 before the first."""
    return int(
        await tx.fetchval(
            "SELECT coalesce(max(position), 0) FROM offsets WHERE subscription = $1",
            subscription,
        )
    )
