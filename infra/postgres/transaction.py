"""A transaction that speaks SQL: text with ``$1`` on the driver, or SQLAlchemy Core selects.

Statements on sets and hot appends are text: asyncpg runs them two to three times faster;
what routes and worklists read is selected with Core, whose tables a test compares with the
migrations (docs/adr/0031).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
from asyncpg.cursor import CursorFactory
from sqlalchemy import Row, Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncTransaction

Record = asyncpg.Record


class Transaction:
    """One connection of a service's pool: within a transaction, or reading without one."""

    def __init__(self, connection: AsyncConnection, driver: "asyncpg.Connection[Any]") -> None:
        self._connection = connection
        self._driver = driver

    @classmethod
    async def of(cls, connection: AsyncConnection) -> "Transaction":
        """The transaction that a connection is in; begun here if need be.

        SQLAlchemy begins lazily, with the first statement that goes through it. A statement
        sent to the driver before would commit by itself.
        """
        adapted = (await connection.get_raw_connection()).dbapi_connection
        driver: asyncpg.Connection[Any] | None = getattr(adapted, "driver_connection", None)
        if driver is None:
            raise RuntimeError("no driver connection")
        if not (driver.is_in_transaction() or getattr(adapted, "autocommit", False)):
            await connection.exec_driver_sql("SELECT 1")
        return cls(connection, driver)

    async def fetch(self, statement: str, *values: Any) -> list[Record]:
        """Return the rows that a statement gives."""
        return await self._driver.fetch(statement, *values)

    async def fetchrow(self, statement: str, *values: Any) -> Record | None:
        """Return the first row, or None."""
        return await self._driver.fetchrow(statement, *values)

    async def fetchval(self, statement: str, *values: Any) -> Any:
        """Return the first column of the first row, or None."""
        return await self._driver.fetchval(statement, *values)

    async def execute(self, statement: str, *values: Any) -> str:
        """Run a statement; return PostgreSQL's word for what it did (``UPDATE 1``)."""
        return await self._driver.execute(statement, *values)

    async def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row, sent together."""
        await self._driver.executemany(statement, rows)

    async def copy(
        self, schema: str, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Append rows by COPY, the fastest way for many."""
        await self._driver.copy_records_to_table(
            table, schema_name=schema, columns=names, records=rows
        )

    def cursor(self, statement: str, *values: Any) -> "CursorFactory[Record]":
        """Return a cursor: what is too much for memory is read in pages."""
        return self._driver.cursor(statement, *values)

    async def select(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        """Return the rows of a Core select."""
        rows: Sequence[Row[Any]] = (await self._connection.execute(statement)).all()
        return rows

    async def rollback(self) -> None:
        """Undo all of it: what was done was only to see what it would do."""
        await self._connection.rollback()

    def savepoint(self) -> AsyncTransaction:
        """Return a part that can fail by itself, as a context manager."""
        return self._connection.begin_nested()


def columns(rows: Iterable[Sequence[Any]], width: int = 0) -> list[list[Any]]:
    """Turn rows into the columns that ``unnest`` takes; ``width``: of rows that may be none."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
