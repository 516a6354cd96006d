"""Proofs that an entry is in the log, and that a log extends a smaller one."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse, Response

from contracts.audit import ConsistencyProof, InclusionProof
from infra.web.problems import NotFound, not_found, raises
from services.audit.handlers import proofs
from services.audit.problems import LogDamaged
from services.audit.routes.common import (
    Index,
    Reading,
    SignedNow,
    all_encoded,
    encoded,
    keys_of,
)
from services.audit.routes.problems import nonsense
from services.audit.tables import queries
from services.audit.tables.tree import Signed

router = APIRouter()


@router.get("/v1/proofs/inclusion", tags=["proofs"], response_model=InclusionProof)
@raises(LogDamaged, NotFound)
async def prove_inclusion(
    tx: Reading,
    signed: SignedNow,
    event_id: UUID | None = None,
    index: Index | None = None,
    size: Index | None = None,
) -> dict[str, Any]:
    """Proof that one entry, named by event or index, is in the log of ``size`` entries.

    Without ``size``: in the log as signed last, with that checkpoint.
    """
    size = _signed_size("size", size, signed)
    if (event_id is None) == (index is None):
        raise nonsense("event_id", "give event_id or index")
    if event_id is not None:
        entries = await tx.select(queries.entry_of(event_id))
        index = entries[0].idx if entries else None
    if index is None:
        raise not_found("entry")
    if index >= signed.size:
        raise not_found("entry under a signed checkpoint")
    if index >= size:
        raise nonsense("size", "the entry came later than that")
    (leaf,) = await tx.select(queries.leaf_hash_at(index))
    return {
        "index": index,
        "size": size,
        "leaf_hash": encoded(leaf.leaf_hash),
        "proof": all_encoded(await proofs.inclusion(tx, index, size)),
        "root": encoded(await proofs.root_at(tx, size)),
        "checkpoint": signed.note.decode() if size == signed.size else None,
    }


@router.get("/v1/proofs/consistency", tags=["proofs"], response_model=ConsistencyProof)
@raises(LogDamaged, NotFound)
async def prove_consistency(
    tx: Reading,
    signed: SignedNow,
    old: Annotated[Index, Query(alias="from")],
    new: Annotated[Index | None, Query(alias="to")] = None,
) -> dict[str, Any]:
    """Proof that the log of ``to`` entries extends that of ``from`` entries."""
    new = _signed_size("to", new, signed)
    if old > new:
        raise nonsense("from", "a log does not extend a larger one")
    return {
        "from": old,
        "to": new,
        "from_root": encoded(await proofs.root_at(tx, old)),
        "to_root": encoded(await proofs.root_at(tx, new)),
        "proof": all_encoded(await proofs.consistency(tx, old, new)),
        "checkpoint": signed.note.decode() if new == signed.size else None,
    }


@router.get(
    "/v1/proofs/{event_id}.tlog-proof", tags=["proofs"], response_class=PlainTextResponse
)
@raises(LogDamaged)
async def prove_event(
    request: Request, event_id: UUID, tx: Reading, signed: SignedNow
) -> Response:
    """One file that proves an event to be in the log, offline (C2SP tlog-proof).

    Its checkpoint is the newest that the witnesses' quorum has cosigned, else the newest.
    """
    keys, policy = keys_of(request), request.app.state.policy
    trusted = policy.with_logs(keys.vkeys())
    proof = await proofs.event_proof(tx, event_id, signed, keys.origin, trusted)
    if proof is None:
        raise not_found("entry under a signed checkpoint")
    name = f'attachment; filename="{event_id}.tlog-proof"'
    headers = {"cache-control": "public, max-age=1", "content-disposition": name}
    return Response(proof.format(), headers=headers, media_type="text/plain; charset=utf-8")


def _signed_size(name: str, size: int | None, signed: Signed) -> int:
    if size is None:
        return signed.size
    if size > signed.size:
        raise nonsense(name, f"{signed.size} entries are signed")
    return size
