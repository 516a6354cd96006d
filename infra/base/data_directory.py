"""The data directory: who made it, whose it is, and what a hub leaves in it at its first start.

Whoever looks at a hub changes nothing of it: only ``create`` makes anything.
"""

import os
import pwd
import stat
from pathlib import Path

from infra.base.files import read_or_create_secret
from infra.base.repairable import Repairable

INDEX_KEY = "index.key"
"""A hub's mark: made at its first start, never again, and needed by all that it does."""
LEDGER = "erasures.ndjson"
"""Of erasures: what no restored copy may bring back (``infra.privacy.erasure_ledger``)."""
OPEN = 0o066
"""Read and write for others. To pass is harmless, and what a web server needs that serves the
log's files; as root, so does the database's user."""


class NoHubError(Repairable):
    """Nothing here was ever a hub's."""

    repair = "give the --data of a hub, or begin one: aiguillage up"
    exit_code = 3


class NotOwnerError(Repairable):
    """The hub belongs to another user; ``repair``: the command as that user."""


def create(data: Path) -> None:
    """Make what a hub needs from its first start on; what is there stays as it is.

    The ledger of erasures is there before anybody is erased: a restore asks for it. Raises
    ``NotOwnerError``.
    """
    check_owner(data)
    make_private(data)
    if not (data / INDEX_KEY).exists():  # from the first start on, its mode is the operator's
        data.chmod(stat.S_IMODE(data.stat().st_mode) & ~OPEN)
    read_or_create_secret(data / INDEX_KEY)
    os.close(os.open(data / LEDGER, os.O_WRONLY | os.O_CREAT, 0o600))


def require(data: Path) -> None:
    """Raise ``NoHubError`` or ``NotOwnerError`` unless a hub of ours is here."""
    check_owner(data)
    if not (data / INDEX_KEY).exists():
        raise NoHubError(f"no hub here: {data}")


def check_owner(data: Path) -> None:
    """Raise ``NotOwnerError`` where the directory is there and another user's.

    Root could do all, and would leave files that the hub's own user cannot read.
    """
    try:
        owner = data.stat().st_uid
    except FileNotFoundError:
        return
    if owner != os.geteuid():
        raise NotOwnerError(
            f"{data} belongs to {_name(owner)}, and you are {_name(os.geteuid())}",
            f"sudo -u {_name(owner)} aiguillage …",
        )


def make_private(path: Path) -> None:
    """Make a directory that is its owner's alone, whatever the umask; those above it too."""
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
