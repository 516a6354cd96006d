"""Roots and proofs, from stored hashes."""

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.database import driver
from infra.tlog import merkle, tiles
from infra.tlog.merkle import Node, Plan
from services.audit import tables


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
