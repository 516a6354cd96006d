"""Read tables of a service: rebuilt from events, and compared with what the events say.

To compare, the events are folded into temporary tables of the same names: they hide the real
ones for one transaction, so that the very same fold fills them, and nobody waits for it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.clock import Clock
from infra.database import Database, driver
from infra.nightly import Nightly
from infra.rebuilding import hold_still
from infra.reconciliation import Report, announce

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
class ReadTables:
    """The tables of one schema that ``fill`` folds from events, as far as they were heard.

    ``reads``: other tables of the schema that the fold looks at.
    ``unsaid``: columns that say what no event says (yet): a partner's word on its way.
    """

    schema: str
    names: Sequence[str]
    fill: Callable[[AsyncConnection], Awaitable[int]]
    reads: Sequence[str] = ()
    unsaid: Mapping[str, Sequence[str]] = field(default_factory=dict)

    async def rebuild(self, tx: AsyncConnection) -> int:
        """Empty the tables and fill them again; answers from how many events of its own."""
        await hold_still(tx)
        await (await driver(tx)).execute(f"TRUNCATE {', '.join(self.names)}")
        return await self.fill(tx)

    async def compare(self, database: Database) -> list[Report]:
        """Each table against its rebuild, row by row; empty if another process is at it."""
        async with database.engine.connect() as connection:
            # one moment for events and tables: both were committed together
            tx = await connection.execution_options(isolation_level="REPEATABLE READ")
            raw = await driver(tx)
            if not await raw.fetchval(
                "SELECT pg_try_advisory_xact_lock($1, hashtext($2))", LOCK_CLASS, self.schema
            ):
                return []
            await raw.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
            keys = {name: await self._key(raw, name) for name in self.names}
            await self._shadow(raw)
            await self.fill(tx)
            for name, columns in self.unsaid.items():
                await raw.execute(self._copy(name, keys[name], columns))
            return [await self._compared(raw, name, keys[name]) for name in self.names]

    def nightly(self, database: Database, clock: Clock, hour: int) -> Nightly:
        """A worker that compares each night, and says what it found."""

        async def work() -> None:
            announce(await self.compare(database))

        return Nightly("read-tables", work, clock, hour)

    async def _key(self, raw: Any, name: str) -> list[str]:
        return [row["attname"] for row in await raw.fetch(_KEY, f"{self.schema}.{name}")]

    async def _shadow(self, raw: Any) -> None:
        for name in self.names:
            await raw.execute(
                f"CREATE TEMPORARY TABLE {name} (LIKE {self.schema}.{name} INCLUDING ALL) "
                "ON COMMIT DROP"
            )
        for name in (*ALSO_READ, *self.reads):  # OFFSET: a view that nothing can be written to
            await raw.execute(
                f"CREATE TEMPORARY VIEW {name} AS SELECT * FROM {self.schema}.{name} OFFSET 0"
            )
        # a table that has no shadow is not found, rather than changed
        await raw.execute("SET LOCAL search_path = pg_temp")

    def _copy(self, name: str, key: Sequence[str], columns: Sequence[str]) -> str:
        changes = ", ".join(f"{column} = now.{column}" for column in columns)
        return (
            f"UPDATE pg_temp.{name} told SET {changes} "
            f"FROM {self.schema}.{name} now WHERE {_joined(key)}"
        )

    async def _compared(self, raw: Any, name: str, key: Sequence[str]) -> Report:
        report = Report(f"{self.schema}.{name}")
        report.compared = await raw.fetchval(f"SELECT count(*) FROM {self.schema}.{name}")
        cursor = await raw.cursor(self._differences(name, key))
        while rows := await cursor.fetch(PAGE):
            for row in rows:
                report.add(*_difference(row))
        return report

    def _differences(self, name: str, key: Sequence[str]) -> str:
        """Rows that differ. As text, since ``json`` knows no equality; keys before values."""
        named = ", ".join(f"'{c}', coalesce(now.{c}, told.{c})" for c in key)
        return (
            f"SELECT json_build_object({named})::text AS key, "
            "to_jsonb(now)::text AS now, to_jsonb(told)::text AS told "
            f"FROM {self.schema}.{name} now FULL JOIN pg_temp.{name} told ON {_joined(key)} "
            f"WHERE now::text IS DISTINCT FROM told::text ORDER BY 1"
        )


def _joined(key: Sequence[str]) -> str:
    return " AND ".join(f"now.{column} = told.{column}" for column in key)


def _difference(row: Any) -> tuple[str, str, str]:
    """Kind, key and columns; values may be personal and are not shown."""
    what = " ".join(f"{name}={value}" for name, value in orjson.loads(row["key"]).items())
    if row["now"] is None:
        return "missing row", what, "the events say it is there"
    if row["told"] is None:
        return "extra row", what, "no event says so"
    now, told = orjson.loads(row["now"]), orjson.loads(row["told"])
    columns = [name for name in told if now.get(name) != told[name]]
    return "changed row", what, f"not as the events say: {', '.join(columns) or 'its text'}"
