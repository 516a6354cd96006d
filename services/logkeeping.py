"""What an operator does about the log: see whether it is signed, change its keys."""

from datetime import timedelta
from typing import Any

from infra.database import Database
from infra.eventstore.events import rfc3339
from infra.platform import Platform
from infra.settings import Settings
from services.audit.app import signing_of
from services.audit.handlers.signing import LogState, log_keys


async def log_state(platform: Platform, database: Database) -> LogState:
    """How the log stands; ``database`` is the audit service's."""
    vault = Database(platform.vault_url, "vault", pool_size=1)
    try:
        return await signing_of(platform, database, vault).state()
    finally:
        await vault.close()


async def signer_row(platform: Platform, database: Database) -> dict[str, Any]:
    """The signer as a line of `aiguillage status`, beside the subscriptions."""
    state = await log_state(platform, database)
    return {
        "service": "audit",
        "subscription": "log-signer",
        "source": "log",
        "partition": 0,
        "next": state.signed_size,
        "position": state.signed_size,
        "lag": max(0, state.size - state.signed_size),
        "paused": state.refusal is not None,
        "reason": state.refusal,
        "parked": 0,
    }


def rotate_key(settings: Settings, overlap: timedelta) -> list[str]:
    """New keys for the log; answers the lines to publish: each key, from when, until when.

    Raises ``NoKeyError`` before the log's first run.
    """
    keys = log_keys(settings)
    keys.rotate(overlap)
    return [
        f"{key.vkey.encode()} from {rfc3339(key.since)}"
        + (f" until {rfc3339(key.until)}" if key.until else "")
        for key in keys.all()
    ]
