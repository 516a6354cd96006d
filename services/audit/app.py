"""The audit service, wired."""

import asyncio

from infra.base.settings import Settings
from infra.platform import Platform
from infra.postgres.database import Database
from infra.tlog.policy import Policy
from infra.tlog.tilefiles import TileFiles
from infra.web.app import Service, Worker, create_app
from infra.workers.daily import DailyTask
from infra.workers.periodic import PeriodicTask
from services.audit import subscriptions
from services.audit.handlers.access import Access
from services.audit.handlers.erasure import Erasing
from services.audit.handlers.memory import SignerMemory
from services.audit.handlers.publishing import Publisher
from services.audit.handlers.reconciling import Reconciler
from services.audit.handlers.signer import CheckpointSigner
from services.audit.handlers.signing import Signing, log_keys
from services.audit.handlers.witnessing import Witnesses
from services.audit.projections import READ_TABLES
from services.audit.routes import exports, log, pathways, proofs, replay, rights
from services.audit.routes.problems import on_damage
from services.audit.tables.tree import LogDamagedError


def build(platform: Platform) -> Service:
    """The service with its sequencers and its signer; nothing is connected before ``start``."""
    database, settings = platform.database("audit"), platform.settings
    vault = Database(platform.vault_url, "vault", pool_size=1)
    log_keys(settings, platform.clock).ensure(ml_dsa=settings.log_ml_dsa)
    signing = signing_of(platform, database, vault)
    policy = Policy.read(settings.log_policy) if settings.log_policy else Policy()
    witnesses = Witnesses(database, settings.log_origin, policy, platform.clock)
    reconciler, hour = Reconciler(database, platform.clock), settings.reconcile_hour
    app = create_app(
        "Aiguillage: audit", "The log of everything, its proofs, and pathways.", platform.clock
    )
    app.state.signing, app.state.policy, app.state.witnesses = signing, policy, witnesses
    app.state.replays = asyncio.Semaphore(replay.AT_ONCE)
    app.state.access = Access(database, platform.writer("audit"), platform.clock)
    for part in (log, proofs, exports, pathways, replay, rights):
        app.include_router(part.router)
    app.add_exception_handler(LogDamagedError, on_damage)
    erasing = Erasing(database, platform.writer("audit"), platform.erasures, platform.clock)
    return Service(
        "audit",
        app,
        database,
        [
            *subscriptions.sequencers(platform, database),
            CheckpointSigner(signing, settings.checkpoint_seconds),
            *_outward(platform, database, witnesses),
            subscriptions.rights(platform, database, erasing),
            PeriodicTask("receipts", erasing.step, settings.erasure_seconds),
            DailyTask("reconciliation", reconciler.night, platform.clock, hour),
            READ_TABLES.nightly(database, platform.vault, platform.clock, hour),
        ],
        stuck_seconds=settings.stuck_seconds,
        stop_seconds=settings.stop_seconds,
        on_close=[witnesses.close, vault.close],
    )


def signing_of(platform: Platform, database: Database, vault: Database) -> Signing:
    """What signs the log, on the pools given."""
    keys = log_keys(platform.settings, platform.clock)
    memory = SignerMemory(vault, keys.origin)
    return Signing(database, memory, keys, tile_files(platform.settings), platform.clock)


def tile_files(settings: Settings) -> TileFiles | None:
    """The log as plain files, where the settings want them."""
    if not settings.log_directory:
        return None
    return TileFiles(settings.data / settings.log_directory, settings.log_origin)


def _outward(platform: Platform, database: Database, witnesses: Witnesses) -> list[Worker]:
    """What takes checkpoints out once they are signed: to witnesses, into files."""
    settings = platform.settings
    seconds = settings.checkpoint_seconds
    workers: list[Worker] = [
        PeriodicTask(f"witness-{w.name}", w.step, seconds) for w in witnesses.all
    ]
    files = tile_files(settings)
    if files is not None:
        publisher = Publisher(database, files, settings.log_origin)
        workers.append(PeriodicTask("log-files", publisher.step, seconds))
    return workers
