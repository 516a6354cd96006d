"""Create databases, schemas and roles, then run each service's own alembic migrations."""

import importlib
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from contracts.registry import SERVICES
from infra.database import async_url, role_of

SCHEMAS = (*SERVICES, "vault")
_LOCK = 4710  # one migration at a time, whoever starts first


def config_of(schema: str) -> Config:
    """Alembic's configuration of one schema: scripts beside the code that uses the tables."""
    config = Config()
    package = "infra.vault_migrations" if schema == "vault" else f"services.{schema}.migrations"
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(_directory(package)))
    config.set_main_option("path_separator", "os")
    config.attributes["schema"] = schema
    return config


async def migrate(url: str, keys_url: str) -> dict[str, str | None]:
    """Bring every schema to its newest revision; answer schema → revision."""
    for database in (url, keys_url):
        await _create_database(database)
    revisions = {}
    for schema in SCHEMAS:
        revisions[schema] = await _migrate_schema(
            keys_url if schema == "vault" else url, schema
        )
    return revisions


async def create_roles(url: str, keys_url: str) -> None:
    """The roles alone: what a backup grants rights to must be there before it is loaded."""
    for database in (url, keys_url):
        engine = create_async_engine(async_url(database))
        async with engine.begin() as connection:
            for name in SCHEMAS:
                await _create_role(connection, name)
        await engine.dispose()


async def pending(url: str, keys_url: str) -> dict[str, list[str]]:
    """Schema → revisions not yet applied; empty where all is up to date."""
    missing = {}
    for schema in SCHEMAS:
        engine = create_async_engine(async_url(keys_url if schema == "vault" else url))
        async with engine.connect() as connection:
            missing[schema] = await connection.run_sync(_pending, schema)
        await engine.dispose()
    return {schema: revisions for schema, revisions in missing.items() if revisions}


def _directory(package: str) -> Path:
    (found,) = importlib.import_module(package).__path__
    return Path(found)


async def _create_database(url: str) -> None:
    target = make_url(url)
    engine = create_async_engine(
        async_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT"
    )
    async with engine.connect() as connection:
        await connection.execute(text(f"SELECT pg_advisory_lock({_LOCK})"))
        known = await connection.scalar(
            text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": target.database}
        )
        if not known:
            await connection.execute(text(f'CREATE DATABASE "{target.database}"'))
    await engine.dispose()


async def _migrate_schema(url: str, schema: str) -> str | None:
    engine = create_async_engine(async_url(url))
    async with engine.begin() as connection:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        for name in SCHEMAS:
            await _create_role(connection, name)
        await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        await connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {role_of(schema)}"))
        revision = await connection.run_sync(_upgrade, schema)
    await engine.dispose()
    return revision


async def _create_role(connection: AsyncConnection, schema: str) -> None:
    role = role_of(schema)
    known = await connection.scalar(
        text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}
    )
    if not known:
        await connection.execute(text(f"CREATE ROLE {role} NOLOGIN"))
        await connection.execute(text(f"GRANT {role} TO CURRENT_USER"))


def _upgrade(connection: Connection, schema: str) -> str | None:
    config = config_of(schema)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return ScriptDirectory.from_config(config).get_current_head()


def _pending(connection: Connection, schema: str) -> list[str]:
    script = ScriptDirectory.from_config(config_of(schema))
    context = MigrationContext.configure(connection, opts={"version_table_schema": schema})
    current = context.get_current_revision()
    return [s.revision for s in script.iterate_revisions("head", current or "base")][::-1]
