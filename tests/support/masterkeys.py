"""Key rings of several processes on one vault, impatient ones, and what is wrapped there."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from infra.keys.key_ring import KeyRing, StaleKeysError
from infra.keys.master_key import FileProvider, IndexKey, Provider
from infra.keys.rewrap import ColumnLocation, EncryptedColumn
from infra.keys.rotation import Rotation
from infra.keys.vault import PERSON_KEYS, Vault
from infra.postgres.database import Database
from tests.support.postgres import Databases


@dataclass
class Processes:
    """What several processes hold, each with pools of its own."""

    databases: Databases
    opened: list[Database] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        return self.databases.directory

    def database(self, schema: str = "vault", pool_size: int = 2) -> Database:
        url = self.databases.vault_url if schema == "vault" else self.databases.url
        self.opened.append(Database(url, schema, pool_size=pool_size))
        return self.opened[-1]

    def ring(
        self,
        *,
        refresh_seconds: float = 0.02,
        lease_seconds: float = 2.0,
        providers: Sequence[Provider] = (),
        new_keys: str = "file",
        directory: Path | None = None,
    ) -> KeyRing:
        """The ring of one process."""
        return KeyRing(
            self.database(),
            providers or [FileProvider(self.directory)],
            IndexKey((directory or self.directory) / "index.key"),
            new_keys=new_keys,
            refresh_seconds=refresh_seconds,
            lease_seconds=lease_seconds,
        )

    def vault(self, **given: Any) -> Vault:
        """The vault of one process."""
        return Vault(self.database(pool_size=4), self.ring(**given))

    def rotation(self, *kept: EncryptedColumn, **given: Any) -> Rotation:
        """A rotation as the command line would have it: of persons' keys, if none are named."""
        places = [ColumnLocation(self.database(k.schema), k) for k in kept or (PERSON_KEYS,)]
        return Rotation(self.ring(**{"lease_seconds": 0.1} | given), places)

    async def rotate(self, *kept: EncryptedColumn, **given: Any) -> Rotation:
        """Rotate to the end; answers the rotation.

        One that stood still longer than its lease is run again, as an operator would.
        """
        found = self.rotation(*kept, **given)
        while True:
            try:
                async for _ in found.run():
                    pass
            except StaleKeysError:
                continue
            return found

    async def persons(self, count: int, keeper: Vault | None = None) -> list[UUID]:
        """New persons, with keys."""
        made = [uuid4() for _ in range(count)]
        await (keeper or self.vault()).create(made)
        return made

    async def copy(self) -> dict[UUID, tuple[bytes, bytes]]:
        """Person → what their key is bound to, and the key as it stands in the table."""
        rows = await self.database().rows("SELECT * FROM vault.person_keys")
        return {row["person_id"]: (PERSON_KEYS.binding(row), row["wrapped"]) for row in rows}

    async def execute(self, statement: str, *values: Any) -> None:
        """A statement on the vault, committed."""
        async with self.database().transaction() as tx:
            await tx.execute(statement, *values)

    async def end(self) -> None:
        """End all of them: a server's connections are few."""
        while self.opened:
            await self.opened.pop().close()


@pytest.fixture
async def processes(databases: Databases) -> AsyncIterator[Processes]:
    made = Processes(databases)
    yield made
    await made.end()
