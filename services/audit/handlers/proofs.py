"""Roots and proofs, from stored hashes."""

from uuid import UUID

from infra.postgres.transaction import Transaction
from infra.tlog import merkle, tiles
from infra.tlog.merkle import Node, Plan
from infra.tlog.policy import Policy
from infra.tlog.proof import Proof
from services.audit import tables
from services.audit.tables import Signed

LOOK_BACK = 100
"""Cosigned checkpoints looked at for one that the quorum has cosigned."""


async def root_at(tx: Transaction, size: int) -> bytes:
    """Root of the first ``size`` entries, from stored hashes."""
    nodes = merkle.node_ids_root(size)
    return (await _folded(tx, [nodes], size))[0]


async def inclusion(tx: Transaction, index: int, size: int) -> list[bytes]:
    """Proof that entry ``index`` is in the log of ``size``; ValueError if it cannot be."""
    return await _folded(tx, merkle.node_ids_inclusion(index, size), size)


async def consistency(tx: Transaction, old: int, new: int) -> list[bytes]:
    """Proof that the log of ``new`` extends that of ``old``; ValueError if it cannot."""
    return await _folded(tx, merkle.node_ids_consistency(old, new), new)


async def event_proof(
    tx: Transaction, event_id: UUID, newest: Signed, origin: str, policy: Policy
) -> Proof | None:
    """The proof file of one event; None if it is not in the log, or not signed yet."""
    row = await tx.fetchrow(tables.ENTRY_OF_EVENT, event_id)
    if row is None or row["idx"] >= newest.size:
        return None
    signed = await _witnessed(tx, row["idx"], origin, policy) or newest
    path = await inclusion(tx, row["idx"], signed.size)
    return Proof(row["idx"], path, signed.note, row["entry"])


async def _witnessed(tx: Transaction, index: int, origin: str, policy: Policy) -> Signed | None:
    """The newest checkpoint over an entry that the witnesses' quorum has cosigned."""
    if not policy.witnesses:
        return None
    for row in await tx.fetch(tables.COSIGNED, index, origin, LOOK_BACK):
        if policy.assess(row["note"]).met:
            return Signed(row["size"], row["root"], row["note"])
    return None


async def _folded(tx: Transaction, plan: Plan, size: int) -> list[bytes]:
    nodes: list[Node] = merkle.plan_nodes(plan)
    wanted = tiles.tiles_of(nodes, size)
    contents = {tile: await tables.tile_contents(tx, tile) for tile in wanted}
    return merkle.fold_plan(plan, tiles.nodes_from_tiles(nodes, size, contents))
