"""Per-person keys, wrapped by a master key (infra/keyring), in a database of their own.

Everything personal is sealed with AES-256-GCM under the person's data key; destroying the key
erases it everywhere at once. A sealed part is ``version(1) ‖ key id(16) ‖ nonce(12) ‖
ciphertext ‖ tag`` and authenticates event id, type and person (docs/adr/0005).
"""

import asyncio
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.exc import DBAPIError

from infra.keys.key_ring import NONCE_BYTES, KeyRing
from infra.keys.master_key import CannotUnsealError
from infra.keys.rewrap import EncryptedColumn
from infra.postgres.database import Database
from infra.postgres.transaction import columns

VERSION = b"\x01"
CACHE_SECONDS = 60.0
CACHE_SIZE = 20_000
SWEEP_SECONDS = 1.0
PERSON_ERASED = "AG001"


class PersonErasedError(Exception):
    """The person's erasure was asked for: no key is created again."""


def keyed_digest(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA-256 of parts: for comparing personal values without storing them."""
    framed = b"".join(len(part).to_bytes(4) + part for part in parts)
    return hmac.digest(key, framed, "sha256")


@dataclass(frozen=True, slots=True)
class PersonKey:
    """A person's unwrapped data key."""

    key_id: UUID
    person_id: UUID
    cipher: AESGCM

    def seal(self, event_id: UUID, event_type: str, clear: bytes) -> bytes:
        """Encrypt the personal part of one event."""
        nonce = os.urandom(NONCE_BYTES)
        bound = _binding(event_id, event_type, self.person_id)
        return VERSION + self.key_id.bytes + nonce + self.cipher.encrypt(nonce, clear, bound)

    def unseal(self, event_id: UUID, event_type: str, sealed: bytes) -> bytes:
        """Decrypt what ``seal`` gave; raises ``CannotUnsealError`` if anything differs."""
        nonce, text = sealed[17 : 17 + NONCE_BYTES], sealed[17 + NONCE_BYTES :]
        try:
            return self.cipher.decrypt(
                nonce, text, _binding(event_id, event_type, self.person_id)
            )
        except (InvalidTag, ValueError) as error:
            raise CannotUnsealError("sealed part of another event") from error


def _binding(event_id: UUID, event_type: str, person_id: UUID) -> bytes:
    return event_id.bytes + person_id.bytes + event_type.encode()


def _bound(row: Any) -> bytes:
    person_id: UUID = row["person_id"]
    return bytes(row["key_id"].bytes + person_id.bytes)


PERSON_KEYS = EncryptedColumn("vault", "person_keys", ("key_id",), "wrapped", _bound)


class Vault:
    """Keys of persons, with a small cache that forgets after ``cache_seconds``."""

    def __init__(
        self, database: Database, master: KeyRing, cache_seconds: float = CACHE_SECONDS
    ) -> None:
        self.database = database
        self.master = master
        self.index = master.index
        self._cache_seconds = cache_seconds
        self._cache: OrderedDict[UUID, tuple[float, PersonKey]] = OrderedDict()
        self._sweep: asyncio.TimerHandle | None = None

    async def keys(self, person_ids: Iterable[UUID]) -> dict[UUID, PersonKey]:
        """The keys that exist; an erased or unknown person is absent."""
        wanted = set(person_ids)
        self._forget_expired()
        known = {p: self._cache[p][1] for p in wanted if p in self._cache}
        missing = [p for p in wanted if p not in known]
        if missing:
            known |= await self._fetch(missing)
        return known

    async def ensure(self, person_ids: Iterable[UUID]) -> dict[UUID, PersonKey]:
        """The keys of these persons, created where there were none.

        Raises ``PersonErasedError`` if one of them was erased.
        """
        wanted = set(person_ids)
        known = await self.keys(wanted)
        if missing := wanted - known.keys():
            known |= await self.create(missing)
        if late := wanted - known.keys():
            known |= await self._fetch(list(late))
        return known

    async def create(self, person_ids: Iterable[UUID]) -> dict[UUID, PersonKey]:
        """Keys for new persons; one who has a key already is absent from the answer.

        Raises ``PersonErasedError`` if one of them was erased.
        """
        wanted = sorted(person_ids)
        if not wanted:
            return {}
        master = await self.master.keys()
        made: dict[UUID, tuple[PersonKey, bytes]] = {}
        for person_id in wanted:
            key_id, data_key = uuid4(), os.urandom(32)
            wrapped = master.wrap(data_key, key_id.bytes + person_id.bytes)
            made[person_id] = (PersonKey(key_id, person_id, AESGCM(data_key)), wrapped)
        rows = [(key.key_id, p, wrapped) for p, (key, wrapped) in made.items()]
        try:
            async with self.database.transaction() as tx:
                inserted = await tx.fetch(
                    "INSERT INTO vault.person_keys (key_id, person_id, wrapped) "
                    "SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bytea[]) "
                    "ON CONFLICT (person_id) DO NOTHING RETURNING person_id",
                    *columns(rows),
                )
                master.check()
        except (asyncpg.PostgresError, DBAPIError) as error:
            if getattr(error, "sqlstate", None) == PERSON_ERASED:
                raise PersonErasedError from error
            raise
        return {p: self._remember(made[p][0]) for (p,) in inserted}

    def drop(self, person_ids: Iterable[UUID]) -> None:
        """Forget the keys of persons whose erasure was asked for, before a minute is over."""
        for person_id in person_ids:
            self._cache.pop(person_id, None)

    async def close(self) -> None:
        """Close the connections and forget every key."""
        self._cache.clear()
        if self._sweep:
            self._sweep.cancel()
        self.master.forget()
        await self.database.close()

    def _remember(self, key: PersonKey) -> PersonKey:
        self._forget_expired()
        self._cache[key.person_id] = (time.monotonic() + self._cache_seconds, key)
        self._cache.move_to_end(key.person_id)
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        if self._sweep is None:
            self._sweep_later()
        return key

    def _sweep_later(self) -> None:
        """Also where nobody asks for a key any more, none stays for long."""
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(self._cache_seconds + SWEEP_SECONDS, self._swept)

    def _swept(self) -> None:
        self._sweep = None
        self._forget_expired()
        if self._cache:
            self._sweep_later()

    def _forget_expired(self) -> None:
        """Forget keys whose time is over: the oldest come first, all have the same time."""
        now = time.monotonic()
        while self._cache and next(iter(self._cache.values()))[0] <= now:
            self._cache.popitem(last=False)

    async def _fetch(self, person_ids: list[UUID]) -> dict[UUID, PersonKey]:
        async with self.database.reading() as connection:
            rows = await connection.fetch(
                "SELECT key_id, person_id, wrapped FROM vault.person_keys k "
                "WHERE person_id = ANY($1) AND NOT EXISTS "
                "(SELECT FROM vault.erasures e WHERE e.person_id = k.person_id)",
                person_ids,
            )
        master = await self.master.keys(wrapped for _, _, wrapped in rows)
        opened = {}
        for row in rows:
            key_id, person_id, wrapped = row
            cipher = AESGCM(master.unwrap(wrapped, _bound(row)))
            opened[person_id] = self._remember(PersonKey(key_id, person_id, cipher))
        return opened
