"""The log as it is stored: entries, tile hashes, checkpoints and their signatures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from infra.eventstore.events import StoredEvent
from infra.postgres.transaction import Transaction, columns
from infra.tlog.growth import TileHash
from infra.tlog.merkle import Frontier
from infra.tlog.note import Signature
from infra.tlog.tiles import ENTRIES, TILE_WIDTH, Tile
from services.audit.tables import statements


class LogDamagedError(Exception):
    """Rows of the log are missing: what is stored cannot be the tree that was signed."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """An event with the bytes and the hash under which it enters the log."""

    event: StoredEvent
    entry: bytes
    hash: bytes

    def stripped(self) -> "Leaf":
        """Return it without its sealed part; entry and hash are what they were."""
        return replace(self, event=self.event.stripped())

    def row(self, idx: int) -> tuple[Any, ...]:
        """Return the row of ``entries`` at this index, in the order of its columns."""
        e = self.event
        return (
            idx,
            e.event_id,
            e.service,
            e.position,
            e.stream,
            e.version,
            e.type,
            e.person_id,
            e.occurred_at,
            e.recorded_at,
            e.meta.actor,
            e.header(),
            e.data,
            e.sealed,
            e.salt,
            e.sealed_salt,
            e.meta.json(),
            self.entry,
            self.hash,
        )


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint that was signed."""

    size: int
    root: bytes
    note: bytes


async def known_events(tx: Transaction, event_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of these events that are in the log."""
    return {known for (known,) in await tx.fetch(statements.KNOWN, event_ids)}


async def versions_of(
    tx: Transaction, streams: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Return version by (service, stream), of the last event in the log; unknown: absent."""
    rows = await tx.fetch(statements.VERSIONS, *columns(streams))
    return {(service, stream): version for service, stream, version in rows}


async def load_frontier(tx: Transaction) -> Frontier:
    """Return the tree as it stands."""
    return Frontier.load(await tx.fetchval(statements.FRONTIER))


async def store_growth(
    tx: Transaction,
    first: int,
    leaves: Sequence[Leaf],
    grown: Frontier,
    made: Sequence[TileHash],
) -> None:
    """Store entries from index ``first``, the tile hashes they completed, and the tree."""
    rows = [leaf.row(idx) for idx, leaf in enumerate(leaves, first)]
    await tx.execute(statements.ADD_ENTRIES, *columns(rows))
    if made:
        await tx.execute(statements.ADD_NODES, *columns(made))
    await tx.execute(statements.SET_TREE, grown.size, grown.dump())


async def store_versions(tx: Transaction, versions: dict[tuple[str, str], int]) -> None:
    """Remember the last version of these streams."""
    rows = [(*stream, version) for stream, version in versions.items()]
    await tx.execute(statements.SET_VERSIONS, *columns(rows))


async def last_signed(tx: Transaction, origin: str) -> Signed | None:
    """Return the newest checkpoint of a log; None before the first."""
    row = await tx.fetchrow(statements.LAST_CHECKPOINT, origin)
    return Signed(*row) if row else None


async def store_checkpoint(
    tx: Transaction, origin: str, signed: Signed, signed_at: datetime
) -> None:
    """Keep a checkpoint for good."""
    values = (origin, signed.size, signed.root, signed.note, signed_at)
    await tx.execute(statements.ADD_CHECKPOINT, *values)


async def store_signature(
    tx: Transaction, origin: str, size: int, signature: Signature, added_at: datetime
) -> None:
    """Keep a signature that came after a checkpoint was stored; each key's first one."""
    key = (signature.name, signature.key_id)
    values = (origin, size, *key, signature.line(), added_at)
    await tx.execute(statements.ADD_SIGNATURE, *values)


async def tile_contents(tx: Transaction, tile: Tile) -> list[bytes]:
    """Return the hashes of a tile, or the entries of a bundle.

    Raises ``LogDamagedError`` if there are fewer than the tile is wide.
    """
    start = tile.index * TILE_WIDTH
    span = (start, start + tile.width)
    if tile.level == ENTRIES:
        rows = await tx.fetch(statements.BUNDLE_OF_TILE, *span)
    elif tile.level == 0:
        rows = await tx.fetch(statements.LEAVES_OF_TILE, *span)
    else:
        rows = await tx.fetch(statements.NODES_OF_TILE, *span, tile.level)
    if len(rows) != tile.width:
        raise LogDamagedError(f"{tile.path} holds {len(rows)} of {tile.width}")
    return [value for (value,) in rows]
