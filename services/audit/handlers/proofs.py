"""Roots and proofs, from stored hashes."""

from uuid import UUID

from infra.postgres.transaction import Transaction
from infra.tlog import merkle, tiles
from infra.tlog.merkle import Node, Plan
from infra.tlog.policy import Policy
from infra.tlog.proof import Proof
from services.audit.tables import queries, statements, tree
from services.audit.tables.tree import Signed

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
    rows = await tx.select(queries.entry_of(event_id))
    if not rows or rows[0].idx >= newest.size:
        return None
    index, entry = rows[0].idx, rows[0].entry
    signed = newest
    if policy.witnesses:  # rather the newest that their quorum has cosigned
        cosigned = await tx.fetch(statements.COSIGNED, index, origin, LOOK_BACK)
        checkpoints = (Signed(*row) for row in cosigned)
        signed = next((c for c in checkpoints if policy.assess(c.note).met), newest)
    path = await inclusion(tx, index, signed.size)
    return Proof(index, path, signed.note, entry)


async def _folded(tx: Transaction, plan: Plan, size: int) -> list[bytes]:
    nodes: list[Node] = merkle.plan_nodes(plan)
    wanted = tiles.tiles_of(nodes, size)
    contents = {tile: await tree.tile_contents(tx, tile) for tile in wanted}
    return merkle.fold_plan(plan, tiles.nodes_from_tiles(nodes, size, contents))
