"""The log, its proofs, and pathways over HTTP."""

from fastapi import APIRouter

from services.audit.routes import exports, log, pathways, proofs, replay, rights

router = APIRouter()
for _part in (log, proofs, exports, pathways, replay, rights):
    router.include_router(_part.router)
