"""The log, its proofs, and pathways over HTTP."""

from fastapi import APIRouter

from services.audit.routes import log, pathways, proofs

router = APIRouter()
for _part in (log, proofs, pathways):
    router.include_router(_part.router)
