"""Where master keys are kept: a provider hands them out, one per epoch, and destroys them.

A master key wraps the keys of persons and the secrets of partners. It is replaced now and then:
each replacement is an epoch, and an epoch whose key is destroyed takes every old copy of what
was wrapped under it along (docs/adr/0017). What digests are keyed with never changes, and is no
master key: see ``IndexKey``.
"""

import hmac
import os
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from infra.base.files import read_or_create_secret, sync_directory

KEY_BYTES = 32
CHECK_BYTES = 16


class CannotUnsealError(Exception):
    """No key (erased, or its epoch destroyed), or the sealed bytes belong to something else."""


class KeyUnavailableError(OSError):
    """A key that should be there is not to be had now: wait for it, and tell the operator.

    The text names a file or a verb, never anything secret.
    """


class Provider(Protocol):
    """Keeps the master keys of epochs: files here, a transit engine, or the KMS of a cloud."""

    name: str

    async def create(self, epoch: int) -> bytes:
        """Make the key of an epoch; answers what ``open`` needs, which is no secret.

        Called again after a crash: the last answer is the one that counts. Both raise
        ``KeyUnavailableError``.
        """
        ...

    async def open(self, epoch: int, stored: bytes) -> bytes:
        """The key's 32 bytes."""
        ...

    async def destroy(self, epoch: int, stored: bytes) -> None:
        """Make sure that nobody opens it again, nor any earlier one; again does no harm."""
        ...


class FileProvider:
    """Files of 32 bytes that only their owner can read: ``master-1.key`` and so on.

    A file that lies there already is taken as it is: after a crash, or because the operator
    has laid the same one down on several machines.
    """

    name = "file"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, epoch: int) -> Path:
        """The file of an epoch."""
        return self._directory / f"master-{epoch}.key"

    async def create(self, epoch: int) -> bytes:
        """Write the file; answers a check value, by which another key is told from it."""
        return _check(epoch, _whole(self.path(epoch), read_or_create_secret(self.path(epoch))))

    async def open(self, epoch: int, stored: bytes) -> bytes:
        """Read the file; it is never created here: a new key would open nothing."""
        path = self.path(epoch)
        try:
            key = _whole(path, path.read_bytes())
        except OSError as error:
            raise KeyUnavailableError(f"{path.name}: {type(error).__name__}") from error
        if not hmac.compare_digest(_check(epoch, key), stored):
            raise KeyUnavailableError(f"{path.name} is not the key of this hub's epoch {epoch}")
        return key

    async def destroy(self, epoch: int, stored: bytes) -> None:
        """Overwrite the file, then remove it. Copies elsewhere are the operator's to remove."""
        path = self.path(epoch)
        if not path.exists():
            return
        with path.open("r+b") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        sync_directory(path.parent)


class IndexKey:
    """What digests are keyed with; it never changes, so that the same gives the same for ever.

    A digest cannot be rewrapped: what it was made from is not kept. So its key is apart from
    the master keys, and whoever has it together with an old backup can test guesses (is this
    name and birth date in there?) even after an erasure. Keep it as you keep a master key.
    """

    def __init__(self, path: Path) -> None:
        self._secret = _whole(path, read_or_create_secret(path))

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose (HKDF-SHA-256)."""
        return HKDF(hashes.SHA256(), KEY_BYTES, None, purpose.encode()).derive(self._secret)

    @property
    def check(self) -> bytes:
        """By which another index key is told from this one; says nothing of it."""
        return self.derive("check")[:CHECK_BYTES]


def _whole(path: Path, key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise KeyUnavailableError(f"{path.name} does not hold {KEY_BYTES} bytes")
    return key


def _check(epoch: int, key: bytes) -> bytes:
    return hmac.digest(key, f"master key of epoch {epoch}".encode(), "sha256")[:CHECK_BYTES]
