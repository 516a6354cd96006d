"""Give every event its place in the log, sign what the log is, and prove it."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from prometheus_client import Counter, Gauge
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.clock import Clock
from infra.database import driver
from infra.eventstore.events import Recorded
from infra.settings import Settings
from infra.tlog import merkle, tiles
from infra.tlog.growth import grow
from infra.tlog.merkle import Node, Plan, ProofError
from infra.tlog.note import Checkpoint, NoteError, Signer, open_checkpoint
from infra.vault import read_or_create_secret
from services.audit import tables
from services.audit.tables import Leaf, LogDamagedError, Signed

LOG_KEY = "log.key"
HOLES = Counter("aiguillage_log_holes", "Events refused because their stream has a hole")
SIZE = Gauge("aiguillage_log_size", "Entries of the log")


class StreamBrokenError(Exception):
    """An event does not follow the last one of its stream: one was lost, or history changed."""


class RefusedToSignError(Exception):
    """The log is not an extension of what was signed last: it was changed or rolled back."""


def signer_of(settings: Settings) -> Signer:
    """The log's signing key, created at the first run (``log.key`` in the data directory)."""
    path: Path = settings.data / LOG_KEY
    return Signer(settings.log_origin, read_or_create_secret(path))


def vkey(settings: Settings) -> str:
    """The log's public key as text: what a verifier needs, and all it needs to trust."""
    return signer_of(settings).vkey.encode()


async def sequence(events: Sequence[Recorded], tx: AsyncConnection) -> None:
    """Append events to the log, each once, at the next free indices.

    Handler of the ``log-…`` subscriptions. One lock for the whole log, held until the commit,
    makes indices dense whatever the number of processes and partitions. Raises
    ``StreamBrokenError`` where an event's version does not follow its stream's last.
    """
    leaves = [_leaf(event) for event in events]  # hashed before the lock, for a short hold
    raw = await driver(tx)
    await raw.execute(tables.LOCK, tables.LOCK_CLASS, tables.SEQUENCER)
    known = await tables.known_events(raw, [event.event_id for event in events])
    fresh = _once(leaves, known)
    if not fresh:
        return
    streams = sorted({(leaf.event.service, leaf.event.stream) for leaf in fresh})
    versions = _following(fresh, await tables.versions_of(raw, streams))
    frontier = await tables.load_frontier(raw)
    grown, made = grow(frontier, [leaf.hash for leaf in fresh])
    await tables.store_growth(raw, frontier.size, fresh, grown, made)
    await tables.store_versions(raw, versions)
    SIZE.set(grown.size)


def _leaf(event: Recorded) -> Leaf:
    entry = event.entry()
    return Leaf(event, entry, merkle.leaf_hash(entry))


def _once(leaves: Sequence[Leaf], known: set[UUID]) -> list[Leaf]:
    unique = {leaf.event.event_id: leaf for leaf in reversed(leaves)}
    fresh = [leaf for leaf in leaves if leaf.event.event_id not in known]
    return [leaf for leaf in fresh if unique[leaf.event.event_id] is leaf]


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


async def sign_checkpoint(tx: AsyncConnection, signer: Signer, clock: Clock) -> Signed | None:
    """Sign the log as it stands if it grew; None if it did not.

    A checkpoint is a statement about the log, so it is not an entry of it.
    Raises ``RefusedToSignError`` unless the stored tree extends the last signed one.
    """
    raw = await driver(tx)
    await raw.execute(tables.LOCK, tables.LOCK_CLASS, tables.SIGNER)
    frontier = await tables.load_frontier(raw)
    last = await tables.last_signed(raw)
    if last is not None:
        await _require_extension(tx, signer, last, frontier)
        if last.size == frontier.size:
            return None
    note = signer.sign(Checkpoint(signer.vkey.name, frontier.size, frontier.root()).body())
    signed = Signed(frontier.size, frontier.root(), note)
    await tables.store_checkpoint(raw, signed, clock())
    return signed


async def _require_extension(
    tx: AsyncConnection, signer: Signer, last: Signed, now: merkle.Frontier
) -> None:
    """The last note is the arbiter, not the columns beside it: only it is signed."""
    try:
        stated = open_checkpoint(last.note, [signer.vkey], signer.vkey.name)
        proof = await consistency(tx, stated.size, now.size)
        merkle.verify_consistency(stated.size, now.size, proof, stated.root, now.root())
        if await root_at(tx, now.size) != now.root():
            raise ProofError("the stored hashes do not lead to the tree's root")
    except (NoteError, ProofError, LogDamagedError, ValueError) as error:
        raise RefusedToSignError(f"after {last.size} entries: {error}") from error


async def root_at(tx: AsyncConnection, size: int) -> bytes:
    """Root of the first ``size`` entries, from stored hashes."""
    nodes = merkle.node_ids_root(size)
    return (await _folded(tx, [nodes], size))[0]


async def inclusion(tx: AsyncConnection, index: int, size: int) -> list[bytes]:
    """Proof that entry ``index`` is in the log of ``size``; ValueError if it cannot be."""
    return await _folded(tx, merkle.node_ids_inclusion(index, size), size)


async def consistency(tx: AsyncConnection, old: int, new: int) -> list[bytes]:
    """Proof that the log of ``new`` extends that of ``old``; ValueError if it cannot."""
    return await _folded(tx, merkle.node_ids_consistency(old, new), new)


async def _folded(tx: AsyncConnection, plan: Plan, size: int) -> list[bytes]:
    nodes: list[Node] = merkle.plan_nodes(plan)
    raw = await driver(tx)
    wanted = tiles.tiles_of(nodes, size)
    contents = {tile: await tables.tile_contents(raw, tile) for tile in wanted}
    return merkle.fold_plan(plan, tiles.nodes_from_tiles(nodes, size, contents))
