"""A real PostgreSQL for the tests: an address from the environment, or the embedded one."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import asyncpg
from sqlalchemy.engine import make_url

from infra.base import data_directory
from infra.base.settings import Settings
from infra.keys.vault import Vault
from infra.platform import open_vault
from infra.postgres.database import Database, render, vault_url
from infra.postgres.embedded import EmbeddedPostgres
from infra.postgres.migrations import migrate


@dataclass(frozen=True)
class Databases:
    """A migrated pair of databases, for one test."""

    url: str
    vault_url: str
    directory: Path

    def of(self, schema: str) -> Database:
        """A pool as the service would have it."""
        return Database(self.url, schema)

    @asynccontextmanager
    async def owner(self) -> AsyncIterator[Any]:
        """A transaction that may do everything, as no service's own can."""
        connection = await asyncpg.connect(self.url)
        try:
            async with connection.transaction():
                yield connection
        finally:
            await connection.close()

    def vault(self) -> Vault:
        """A vault on the keys' database."""
        return open_vault(Settings(data=self.directory), self.vault_url)


@contextmanager
def running_server() -> Iterator[str]:
    """URL of the given server, or of one that runs meanwhile."""
    given = os.environ.get("AIGUILLAGE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    # not below pytest's own directory: a second session takes other users' access to it away
    with TemporaryDirectory(prefix="aiguillage-tests-") as directory:
        server = EmbeddedPostgres(Path(directory))
        yield server.start()
        server.stop("immediate")


async def migrated(postgres_url: str) -> tuple[str, str]:
    """Make a migrated pair of databases, to be copied; return their names."""
    name = f"template_{uuid4().hex[:8]}"
    url = render(make_url(postgres_url).set(database=name))
    await migrate(url, vault_url(url))
    return name, f"{name}_vault"


@asynccontextmanager
async def copied(
    postgres_url: str, sources: tuple[str, str], directory: Path
) -> AsyncIterator[Databases]:
    """A copy of a pair of databases that nobody is connected to, while it is needed."""
    name = f"test_{uuid4().hex[:8]}"
    names = (name, f"{name}_vault")
    connection = await asyncpg.connect(postgres_url)
    for target, source in zip(names, sources, strict=True):
        # in memory, files are copied with half of what it takes to log each page
        how = f'TEMPLATE "{source}" STRATEGY FILE_COPY'
        await connection.execute(f'CREATE DATABASE "{target}" {how}')
    data_directory.create(directory)
    urls = [render(make_url(postgres_url).set(database=n)) for n in names]
    yield Databases(urls[0], urls[1], directory)
    for target in names:
        await connection.execute(f'DROP DATABASE "{target}" WITH (FORCE)')
    await connection.close()
