"""Tables that keep something wrapped under a master key, and how that is moved to a newer one.

Whoever wraps says where it keeps it, as an ``EncryptedColumn``; a rotation goes through all of
them while the hub serves. A row is rewrapped in place, under its lock: one that was deleted
meanwhile (an erasure) does not come back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from infra.keys.key_ring import (
    EPOCH_BYTES,
    KeyRing,
    MasterKeys,
    StaleKeysError,
    epoch_of,
    prefix,
)
from infra.keys.master_key import CannotUnsealError
from infra.postgres.database import Database, is_infrastructure

ROWS = 500
ATTEMPTS = 5
PAUSE_SECONDS = 0.2
LOCK_SECONDS = 5
"""How long we, and writers behind us, wait for those that are writing to a table."""
T = TypeVar("T")


@dataclass(frozen=True)
class EncryptedColumn:
    """A column of wrapped bytes. ``binding``: what a row's bytes are bound to."""

    schema: str
    table: str
    key: tuple[str, ...]
    column: str
    binding: Callable[[Any], bytes]

    @property
    def name(self) -> str:
        """The table, with its schema."""
        return f"{self.schema}.{self.table}"

    def select(self, after: int) -> str:
        """Rows of epochs from $1 to below $2, locked; ``after``: from $4 … on, in key order."""
        key = ", ".join(f'"{name}"' for name in self.key)
        given = ", ".join(f"${n}" for n in range(4, 4 + after))
        further = f"AND ({key}) > ({given}) " if after else ""
        return (
            f"SELECT * FROM {self.name} WHERE {self.column} >= $1 AND {self.column} < $2 "
            f"{further}ORDER BY {key} LIMIT $3 FOR NO KEY UPDATE"
        )

    @property
    def update(self) -> str:
        """Put $1 in the row of key $2 …"""
        where = " AND ".join(f'"{name}" = ${n}' for n, name in enumerate(self.key, 2))
        return f"UPDATE {self.name} SET {self.column} = $1 WHERE {where}"

    @property
    def count(self) -> str:
        """How many rows each epoch has."""
        return (
            f"SELECT substring({self.column} FROM 1 FOR {EPOCH_BYTES}) AS epoch, count(*) "
            f"FROM {self.name} GROUP BY 1"
        )


@dataclass(frozen=True)
class ColumnLocation:
    """Something kept, and the database that keeps it."""

    database: Database
    kept: EncryptedColumn

    async def counts(self, *, settled: bool = False) -> dict[int, int]:
        """Epoch → rows under it. ``settled``: once whoever is writing now has committed."""

        async def count() -> dict[int, int]:
            async with self.database.transaction() as tx:
                if settled:
                    await tx.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                    await tx.execute(f"LOCK TABLE {self.kept.name} IN SHARE MODE")
                rows = await tx.fetch(self.kept.count)
            return {epoch_of(row["epoch"]): row["count"] for row in rows}

        return await _patiently(count)

    async def rewrap(self, ring: KeyRing, epochs: range, after: tuple[Any, ...]) -> "Moved":
        """Move a set of rows from these epochs to the newest, from a key on."""
        return await _patiently(lambda: self._rewrap(ring, epochs, after))

    async def _rewrap(self, ring: KeyRing, epochs: range, after: tuple[Any, ...]) -> "Moved":
        kept, bounds = self.kept, (prefix(epochs.start), prefix(epochs.stop))
        async with self.database.transaction() as tx:
            rows = await tx.fetch(kept.select(len(after)), *bounds, ROWS, *after)
            keys = await ring.keys()
            if keys.newest < epochs.stop:
                raise StaleKeysError("the newest epoch is not loaded yet")
            new = {_key(kept, row): _again(keys, kept, row) for row in rows}
            moved = [(wrapped, *key) for key, wrapped in new.items() if wrapped]
            await tx.executemany(kept.update, moved)
            keys.check()
        return Moved(len(moved), _key(kept, rows[-1]) if rows else None)


@dataclass(frozen=True)
class Moved:
    """Rows rewrapped in this step and the key to continue after; None when finished."""

    rows: int
    last: tuple[Any, ...] | None


def _again(keys: MasterKeys, kept: EncryptedColumn, row: Any) -> bytes | None:
    """A row's bytes under the newest epoch; none if they do not open: somebody has to look."""
    bound = kept.binding(row)
    try:
        return keys.wrap(keys.unwrap(row[kept.column], bound), bound)
    except CannotUnsealError:
        return None


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Do a transaction again if others stand in its way."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await work()
        except Exception as error:
            if not is_infrastructure(error):
                raise
        await asyncio.sleep(PAUSE_SECONDS)
    return await work()


def _key(kept: EncryptedColumn, row: Any) -> tuple[Any, ...]:
    return tuple(row[name] for name in kept.key)
