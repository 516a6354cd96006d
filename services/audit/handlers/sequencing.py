"""Give every event its place in the log, once."""

from collections.abc import Sequence

from prometheus_client import Counter, Gauge

from infra.eventstore.events import StoredEvent
from infra.postgres.transaction import Transaction
from infra.privacy.erasure import forgotten_among
from infra.tlog import merkle
from infra.tlog.growth import grow
from services.audit.tables import statements, tree
from services.audit.tables.tree import Leaf

HOLES = Counter("aiguillage_log_holes", "Events refused because their stream has a hole")
SIZE = Gauge("aiguillage_log_size", "Entries of the log")


class StreamBrokenError(Exception):
    """An event does not follow the last one of its stream: one was lost, or history changed."""


async def sequence(events: Sequence[StoredEvent], tx: Transaction) -> None:
    """Append events to the log, each once, at the next free indices.

    Handler of the ``log-…`` subscriptions. One lock for the whole log, held until the commit,
    makes indices dense whatever the number of processes and partitions. Raises
    ``StreamBrokenError`` where an event's version does not follow its stream's last.
    """
    leaves = []
    for event in events:  # hashed before the lock, for a short hold
        entry = event.entry()
        leaves.append(Leaf(event, entry, merkle.leaf_hash(entry)))
    await tx.execute(statements.LOCK, statements.LOCK_CLASS, statements.SEQUENCER)
    known = await tree.known_events(tx, [event.event_id for event in events])
    unique = {leaf.event.event_id: leaf for leaf in reversed(leaves)}
    fresh = [
        leaf
        for leaf in leaves
        if leaf.event.event_id not in known and unique[leaf.event.event_id] is leaf
    ]
    if not fresh:
        return

    # what was on its way when its person was erased enters the log without ciphertext
    persons = {leaf.event.person_id for leaf in fresh if leaf.event.person_id}
    gone = await forgotten_among(tx, persons)
    fresh = [leaf.stripped() if leaf.event.person_id in gone else leaf for leaf in fresh]

    streams = sorted({(leaf.event.service, leaf.event.stream) for leaf in fresh})
    versions = _following(fresh, await tree.versions_of(tx, streams))
    frontier = await tree.load_frontier(tx)
    grown, made = grow(frontier, [leaf.hash for leaf in fresh])
    await tree.store_growth(tx, frontier.size, fresh, grown, made)
    await tree.store_versions(tx, versions)
    SIZE.set(grown.size)


def _following(
    leaves: Sequence[Leaf], versions: dict[tuple[str, str], int]
) -> dict[tuple[str, str], int]:
    """The streams' versions after these events; raises ``StreamBrokenError``."""
    after: dict[tuple[str, str], int] = {}
    for event in (leaf.event for leaf in leaves):
        stream = (event.service, event.stream)
        last = after.get(stream, versions.get(stream, 0))
        if event.version != last + 1:
            HOLES.inc()
            raise StreamBrokenError(
                f"{event.service} {event.stream}: version {event.version} after {last}"
            )
        after[stream] = event.version
    return after
