"""The master keys of all live epochs, in memory: wrapping and unwrapping ask nobody.

They are loaded when first needed, and again every few seconds, so that running processes learn
of a new epoch and forget a destroyed one. What a process has loaded may wrap for a few seconds
only: that bound is how a rotation knows when nobody wraps under an older epoch any more.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.keys.master_key import CannotUnsealError, IndexKey, KeyUnavailableError, Provider
from infra.postgres.database import Database

EPOCH_BYTES = 4
NONCE_BYTES = 12
REFRESH_SECONDS = 2.0
LEASE_SECONDS = 10.0
"""The same in every process, so no setting: a rotation waits for so long."""
LOAD_SECONDS = 5.0
_LOCK = 4713  # one new epoch at a time, whoever begins it
log = structlog.get_logger()

EPOCHS = """
SELECT epoch, provider, stored, index_check, created_at, rewrapped_at, destroyed_at
FROM vault.epochs ORDER BY epoch
"""
ADD_EPOCH = """
INSERT INTO vault.epochs (epoch, provider, stored, index_check) VALUES ($1, $2, $3, $4)
"""
REWRAPPED = """
UPDATE vault.epochs SET rewrapped_at = now() WHERE epoch = $1 AND rewrapped_at IS NULL
"""
DESTROYED = """
UPDATE vault.epochs SET destroyed_at = now(), stored = NULL
WHERE epoch = $1 AND destroyed_at IS NULL
"""


class StaleKeysError(KeyUnavailableError):
    """These keys were loaded too long ago to wrap with: load them again."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """A master key's row: where its key is kept, and what became of it.

    ``stored``: what its provider opens it by; none once it is destroyed. ``rewrapped_at``:
    since when nothing is wrapped under an older one.
    """

    number: int
    provider: str
    stored: bytes | None = field(repr=False)
    index_check: bytes = field(repr=False)
    created_at: datetime
    rewrapped_at: datetime | None
    destroyed_at: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Epoch":
        """Read a row of ``vault.epochs``."""
        return cls(number=row["epoch"], **{k: v for k, v in row.items() if k != "epoch"})


def prefix(epoch: int) -> bytes:
    """How everything that was wrapped under an epoch begins; in order, as epochs are."""
    return epoch.to_bytes(EPOCH_BYTES)


def epoch_of(wrapped: bytes) -> int:
    """The epoch that something was wrapped under."""
    return int.from_bytes(wrapped[:EPOCH_BYTES])


class MasterKeys:
    """The keys of every epoch as a process knew them at one moment.

    What is wrapped is ``epoch(4) ‖ nonce(12) ‖ ciphertext ‖ tag``, and opens only for what it
    is bound to.
    """

    def __init__(
        self, epochs: Sequence[Epoch], ciphers: Mapping[int, AESGCM], good_until: float
    ) -> None:
        self.newest = epochs[-1].number
        self._live = {epoch.number: epoch.destroyed_at is None for epoch in epochs}
        self._ciphers = ciphers
        self._good_until = good_until

    def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        """Encrypt under the newest epoch. Store it, then ``check``, then commit.

        Raises ``StaleKeysError``, and ``KeyUnavailableError`` while the newest has no key.
        """
        self.check()
        nonce = os.urandom(NONCE_BYTES)
        text = self._cipher(self.newest).encrypt(nonce, key, bound_to)
        return prefix(self.newest) + nonce + text

    def unwrap(self, wrapped: bytes, bound_to: bytes) -> bytes:
        """Undo ``wrap``; raises ``CannotUnsealError`` for another binding, an epoch that was
        destroyed or never was, and ``KeyUnavailableError`` while its key is not to be had."""
        start = EPOCH_BYTES + NONCE_BYTES
        cipher = self._cipher(epoch_of(wrapped))
        try:
            return cipher.decrypt(wrapped[EPOCH_BYTES:start], wrapped[start:], bound_to)
        except (InvalidTag, ValueError) as error:
            raise CannotUnsealError("wrapped for something else, or changed") from error

    def check(self) -> None:
        """Raise ``StaleKeysError`` unless what was wrapped and stored may still be committed.

        Once the bound has passed, a rotation may have looked for what it has to rewrap.
        """
        if time.monotonic() > self._good_until:
            raise StaleKeysError("master keys loaded too long ago")

    def knows(self, wrapped: bytes) -> bool:
        """Whether the epoch of something wrapped is one of these, destroyed or not."""
        return epoch_of(wrapped) in self._live

    def _cipher(self, epoch: int) -> AESGCM:
        if not self._live.get(epoch):
            raise CannotUnsealError("wrapped under a master key that is destroyed, or not ours")
        if epoch not in self._ciphers:
            raise KeyUnavailableError(f"the master key of epoch {epoch} is not to be had")
        return self._ciphers[epoch]


class KeyRing:
    """Loads master keys and keeps them fresh; begins and destroys epochs.

    ``new_keys``: the name of the provider that makes the keys of new epochs.
    """

    def __init__(
        self,
        database: Database,
        providers: Iterable[Provider],
        index: IndexKey,
        *,
        new_keys: str = "file",
        refresh_seconds: float = REFRESH_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.index = index
        self.lease_seconds = lease_seconds
        self._database = database
        self._providers = {provider.name: provider for provider in providers}
        self._new_keys = new_keys
        self._refresh_seconds = refresh_seconds
        self._keys: MasterKeys | None = None
        self._tried = float("-inf")
        self._ciphers: dict[int, AESGCM] = {}
        self._missing: set[int] = set()
        self._lock = asyncio.Lock()

    async def keys(self, wrapped: Iterable[bytes] = ()) -> MasterKeys:
        """The keys, fresh; loaded again if one of ``wrapped`` has an epoch not met before.

        Older ones if the vault is away: they unwrap, and refuse to wrap after a while. Raises
        what the database or ``open`` does if none were loaded yet.
        """
        now = time.monotonic()
        keys = await self._since(now - self._refresh_seconds)
        return keys if all(map(keys.knows, wrapped)) else await self._since(now)

    async def epochs(self) -> list[Epoch]:
        """Every epoch that ever was, the newest last; none before the first use."""
        return [Epoch.of(row) for row in await self._database.rows(EPOCHS)]

    async def begin(self, after: int) -> None:
        """Begin the epoch after ``after``, unless somebody else has.

        Its key is opened once before anything can be wrapped under it.
        """
        provider, epoch = self._provider(self._new_keys), after + 1
        async with self._database.transaction() as tx:
            await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            newest = await tx.fetchval("SELECT coalesce(max(epoch), 0) FROM vault.epochs")
            if newest != after:
                return
            stored = await provider.create(epoch)
            await provider.open(epoch, stored)
            await tx.execute(ADD_EPOCH, epoch, provider.name, stored, self.index.check)
        self._tried = float("-inf")
        log.info("master key epoch begun", epoch=epoch, provider=provider.name)

    async def rewrapped(self, epoch: int) -> None:
        """Keep that nothing is wrapped under an older epoch any more."""
        await self._mark(REWRAPPED, epoch)
        log.info("everything is wrapped under the new master key", epoch=epoch)

    async def destroy(self, epoch: Epoch) -> None:
        """Destroy an epoch's key, then say so: in this order, a crash between is repeated."""
        if epoch.stored is None:
            return
        await self._provider(epoch.provider).destroy(epoch.number, epoch.stored)
        await self._mark(DESTROYED, epoch.number)
        log.info("master key destroyed", epoch=epoch.number, provider=epoch.provider)

    async def open(self, epoch: Epoch) -> bytes:
        """The key of a live epoch, from its provider. Raises ``KeyUnavailableError``."""
        assert epoch.stored is not None
        return await self._provider(epoch.provider).open(epoch.number, epoch.stored)

    def forget(self) -> None:
        """Drop every key: they are loaded again when needed."""
        self._keys, self._tried = None, float("-inf")
        self._ciphers.clear()

    async def _since(self, moment: float) -> MasterKeys:
        """Return keys no older than ``moment``; concurrent callers share one reload."""
        if self._tried < moment:
            async with self._lock:
                if self._tried < moment:
                    await self._renew()
        if self._keys is None:
            raise KeyUnavailableError("master keys were not loaded yet")
        return self._keys

    async def _renew(self) -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                self._keys = await self._load(started)
        except Exception as error:
            self._tried = started
            if self._keys is None:
                raise
            log.warning("master keys not refreshed", error=type(error).__name__)
        self._tried = started

    async def _load(self, started: float) -> MasterKeys:
        epochs = await self.epochs()
        if not epochs:
            await self.begin(after=0)
            epochs = await self.epochs()
        if epochs[-1].index_check != self.index.check:
            raise KeyUnavailableError("index.key is not this hub's: put the first one back")
        live = [epoch for epoch in epochs if epoch.destroyed_at is None]
        ciphers = {epoch.number: await self._cipher(epoch) for epoch in live}
        self._ciphers = {number: cipher for number, cipher in ciphers.items() if cipher}
        return MasterKeys(epochs, self._ciphers, started + self.lease_seconds)

    async def _cipher(self, epoch: Epoch) -> AESGCM | None:
        """One that is not to be had must not keep the others from being used."""
        if epoch.number in self._ciphers:
            return self._ciphers[epoch.number]
        try:
            key = await self.open(epoch)
        except KeyUnavailableError as error:
            if epoch.number not in self._missing:
                log.error("master key not to be had", epoch=epoch.number, reason=str(error))
            self._missing.add(epoch.number)
            return None
        self._missing.discard(epoch.number)
        return AESGCM(key)

    async def _mark(self, statement: str, epoch: int) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(statement, epoch)

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            raise KeyUnavailableError(
                f"no {name}: set AIGUILLAGE_TRANSIT_URL and its token file"
            )
        return self._providers[name]
