"""The tables that Core selects name are those that the migrations make."""

from importlib import import_module
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from contracts.registry import SERVICES
from infra.eventstore.tables import SHARED
from infra.postgres.database import async_url
from tests.support.postgres import Databases

KEPT_BY_ALEMBIC = {"migrations", "alembic_version"}
COMPARED = {"table", "column"}


def declared(service: str) -> MetaData:
    metadata: MetaData = import_module(f"services.{service}.tables.schema").METADATA
    return metadata


def together(*parts: MetaData) -> MetaData:
    """One of all: alembic compares a schema as a whole."""
    whole = MetaData()
    for part in parts:
        for table in part.tables.values():
            table.to_metadata(whole)
    return whole


def differences(connection: Connection, metadata: MetaData) -> list[Any]:
    """What alembic would have to change, and keys that differ: it compares no primary keys."""

    def counts(item: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
        if kind == "table" and reflected and name not in metadata.tables:
            return name not in KEPT_BY_ALEMBIC
        return kind in COMPARED

    context = MigrationContext.configure(connection, opts={"include_object": counts})
    found: list[Any] = compare_metadata(context, metadata)
    inspector = inspect(connection)
    for name, table in metadata.tables.items():
        if inspector.has_table(name):
            key = inspector.get_pk_constraint(name)["constrained_columns"]
            ours = [column.name for column in table.primary_key]
            found += [(name, key, ours)] if key != ours else []
    return found


async def compared(databases: Databases, service: str, metadata: MetaData) -> list[Any]:
    engine = create_async_engine(
        async_url(databases.url), connect_args={"server_settings": {"search_path": service}}
    )
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(lambda plain: differences(plain, metadata))
    finally:
        await engine.dispose()


@pytest.mark.parametrize("service", SERVICES)
async def test_declared_tables_are_those_of_the_migrations(
    databases: Databases, service: str
) -> None:
    assert await compared(databases, service, together(SHARED, declared(service))) == []


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE intake.limits ADD COLUMN why text",
        "ALTER TABLE intake.limits ALTER COLUMN since DROP NOT NULL",
        "ALTER TABLE intake.limits ALTER COLUMN since TYPE date",
        "ALTER TABLE intake.limits DROP CONSTRAINT limits_pkey",
        "DROP TABLE intake.limits",
        "CREATE TABLE intake.strange (id int)",
    ],
)
async def test_migration_that_nobody_declares_is_seen(
    databases: Databases, change: str
) -> None:
    async with databases.owner() as owner:
        await owner.execute(change)
    metadata = together(SHARED, declared("intake"))
    assert len(await compared(databases, "intake", metadata)) == 1
