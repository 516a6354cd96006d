"""What an operator does about the log: see whether it is signed, change keys, restore it."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from infra.base.clock import rfc3339, system_clock
from infra.base.data_directory import require
from infra.base.settings import Settings
from infra.platform import Platform
from infra.postgres.database import Database
from infra.tlog.keyring import RING
from infra.tlog.note import open_checkpoint
from services.audit.app import signing_of
from services.audit.handlers.memory import SignerMemory
from services.audit.handlers.signing import LogState, log_keys
from services.audit.tables.tree import Signed


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


def log_files(settings: Settings) -> list[str]:
    """What the log needs of the data directory: its ring, and the secrets that sign on."""
    keys = log_keys(settings).all()
    return [RING, *(key.file for key in keys if key.until is None)]


def newest_checkpoint(settings: Settings, files: Sequence[Path]) -> Signed:
    """The largest of these checkpoints of the log; raises ``NoteError`` if one is not."""
    keys = log_keys(settings).vkeys()
    notes = [file.read_bytes() for file in files]
    opened = [(open_checkpoint(note, keys, settings.log_origin), note) for note in notes]
    stated, note = max(opened, key=lambda found: found[0].size)
    return Signed(stated.size, stated.root, note)


async def remind_signer(settings: Settings, vault_url: str, signed: Signed) -> None:
    """Let the signer remember a checkpoint that its memory is too old to know of."""
    vault = Database(vault_url, "vault", pool_size=1)
    memory = SignerMemory(vault, settings.log_origin)
    try:
        known = await memory.recall()
        if known is None or known.size < signed.size:
            await memory.remember(signed, known, system_clock())
    finally:
        await vault.close()


def rotate_key(settings: Settings, overlap: timedelta) -> list[str]:
    """New keys for the log; answers the lines to publish: each key, from when, until when.

    Raises ``NoHubError``, and ``NoKeyError`` before the log's first run.
    """
    require(settings.data)
    keys = log_keys(settings)
    keys.rotate(overlap)
    return [
        f"{key.vkey.encode()} from {rfc3339(key.since)}"
        + (f" until {rfc3339(key.until)}" if key.until else "")
        for key in keys.all()
    ]
