"""The log, its proofs, and pathways over HTTP."""

from fastapi import APIRouter

from services.audit.routes import log, pathways, proofs, rights

router = APIRouter()
for _part in (log, proofs, pathways, rights):
    router.include_router(_part.router)
