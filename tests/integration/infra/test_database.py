"""The pool of a service: what a server that hung up leaves in it is not used again."""

import asyncio
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from tests.support.postgres import Databases

CLOSE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
POOLED = 3


@pytest.fixture
async def database(databases: Databases) -> Any:
    made = databases.of("referrals")
    yield made
    await made.close()


async def held(database: Database) -> None:
    """A reading that lasts, so that the next one needs a connection of its own."""
    async with database.reading() as connection:
        await connection.fetchval("SELECT pg_sleep(0.1)")


async def cut(databases: Databases) -> None:
    """Close every connection, and wait until this side has seen it."""
    owner = await asyncpg.connect(databases.url)
    await owner.execute(CLOSE)
    await owner.close()
    await asyncio.sleep(0.2)


async def test_readings_after_the_server_closed_every_connection_get_new_ones(
    databases: Databases, database: Database
):
    await asyncio.gather(*(held(database) for _ in range(POOLED)))
    await cut(databases)
    for _ in range(POOLED):
        assert await database.rows("SELECT 1 AS one") == [{"one": 1}]


async def test_transactions_after_the_server_closed_every_connection_get_new_ones(
    databases: Databases, database: Database
):
    await asyncio.gather(*(held(database) for _ in range(POOLED)))
    await cut(databases)
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT 1") == 1


async def test_a_reading_holds_no_transaction_open(database: Database):
    async def two_moments(tx: Transaction) -> set[datetime]:
        return {await tx.fetchval("SELECT now()") for _ in range(2)}

    async with database.reading() as tx:
        assert len(await two_moments(tx)) == 2
    async with database.transaction() as tx:
        assert len(await two_moments(tx)) == 1  # that of its beginning
