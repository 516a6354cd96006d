"""What runs beside the routes: one sequencer per service, and the signer of checkpoints."""

import asyncio
import contextlib
import time

import structlog
from prometheus_client import Counter, Gauge

from contracts.registry import SERVICES
from infra.eventstore.events import StoredEvent
from infra.messaging.sources.base import Source
from infra.messaging.sources.postgres import PostgresSource
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.postgres.database import Database
from services.audit.handlers.erasure import Erasing
from services.audit.handlers.sequencing import sequence
from services.audit.handlers.signing import RefusedToSignError, Signing

log = structlog.get_logger()
REFUSALS = Counter("aiguillage_log_refusals", "Checkpoints that the signer refused to sign")
REFUSING = Gauge("aiguillage_log_refusing", "1 while the log is refused a signature, else 0")


def sequencers(platform: Platform, database: Database) -> list[Subscription[StoredEvent]]:
    """Every event of every service, the audit's own included, into the log."""
    return [
        platform.subscription(
            f"log-{service}", database, service, sequence,
            _source(platform, database, service), include_erased=True,
        )
        for service in SERVICES
    ]  # fmt: skip


def rights(
    platform: Platform, database: Database, erasing: Erasing
) -> Subscription[StoredEvent]:
    """``rights``: keeps limits; ciphertext of erased persons leaves the log's side."""
    return platform.subscription(
        "rights", database, "intake", erasing.on_intake, include_erased=True
    )


def _source(platform: Platform, database: Database, service: str) -> Source[StoredEvent]:
    """The service's topic where there is a broker; nobody but us reads our own events."""
    if platform.settings.kafka_bootstrap and service != database.schema:
        return platform.source(
            database, service, f"{database.schema}.log-{service}", as_stored=True
        )
    return PostgresSource(database, service, as_stored=True)


class CheckpointSigner:
    """Signs the log whenever it grew, at most every ``seconds``."""

    name = "log-signer"

    def __init__(self, signing: Signing, seconds: float) -> None:
        self.last_step = time.monotonic()
        self._signing = signing
        self._seconds = seconds
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Sign until ``stop``; whatever goes wrong is reported and tried again."""
        while not self._stopping.is_set():
            await self._attempt()
            self.last_step = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._stopping.wait()

    def stop(self) -> None:
        """End after the attempt at hand."""
        self._stopping.set()

    async def step(self) -> bool:
        """Sign once; answers whether there was something new to sign."""
        return await self._signing.step()

    async def _attempt(self) -> None:
        try:
            await self.step()
            REFUSING.set(0)
        except RefusedToSignError as error:
            REFUSALS.inc()
            REFUSING.set(1)
            log.error("checkpoint refused", reason=str(error))
        except Exception as error:
            log.warning("no checkpoint", error=type(error).__name__)
