"""The log, its proofs, and pathways over HTTP."""

from fastapi import APIRouter

from services.audit.routes import log, pathways, proofs, replay

router = APIRouter()
for _part in (log, proofs, pathways, replay):
    router.include_router(_part.router)
