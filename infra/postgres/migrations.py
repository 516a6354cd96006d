"""Create databases, schemas and logins, then run each service's own alembic migrations.

What was applied is kept beside the tables, with a checksum of the SQL that ran: a migration
that was edited since is another one, and what it made cannot be trusted. The checksums of this
code stand in ``migrations.json``; ``python -m infra.postgres.migrations --freeze`` writes them
anew.
"""

import importlib
import json
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from contracts.registry import SERVICES
from infra.postgres.database import async_url, login_url, role_of
from infra.postgres.ddl import ForeignMigrationsError, NotMigratedError, checksum
from infra.postgres.logins import create_login

SCHEMAS = (*SERVICES, "vault")
FROZEN = Path(__file__).with_name("migrations.json")
NEVER_MIGRATED = {"42P01", "3F000", "3D000", "28000"}
"""No such table, schema, database or login: SQLSTATE."""
_LOCK = 4710  # one migration at a time, whoever starts first
_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
GRANT USAGE ON SCHEMA {schema} TO {role};
CREATE TABLE IF NOT EXISTS {schema}.migrations (
  revision   text PRIMARY KEY,
  sha256     text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON {schema}.migrations TO {role};
"""
_WALL = """
REVOKE ALL ON DATABASE "{database}" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE "{database}" TO {roles};
"""


def config_of(schema: str) -> Config:
    """Alembic's configuration of one schema: scripts beside the code that uses the tables."""
    config = Config()
    package = "infra.keys.migrations" if schema == "vault" else f"services.{schema}.migrations"
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    (directory,) = importlib.import_module(package).__path__
    config.set_main_option("version_locations", directory)
    config.set_main_option("path_separator", "os")
    config.attributes["schema"] = schema
    return config


def checksums(schema: str) -> dict[str, str]:
    """Revision → checksum of what it runs, by this code; the oldest first."""
    return {script.revision: checksum(script.module.upgrade) for script in _scripts(schema)}


def freeze() -> None:
    """Write the checksums of this code: they are what a release stands by."""
    frozen = {schema: checksums(schema) for schema in SCHEMAS}
    FROZEN.write_text(json.dumps(frozen, indent=2) + "\n")


async def migrate(url: str, keys_url: str) -> dict[str, str]:
    """Bring every schema to its newest revision; answer schema → revision.

    Raises ``ForeignMigrationsError``, and then changes nothing of that schema.
    """
    for database in (url, keys_url):
        await _create_database(database)
    revisions = {}
    for schema in SCHEMAS:
        revisions[schema] = await _migrate_schema(
            keys_url if schema == "vault" else url, schema
        )
    return revisions


async def create_roles(url: str) -> None:
    """The logins alone: what a backup grants rights to must be there before it is loaded."""
    async with _connected(async_url(url)) as connection, connection.begin():
        for name in SCHEMAS:
            await create_login(connection, name)


async def check(url: str, keys_url: str, schemas: Collection[str] = SCHEMAS) -> None:
    """Compare what was applied with this code, logged in as each service.

    Raises ``NotMigratedError`` or ``ForeignMigrationsError``: nothing may be served then.
    """
    missing = []
    for schema in schemas:
        applied = await _applied_as(keys_url if schema == "vault" else url, schema)
        missing += [f"{schema} {revision}" for revision in _missing(schema, applied)]
    if missing:
        raise NotMigratedError(f"migrations are not applied: {', '.join(missing)}")


def _missing(schema: str, applied: dict[str, str]) -> list[str]:
    """Revisions of this code that are not applied; raises where others were."""
    ours = checksums(schema)
    for revision, sha256 in applied.items():
        if revision not in ours:
            raise ForeignMigrationsError(f"{schema} {revision} was applied by a later release")
        if sha256 != ours[revision]:
            raise ForeignMigrationsError(
                f"{schema} {revision} was applied as another migration than this release has"
            )
    return [revision for revision in ours if revision not in applied]


async def _applied_as(url: str, schema: str) -> dict[str, str]:
    try:
        async with _connected(login_url(url, schema)) as connection:
            return await _applied(connection, schema)
    except (DBAPIError, asyncpg.PostgresError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if getattr(cause, "sqlstate", None) not in NEVER_MIGRATED:
            raise
        return {}


@asynccontextmanager
async def _connected(url: URL, **options: Any) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(url, **options)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


async def _applied(connection: AsyncConnection, schema: str) -> dict[str, str]:
    rows = await connection.execute(
        text(f"SELECT revision, sha256 FROM {schema}.migrations ORDER BY revision")
    )
    return {row.revision: row.sha256 for row in rows}


def _scripts(schema: str) -> Iterator[Script]:
    yield from reversed(list(ScriptDirectory.from_config(config_of(schema)).walk_revisions()))


async def _create_database(url: str) -> None:
    target = make_url(url)
    postgres = async_url(url).set(database="postgres")
    async with _connected(postgres, isolation_level="AUTOCOMMIT") as connection:
        await connection.execute(text(f"SELECT pg_advisory_lock({_LOCK})"))
        known = await connection.scalar(
            text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": target.database}
        )
        if not known:
            await connection.execute(text(f'CREATE DATABASE "{target.database}"'))


async def _migrate_schema(url: str, schema: str) -> str:
    async with _connected(async_url(url)) as connection, connection.begin():
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        for name in SCHEMAS:
            await create_login(connection, name)
        # who may connect to a schema's database: the vault's is nobody else's
        roles = ", ".join(map(role_of, ["vault"] if schema == "vault" else SERVICES))
        await _statements(connection, _WALL, database=make_url(url).database, roles=roles)
        await _statements(connection, _SCHEMA, schema=schema, role=role_of(schema))
        missing = await _missing_now(connection, schema)
        await connection.run_sync(_upgrade, schema)
        for revision in missing:
            await connection.execute(
                text(
                    f"INSERT INTO {schema}.migrations (revision, sha256) "
                    "VALUES (:revision, :sha256)"
                ),
                {"revision": revision, "sha256": checksums(schema)[revision]},
            )
    return list(checksums(schema))[-1]


async def _statements(connection: AsyncConnection, script: str, **names: str | None) -> None:
    for statement in script.format(**names).split(";")[:-1]:
        await connection.execute(text(statement))


async def _missing_now(connection: AsyncConnection, schema: str) -> list[str]:
    missing = _missing(schema, await _applied(connection, schema))
    known = await connection.scalar(text(f"SELECT to_regclass('{schema}.alembic_version')"))
    if known and missing:
        current = await connection.scalar(
            text(f"SELECT version_num FROM {schema}.alembic_version")
        )
        if current is not None and current >= missing[0]:
            raise ForeignMigrationsError(f"{schema} {current} was applied before any release")
    return missing


def _upgrade(connection: Connection, schema: str) -> None:
    config = config_of(schema)
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:  # it stands at a revision that this code does not know
        raise ForeignMigrationsError(f"{schema}: {error}") from error


if __name__ == "__main__":
    if sys.argv[1:] != ["--freeze"]:
        sys.exit("python -m infra.postgres.migrations --freeze")
    freeze()
