"""What `aiguillage doctor` looks at where keys and secrets are kept."""

import os
import stat
from dataclasses import dataclass

from infra.base.data_directory import LEDGER, OPEN
from infra.base.settings import Settings
from infra.keys.key_ring import KeyRing
from infra.keys.master_key import KeyUnavailableError
from infra.keys.rotation import Status
from infra.platform import Platform
from infra.postgres.logins import PASSWORDS
from services.hub.operations.encrypted_columns import rotation_of

SECRET_FILES = ("*.key", "keys.json", PASSWORDS, LEDGER)


@dataclass(frozen=True)
class Check:
    """One line of `aiguillage doctor`."""

    name: str
    ok: bool
    detail: str
    repair: str = ""


def data_directory(settings: Settings) -> Check:
    """Whether the data directory can be written, and only by its owner; others may pass."""
    mode = stat.S_IMODE(settings.data.stat().st_mode)
    if not os.access(settings.data, os.W_OK):
        repair = "give its owner the right to write, or mount it otherwise"
        return Check("data directory", False, "cannot be written", repair)
    if mode & OPEN:
        detail = f"others may read or change it ({mode:o})"
        return Check("data directory", False, detail, f"chmod go-rw {settings.data}")
    return Check("data directory", True, str(settings.data))


def secret_files(settings: Settings) -> Check:
    """Whether files that hold secrets are their owner's alone."""
    files = [path for pattern in SECRET_FILES for path in settings.data.glob(pattern)]
    if settings.transit_token_file and settings.transit_token_file.exists():
        files.append(settings.transit_token_file)
    open_ones = [path for path in sorted(files) if path.stat().st_mode & 0o077]
    if open_ones:
        names = ", ".join(path.name for path in open_ones)
        repair = "chmod 600 " + " ".join(str(path) for path in open_ones)
        return Check("secret files", False, f"others may read or change {names}", repair)
    return Check("secret files", True, f"{len(files)}, their owner's alone")


async def master_keys(platform: Platform) -> list[Check]:
    """Whether every live master key opens, everything wrapped has one, and digests stay."""
    async with rotation_of(platform) as rotation:
        status, ring = await rotation.status(), rotation.ring
        return [await _opened(ring, status), _wrapped(status), _index(ring, status)]


async def _opened(ring: KeyRing, status: Status) -> Check:
    failed = []
    for epoch in status.live:
        try:
            await ring.open(epoch)
        except KeyUnavailableError as error:
            failed.append(f"epoch {epoch.number}: {error}")
    if failed:
        repair = "put the file back from its backup, or see to the transit engine's key"
        return Check("master keys", False, "; ".join(failed), repair)
    live = [f"epoch {epoch.number} ({epoch.provider})" for epoch in status.live]
    return Check("master keys", True, f"{', '.join(live) or 'none yet'}: opened")


def _wrapped(status: Status) -> Check:
    if status.dead:
        rows = ", ".join(f"{count} of {name}" for name, count in status.dead.items())
        repair = "restore the vault and the main database from the same moment"
        return Check("wrapped keys", False, f"no master key opens {rows}", repair)
    count = sum(sum(counts.values()) for counts in status.counts.values())
    return Check("wrapped keys", True, f"{count}, each under a live master key")


def _index(ring: KeyRing, status: Status) -> Check:
    if status.epochs and status.epochs[-1].index_check != ring.index.check:
        repair = "put the first index.key back: with another, known persons are strangers"
        return Check("index key", False, "index.key is not this hub's", repair)
    return Check("index key", True, "what digests were made with")
