"""The wall around a service: what its own connection cannot do, whatever statement it runs."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import randint
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from contracts.registry import SERVICES
from infra.base.settings import Settings
from infra.platform import command_context
from infra.postgres.database import async_url, login_url, render, role_of
from infra.postgres.embedded import EmbeddedPostgres
from infra.postgres.logins import UnknownPasswordError, create_login, with_passwords
from infra.postgres.migrations import SCHEMAS
from services.hub.operations.backups import back_up
from services.hub.operations.hub import migrate_all
from tests.support.postgres import Databases

PUBLISHED = {"events", "publication"}
"""What a service shows to the others: its events, and how far they are in topics."""


@asynccontextmanager
async def as_service(databases: Databases, schema: str) -> AsyncIterator[Any]:
    url = databases.vault_url if schema == "vault" else databases.url
    target = login_url(url, schema).set(drivername="postgresql")
    connection = await asyncpg.connect(render(target))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_service_stays_who_it_is_whatever_it_runs(databases: Databases, schema: str):
    async with as_service(databases, schema) as connection:
        for statement in ("RESET ROLE", "SET ROLE NONE", "RESET SESSION AUTHORIZATION"):
            await connection.execute(statement)
            assert await connection.fetchval("SELECT current_user") == role_of(schema)
        for other in {*SCHEMAS, "postgres"} - {schema}:
            name = other if other == "postgres" else role_of(other)
            for statement in (f"SET ROLE {name}", f"SET SESSION AUTHORIZATION {name}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE SCHEMA mine",
        "CREATE TABLE public.mine (n int)",
        "CREATE EXTENSION postgres_fdw",
        "CREATE ROLE mine",
        "ALTER ROLE postgres NOLOGIN",
        "SELECT pg_read_file('postgresql.conf')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT rolpassword FROM pg_authid",
    ],
)
async def test_service_may_nothing_outside_its_schema(
    databases: Databases, schema: str, statement: str
):
    async with as_service(databases, schema) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


@pytest.mark.parametrize("schema", SERVICES)
async def test_service_reads_of_others_what_they_publish_and_changes_nothing(
    databases: Databases, schema: str
):
    async with as_service(databases, schema) as connection:
        found = await connection.fetch(
            "SELECT n.nspname AS schema, c.relname AS name FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'r' AND n.nspname = ANY($1)", list(SERVICES),
        )  # fmt: skip
        assert {row["schema"] for row in found} == set(SERVICES)
        for row in found:
            table = f"{row['schema']}.{row['name']}"
            foreign = row["schema"] != schema
            if foreign and row["name"] in PUBLISHED:
                await connection.fetch(f"SELECT * FROM {table} LIMIT 1")
            elif foreign:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetch(f"SELECT * FROM {table}")
            changes = [f"INSERT INTO {table} DEFAULT VALUES"] if foreign else []
            if foreign or row["name"] in ("events", "migrations"):
                changes += [f"UPDATE {table} SET {await _column(connection, row)} = NULL",
                            f"DELETE FROM {table}", f"TRUNCATE {table}",
                            f"DROP TABLE {table}"]  # fmt: skip
            for statement in changes:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)


async def _column(connection: Any, row: Any) -> str:
    found = await connection.fetchval(
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = to_regclass($1)::oid "
        "AND attnum > 0 AND attidentity = '' LIMIT 1", f"{row['schema']}.{row['name']}",
    )  # fmt: skip
    return str(found)


async def test_logins_by_the_network_get_passwords_that_only_their_owner_reads(
    databases: Databases, tmp_path: Path
):
    """On a socket: what is written down is what the server was told."""
    engine = create_async_engine(async_url(with_passwords(databases.url, tmp_path)))
    query = "SELECT rolpassword FROM pg_authid WHERE rolname = 'aiguillage_audit'"
    try:
        async with engine.connect() as connection:
            await connection.execute(text("ALTER ROLE aiguillage_audit NOLOGIN PASSWORD NULL"))
            await create_login(connection, "audit")
            kept = await connection.scalar(text(query))
            await connection.rollback()
    finally:
        await engine.dispose()
    (line,) = (tmp_path / "pgpass").read_text().splitlines()
    assert line.startswith("*:*:*:aiguillage_audit:")
    assert len(line.rsplit(":", 1)[1]) >= 43
    assert kept.startswith("SCRAM-SHA-256$")
    assert stat.S_IMODE((tmp_path / "pgpass").stat().st_mode) == 0o600


@asynccontextmanager
async def by_the_network(directory: Path) -> AsyncIterator[str]:
    """The URL of a server that asks everybody for a password; its user is no superuser."""
    address = f"127.{randint(1, 250)}.{randint(1, 250)}.{randint(1, 250)}"
    server = EmbeddedPostgres(directory)
    await asyncio.to_thread(server.start)
    try:
        owner = await asyncpg.connect(server.url("postgres"))
        await owner.execute("CREATE ROLE boss LOGIN CREATEROLE CREATEDB PASSWORD 'b0ss'")
        await owner.execute(f"ALTER SYSTEM SET listen_addresses = '{address}'")
        await owner.close()
        (server.pgdata / "pg_hba.conf").write_text("host all all 127.0.0.0/8 scram-sha-256\n")
        server.stop()
        await asyncio.to_thread(server.start)
        yield f"postgresql://boss:b0ss@{address}:5432/aiguillage"
    finally:
        server.stop("immediate")


async def test_by_the_network_each_service_logs_in_with_a_password_of_its_own(tmp_path: Path):
    with TemporaryDirectory(prefix="aiguillage-logins-") as name:
        async with by_the_network(Path(name)) as url:
            settings = Settings(data=tmp_path / "hub", database_url=url)
            assert set(await migrate_all(settings)) == set(SCHEMAS)
            assert await migrate_all(settings)  # again, with the same passwords
            passwords = (settings.data / "pgpass").read_text().splitlines()
            assert len({line.rsplit(":", 1)[1] for line in passwords}) == len(SCHEMAS)
            async with command_context(settings) as platform:
                for schema in SERVICES:
                    database = platform.database(schema)
                    (row,) = await database.rows("SELECT session_user::text AS who")
                    assert row["who"] == role_of(schema)
                    await database.close()
            assert (await back_up(settings, tmp_path / "d", tmp_path / "k")).erasures == 0
            other = settings.model_copy(update={"data": tmp_path / "another hub"})
            with pytest.raises(UnknownPasswordError, match="its password is not in"):
                await migrate_all(other)
