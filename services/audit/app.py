"""The audit service, wired."""

import asyncio

from fastapi import Request
from fastapi.responses import Response

from infra.platform import Platform
from infra.ticker import Ticker
from infra.web.app import Service, create_app
from infra.web.problems import Problem
from services.audit.handlers.access import Access
from services.audit.handlers.erasure import Erasing
from services.audit.handlers.signing import signer_of
from services.audit.routes import router
from services.audit.routes.replay import AT_ONCE
from services.audit.subscriptions import CheckpointSigner, rights, sequencers
from services.audit.tables import LogDamagedError


def build(platform: Platform) -> Service:
    """The service with its sequencers and its signer; nothing is connected before ``start``."""
    database = platform.database("audit")
    settings = platform.settings
    signer = signer_of(settings)
    app = create_app("Aiguillage audit", "The log of everything, its proofs, and pathways.")
    app.state.log_signer = signer
    app.state.replays = asyncio.Semaphore(AT_ONCE)
    app.state.access = Access(database, platform.writer("audit"), platform.clock)
    app.include_router(router)
    app.add_exception_handler(LogDamagedError, _on_damage)
    checkpoints = CheckpointSigner(
        database, signer, platform.clock, settings.checkpoint_seconds
    )
    erasing = Erasing(database, platform.writer("audit"), platform.erasures, platform.clock)
    return Service(
        "audit",
        app,
        database,
        [
            *sequencers(platform, database),
            checkpoints,
            rights(platform, database, erasing),
            Ticker("receipts", erasing.step, settings.erasure_seconds),
        ],
        stuck_seconds=settings.stuck_seconds,
        stop_seconds=settings.stop_seconds,
    )


async def _on_damage(request: Request, error: Exception) -> Response:
    return Problem(500, "log-damaged", "Rows of the log are missing").response()
