"""Whom to erase, and how far that is: kept with the keys, and in a file apart from databases.

A row fences a person: the vault creates and opens no key of theirs any more. The file is what
a restored backup is compared with, so that it brings nobody back (docs/adr/0018).
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from contracts.erasure import ErasureReason
from infra.base.clock import rfc3339
from infra.postgres.database import Database
from infra.postgres.transaction import columns

BATCH = 500


@dataclass(frozen=True, slots=True)
class Erasure:
    """One person's erasure; what has not happened yet is None."""

    person_id: UUID
    reason: ErasureReason
    requested_at: datetime
    destroyed_at: datetime | None = None
    erased_at: datetime | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Erasure":
        """Read a row of ``vault.erasures``."""
        return cls(**{**row, "reason": ErasureReason(row["reason"])})


_COLUMNS = "person_id, reason, requested_at, destroyed_at, erased_at"
_FENCE = """
INSERT INTO vault.erasures (person_id, reason, requested_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) ON CONFLICT DO NOTHING
RETURNING person_id
"""
_DESTROY = """
WITH gone AS (DELETE FROM vault.person_keys WHERE person_id = ANY($1::uuid[]))
UPDATE vault.erasures SET destroyed_at = $2
WHERE person_id = ANY($1::uuid[]) AND destroyed_at IS NULL
"""


_MISSED = """
SELECT asked.person_id FROM unnest($1::uuid[]) AS asked (person_id)
WHERE NOT EXISTS (SELECT FROM forgotten f WHERE f.person_id = asked.person_id)
"""
_REOPEN = """
UPDATE vault.erasures e SET destroyed_at = NULL, erased_at = NULL
WHERE erased_at IS NOT NULL AND (person_id = ANY($1::uuid[])
  OR EXISTS (SELECT FROM vault.person_keys k WHERE k.person_id = e.person_id))
RETURNING person_id
"""


class Erasures:
    """The ledger: a table beside the keys, and a file that only grows."""

    def __init__(self, database: Database, file: Path) -> None:
        self._database = database
        self._file = file

    async def fence(self, erasures: Sequence[Erasure]) -> set[UUID]:
        """Remember that these are to be erased; return those who were not fenced before.

        The file first: what is in no database can still be replayed into one.
        """
        known = await self.find([e.person_id for e in erasures])
        fresh = [e for e in erasures if e.person_id not in known]
        if not fresh:
            return set()
        append_lines(self._file, map(to_line, fresh))
        return await self._fence(fresh)

    async def find(self, persons: Sequence[UUID]) -> dict[UUID, Erasure]:
        """The erasures of these persons, where there are any."""
        query = f"SELECT {_COLUMNS} FROM vault.erasures WHERE person_id = ANY($1::uuid[])"
        rows = await self._database.rows(query, list(persons))
        return {erasure.person_id: erasure for erasure in map(Erasure.of, rows)}

    async def unfinished(self, limit: int = BATCH) -> list[Erasure]:
        """Those that are not over, oldest first."""
        query = f"SELECT {_COLUMNS} FROM vault.erasures WHERE erased_at IS NULL"
        rows = await self._database.rows(f"{query} ORDER BY requested_at LIMIT $1", limit)
        return [Erasure.of(row) for row in rows]

    async def due(self, before: datetime, limit: int = BATCH) -> list[UUID]:
        """Persons fenced before a moment, whose keys are still there."""
        query = "SELECT person_id FROM vault.erasures WHERE destroyed_at IS NULL"
        rows = await self._database.rows(
            f"{query} AND requested_at <= $1 ORDER BY requested_at LIMIT $2", before, limit
        )
        return [row["person_id"] for row in rows]

    async def count_unfinished(self) -> int:
        """How many are not over."""
        query = "SELECT count(*) AS count FROM vault.erasures WHERE erased_at IS NULL"
        (row,) = await self._database.rows(query)
        return int(row["count"])

    async def destroy(self, persons: Sequence[UUID], now: datetime) -> None:
        """Delete the keys of fenced persons. Done twice, it is done once."""
        async with self._database.transaction() as tx:
            await tx.execute(_DESTROY, list(persons), now)

    async def finish(self, persons: Sequence[UUID], now: datetime) -> None:
        """Note that the log holds these persons' receipts."""
        async with self._database.transaction() as tx:
            await tx.execute(
                "UPDATE vault.erasures SET erased_at = $2 WHERE person_id = ANY($1::uuid[])",
                list(persons),
                now,
            )

    async def reopen(self, database: Database) -> set[UUID]:
        """Take up again what a restored backup brought back to a service, or to the vault.

        Before anything else runs: from here on no key of these persons is opened. Returns whose
        erasure is to be carried through once more.
        """
        # what the file knows and the table does not: the table is older than the file
        recorded = read_ledger(self._file)
        again = await self._fence(recorded) if recorded else set()
        ended = await self._database.rows(
            "SELECT person_id FROM vault.erasures WHERE erased_at IS NOT NULL"
        )
        rows = await database.rows(_MISSED, [row["person_id"] for row in ended])
        missed = [row["person_id"] for row in rows]
        async with self._database.transaction() as tx:
            reopened = await tx.fetch(_REOPEN, missed)
        return again | {row["person_id"] for row in reopened}

    async def over(self, persons: Iterable[UUID]) -> bool:
        """Whether all of these are erased."""
        erasures = await self.find(list(persons))
        return all(erasure.erased_at for erasure in erasures.values())

    async def _fence(self, erasures: Sequence[Erasure]) -> set[UUID]:
        async with self._database.transaction() as tx:
            rows = await tx.fetch(
                _FENCE, *columns((e.person_id, e.reason, e.requested_at) for e in erasures)
            )
        return {person_id for (person_id,) in rows}


def read_ledger(file: Path) -> list[Erasure]:
    """The erasures in a ledger file, the first word on each person; [] if there is no file."""
    by_person: dict[UUID, Erasure] = {}
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            item = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # cut short by a crash: it was never fenced
        erasure = Erasure(
            UUID(item["person_id"]),
            ErasureReason(item["reason"]),
            datetime.fromisoformat(item["requested_at"]),
        )
        by_person.setdefault(erasure.person_id, erasure)
    return list(by_person.values())


def append_lines(file: Path, lines: Iterable[bytes]) -> None:
    """Append to a file that only its owner can read, for good before this returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as ledger:
        ledger.write(b"".join(b"\n" + line for line in lines) + b"\n")
        ledger.flush()
        os.fsync(ledger.fileno())


def to_line(erasure: Erasure) -> bytes:
    """As the ledger's file has it."""
    return orjson.dumps(
        {
            "person_id": str(erasure.person_id),
            "reason": erasure.reason,
            "requested_at": rfc3339(erasure.requested_at),
        }
    )
