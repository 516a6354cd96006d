"""Read tables of a service: rebuilt from events, and compared with what the events say.

To compare, the events are folded into temporary tables of the same names: they hide the real
ones for one transaction, so that the very same fold fills them, and nobody waits for it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from infra.base.clock import Clock
from infra.keys.vault import Vault
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.readmodels.rebuild import hold_still
from infra.readmodels.reconciliation import Report, announce
from infra.workers.daily import DailyTask

LOCK_CLASS = 4714
STATEMENT_SECONDS = 1800
PAGE = 500
ALSO_READ = ("offsets", "forgotten")
"""What folds read besides, and never change."""
_KEY = """
SELECT a.attname FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = $1::regclass AND i.indisprimary ORDER BY array_position(i.indkey, a.attnum)
"""


@dataclass(frozen=True)
class Resealed:
    """A column that each fold seals anew: other bytes, which must open to the same.

    ``same_plaintext``: says so for each of the rows that it is given: the columns of the live
    table, and ``rebuilt``, the bytes of the rebuilt one; either may be null.
    """

    table: str
    column: str
    same_plaintext: Callable[[Vault, Sequence[Any]], Awaitable[Sequence[bool]]]


@dataclass(frozen=True)
class ReadTables:
    """The tables of one schema that ``fill`` folds from events, as far as they were heard.

    ``fill`` is given the vault for what is kept sealed; ``reads``: other tables of the schema
    that it looks at; ``resealed``: columns that are compared by what they open to.
    """

    schema: str
    names: Sequence[str]
    fill: Callable[[Transaction, Vault], Awaitable[int]]
    reads: Sequence[str] = ()
    resealed: Sequence[Resealed] = ()

    async def rebuild(self, tx: Transaction, vault: Vault) -> int:
        """Empty the tables and fill them again; answers from how many events of its own."""
        await hold_still(tx)
        await tx.execute(f"TRUNCATE {', '.join(self.names)}")
        return await self.fill(tx, vault)

    async def compare(self, database: Database, vault: Vault) -> list[Report]:
        """Each table against its rebuild, row by row; empty if another process is at it."""
        # one moment for events and tables: both were committed together
        async with database.snapshot() as tx:
            if not await tx.fetchval(
                "SELECT pg_try_advisory_xact_lock($1, hashtext($2))", LOCK_CLASS, self.schema
            ):
                return []
            await tx.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
            keys = {
                name: [column for (column,) in await tx.fetch(_KEY, f"{self.schema}.{name}")]
                for name in self.names
            }
            await self._shadow(tx)
            await self.fill(tx, vault)
            for column in self.resealed:
                await self._align_sealed(tx, vault, column, keys[column.table])
            return [await self._compared(tx, name, keys[name]) for name in self.names]

    def nightly(self, database: Database, vault: Vault, clock: Clock, hour: int) -> DailyTask:
        """A worker that compares each night, and says what it found."""

        async def work() -> None:
            announce(await self.compare(database, vault))

        return DailyTask("read-tables", work, clock, hour)

    async def _shadow(self, tx: Transaction) -> None:
        for name in self.names:
            await tx.execute(
                f"CREATE TEMPORARY TABLE {name} (LIKE {self.schema}.{name} INCLUDING ALL) "
                "ON COMMIT DROP"
            )
        for name in (*ALSO_READ, *self.reads):  # OFFSET: a view that nothing can be written to
            await tx.execute(
                f"CREATE TEMPORARY VIEW {name} AS SELECT * FROM {self.schema}.{name} OFFSET 0"
            )
        # a table that has no shadow is not found, rather than changed
        await tx.execute("SET LOCAL search_path = pg_temp")

    async def _align_sealed(
        self, tx: Transaction, vault: Vault, sealed: Resealed, key: Sequence[str]
    ) -> None:
        """Give rebuilt rows the bytes of the live ones, where both open to the same."""
        table, column = sealed.table, sealed.column
        cursor = await tx.cursor(
            f"SELECT live.*, rebuilt.{column} AS rebuilt, rebuilt.ctid::text AS place "
            f"FROM {self.schema}.{table} live JOIN pg_temp.{table} rebuilt ON {_joined(key)} "
            f"WHERE live.{column} IS DISTINCT FROM rebuilt.{column}"
        )
        while rows := await cursor.fetch(PAGE):
            same = await sealed.same_plaintext(vault, rows)
            aligned = [row for row, equal in zip(rows, same, strict=True) if equal]
            await tx.execute(
                f"UPDATE pg_temp.{table} rebuilt SET {column} = n.bytes "
                "FROM unnest($1::text[], $2::bytea[]) AS n (place, bytes) "
                "WHERE rebuilt.ctid = n.place::tid",
                [row["place"] for row in aligned],
                [row[column] for row in aligned],
            )

    async def _compared(self, tx: Transaction, name: str, key: Sequence[str]) -> Report:
        report = Report(f"{self.schema}.{name}")
        report.compared = await tx.fetchval(f"SELECT count(*) FROM {self.schema}.{name}")
        cursor = await tx.cursor(self._differences(name, key))
        while rows := await cursor.fetch(PAGE):
            for row in rows:
                report.add(*_difference(row))
        return report

    def _differences(self, name: str, key: Sequence[str]) -> str:
        """Rows that differ. As text, since ``json`` knows no equality; keys before values."""
        named = ", ".join(f"'{c}', coalesce(live.{c}, rebuilt.{c})" for c in key)
        return (
            f"SELECT json_build_object({named})::text AS key, "
            "to_jsonb(live)::text AS live, to_jsonb(rebuilt)::text AS rebuilt "
            f"FROM {self.schema}.{name} live "
            f"FULL JOIN pg_temp.{name} rebuilt ON {_joined(key)} "
            f"WHERE live::text IS DISTINCT FROM rebuilt::text ORDER BY 1"
        )


def _joined(key: Sequence[str]) -> str:
    return " AND ".join(f"live.{column} = rebuilt.{column}" for column in key)


def _difference(row: Any) -> tuple[str, str, str]:
    """Kind, key and columns; values may be personal and are not shown."""
    what = " ".join(f"{name}={value}" for name, value in orjson.loads(row["key"]).items())
    if row["live"] is None:
        return "missing row", what, "the events say it is there"
    if row["rebuilt"] is None:
        return "extra row", what, "no event says so"
    live, rebuilt = orjson.loads(row["live"]), orjson.loads(row["rebuilt"])
    columns = [name for name in rebuilt if live.get(name) != rebuilt[name]]
    return "changed row", what, f"not as the events say: {', '.join(columns) or 'its text'}"
