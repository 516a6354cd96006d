"""Roots and proofs, from stored hashes."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.postgres.database import driver
from infra.tlog import merkle, tiles
from infra.tlog.merkle import Node, Plan
from infra.tlog.policy import Policy
from infra.tlog.proof import Proof
from services.audit import tables
from services.audit.tables import Signed

LOOK_BACK = 100
"""Cosigned checkpoints looked at for one that the quorum has cosigned."""


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


async def event_proof(
    tx: AsyncConnection, event_id: UUID, newest: Signed, origin: str, policy: Policy
) -> Proof | None:
    """The proof file of one event; None if it is not in the log, or not signed yet."""
    raw = await driver(tx)
    row = await raw.fetchrow(tables.ENTRY_OF_EVENT, event_id)
    if row is None or row["idx"] >= newest.size:
        return None
    signed = await _witnessed(raw, row["idx"], origin, policy) or newest
    path = await inclusion(tx, row["idx"], signed.size)
    return Proof(row["idx"], path, signed.note, row["entry"])


async def _witnessed(raw: Any, index: int, origin: str, policy: Policy) -> Signed | None:
    """The newest checkpoint over an entry that the witnesses' quorum has cosigned."""
    if not policy.witnesses:
        return None
    for row in await raw.fetch(tables.COSIGNED, index, origin, LOOK_BACK):
        if policy.assess(row["note"]).met:
            return Signed(row["size"], row["root"], row["note"])
    return None


async def _folded(tx: AsyncConnection, plan: Plan, size: int) -> list[bytes]:
    nodes: list[Node] = merkle.plan_nodes(plan)
    raw = await driver(tx)
    wanted = tiles.tiles_of(nodes, size)
    contents = {tile: await tables.tile_contents(raw, tile) for tile in wanted}
    return merkle.fold_plan(plan, tiles.nodes_from_tiles(nodes, size, contents))
