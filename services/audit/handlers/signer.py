"""The worker that signs checkpoints as the log grows."""

import asyncio
import contextlib
import time

import structlog
from prometheus_client import Counter, Gauge

from services.audit.handlers.signing import RefusedToSignError, Signing

log = structlog.get_logger()
REFUSALS = Counter("aiguillage_log_refusals", "Checkpoints that the signer refused to sign")
REFUSING = Gauge("aiguillage_log_refusing", "1 while the log is refused a signature, else 0")


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
            await self.attempt()
            self.last_step = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._stopping.wait()

    def stop(self) -> None:
        """End after the attempt at hand."""
        self._stopping.set()

    async def attempt(self) -> None:
        """Sign once; a refusal is counted and logged, and anything else tried again later."""
        try:
            await self.step()
            REFUSING.set(0)
        except RefusedToSignError as error:
            REFUSALS.inc()
            REFUSING.set(1)
            log.error("checkpoint refused", reason=str(error))
        except Exception as error:
            log.warning("no checkpoint", error=type(error).__name__)

    async def step(self) -> bool:
        """Sign once; return whether there was something new to sign."""
        return await self._signing.step()
