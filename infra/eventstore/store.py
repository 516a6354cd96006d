"""Append and read the events of one service, in its schema's ``events`` table.

Order: a statement-level trigger takes an advisory lock before positions are drawn and keeps it
until commit, so position order is commit order and a reader that asks for "position > n" never
misses an event (docs/adr/0003). Therefore: append last, commit at once.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from infra.eventstore.events import EventMetadata, NewEvent, StoredEvent
from infra.eventstore.upcast import upcast
from infra.postgres.transaction import Transaction, columns
from infra.tlog.commitment import SALT_BYTES

ANY = -1
"""Expected version of a stream whose version does not matter to the writer."""
NO_STREAM = 0
"""Expected version of a stream that must not exist yet."""
COPY_FROM = 2000
"""From so many rows, COPY is faster than one INSERT (measured: `make bench ONLY=append`)."""

_COLUMNS = (
    "event_id", "stream", "version", "type", "person_id", "occurred_at", "recorded_at",
    "data", "sealed", "meta", "salt", "sealed_salt", "sealed_commitment", "entry",
)  # fmt: skip
_TYPES = (
    "uuid", "text", "int", "text", "uuid", "timestamptz", "timestamptz", "text", "bytea",
    "text", "bytea", "bytea", "bytea", "bytea",
)  # fmt: skip
_ROWS = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_TYPES, 1))
_SELECTED = ", ".join(f"{c}::json" if c in ("data", "meta") else c for c in _COLUMNS)
_READ = ", ".join(f"{c}::text" if c in ("data", "meta") else c for c in _COLUMNS[:-1])
_ONE = ", ".join(
    f"${n}::{'json' if c in ('data', 'meta') else t}"
    for n, (c, t) in enumerate(zip(_COLUMNS, _TYPES, strict=True), 1)
)


class ConcurrencyError(Exception):
    """Somebody else appended to the stream first: load again, decide again."""


@dataclass(frozen=True, slots=True)
class Append:
    """Events for one stream, and the version it must have before them."""

    stream: str
    events: Sequence[NewEvent]
    expected: int = ANY


class EventStore:
    """The ``events`` table of one service.

    ``as_stored``: read old events in their own words (no upcasting), as the log hashes them.
    """

    def __init__(self, service: str, *, as_stored: bool = False) -> None:
        self.service = service
        self._as_stored = as_stored
        self._table = f"{service}.events"
        columns = ", ".join(_COLUMNS)
        self._insert_one = (
            f"INSERT INTO {self._table} ({columns}) VALUES ({_ONE}) RETURNING position"
        )
        self._insert_many = (
            f"INSERT INTO {self._table} ({columns}) SELECT {_SELECTED} FROM unnest({_ROWS}) "
            f"WITH ORDINALITY AS new ({columns}, ord) ORDER BY ord RETURNING position"
        )
        self._select = f"SELECT position, {_READ} FROM {self._table}"

    async def append(
        self, tx: Transaction, appends: Sequence[Append], recorded_at: datetime
    ) -> list[StoredEvent]:
        """Append to streams in one statement; the transaction must end at once after it.

        Draws the salts that hide each event in the log. Raises ``ConcurrencyError`` if a
        stream is not at its expected version, ``EventTooLargeError`` for what some reader
        would refuse.
        """
        recorded = await self._versioned(tx, appends, recorded_at)
        if not recorded:
            return []
        try:
            positions = await self._insert(tx, [_row(event) for event in recorded])
        except asyncpg.UniqueViolationError as error:
            raise ConcurrencyError(str(error.constraint_name)) from error
        placed = zip(recorded, positions, strict=True)
        return [replace(event, position=position) for event, position in placed]

    async def load(self, tx: Transaction, stream: str) -> list[StoredEvent]:
        """All events of one stream, oldest first."""
        return (await self.load_many(tx, [stream])).get(stream, [])

    async def load_many(
        self, tx: Transaction, streams: Sequence[str]
    ) -> dict[str, list[StoredEvent]]:
        """All events of several streams in one query; streams without events are absent."""
        rows = await tx.fetch(
            f"{self._select} WHERE stream = ANY($1) ORDER BY stream, version", list(streams)
        )
        by_stream: dict[str, list[StoredEvent]] = {}
        for row in rows:
            by_stream.setdefault(row["stream"], []).append(self._recorded(row))
        return by_stream

    async def read(self, tx: Transaction, after: int, limit: int) -> list[StoredEvent]:
        """Up to ``limit`` events with a position above ``after``, in commit order."""
        rows = await tx.fetch(
            f"{self._select} WHERE position > $1 ORDER BY position LIMIT $2", after, limit
        )
        return [self._recorded(row) for row in rows]

    async def at(self, tx: Transaction, position: int) -> StoredEvent:
        """The event at a position; raises ``LookupError`` if there is none.

        Whatever else it raises is about the row: it cannot be read.
        """
        row = await tx.fetchrow(f"{self._select} WHERE position = $1", position)
        if row is None:
            raise LookupError(f"{self._table} has no position {position}")
        return self._recorded(row)

    async def places(self, tx: Transaction, after: int, limit: int) -> list[tuple[int, str]]:
        """Positions above ``after`` and the keys there, whatever else the rows say."""
        rows = await tx.fetch(
            f"SELECT position, coalesce(person_id::text, stream) AS key FROM {self._table} "
            "WHERE position > $1 ORDER BY position LIMIT $2",
            after, limit,
        )  # fmt: skip
        return [(position, key) for position, key in rows]

    async def strange(self, tx: Transaction, events: Sequence[tuple[int, UUID]]) -> list[int]:
        """Those of these positions at which the table has no event, or one of another id."""
        rows = await tx.fetch(
            "SELECT given.position FROM unnest($1::bigint[], $2::uuid[]) "
            f"AS given (position, event_id) WHERE NOT EXISTS (SELECT FROM {self._table} e "
            "WHERE e.position = given.position AND e.event_id = given.event_id) ORDER BY 1",
            [position for position, _ in events], [event_id for _, event_id in events],
        )  # fmt: skip
        return [position for (position,) in rows]

    async def at_all(self, tx: Transaction, positions: Sequence[int]) -> list[StoredEvent]:
        """Those events at these positions that are there, in commit order."""
        rows = await tx.fetch(
            f"{self._select} WHERE position = ANY($1) ORDER BY position", list(positions)
        )
        return [self._recorded(row) for row in rows]

    async def head(self, tx: Transaction) -> int:
        """The highest position, 0 if there is none."""
        return int(await tx.fetchval(f"SELECT coalesce(max(position), 0) FROM {self._table}"))

    async def recorded_from(self, tx: Transaction, position: int) -> datetime | None:
        """When the first event at or above a position was recorded; None if there is none.

        Without those whose moment no driver can read.
        """
        at: datetime | None = await tx.fetchval(
            f"SELECT recorded_at FROM {self._table} WHERE position >= $1 AND "
            "recorded_at BETWEEN '1970-01-01Z' AND '9000-01-01Z' ORDER BY position LIMIT 1",
            position,
        )
        return at

    async def _versioned(
        self, tx: Transaction, appends: Sequence[Append], recorded_at: datetime
    ) -> list[StoredEvent]:
        unknown = [a.stream for a in appends if a.expected == ANY]
        versions: dict[str, int] = {}
        if unknown:
            rows = await tx.fetch(
                f"SELECT stream, max(version) FROM {self._table} "
                "WHERE stream = ANY($1) GROUP BY stream",
                unknown,
            )
            versions = {stream: version for stream, version in rows}
        recorded: list[StoredEvent] = []
        # all salts that may be needed, from one call to the system
        drawn = os.urandom(SALT_BYTES * 2 * sum(len(append.events) for append in appends))
        salts = (drawn[n : n + SALT_BYTES] for n in range(0, len(drawn), SALT_BYTES))
        for append in appends:
            start = append.expected if append.expected != ANY else None
            version = versions.get(append.stream, 0) if start is None else start
            for event in append.events:
                version += 1
                recorded.append(
                    StoredEvent(
                        service=self.service,
                        position=0,
                        event_id=event.event_id,
                        stream=append.stream,
                        version=version,
                        type=event.type,
                        person_id=event.person_id,
                        occurred_at=event.occurred_at,
                        recorded_at=recorded_at,
                        data=event.data,
                        sealed=event.sealed,
                        meta=event.meta,
                        salt=next(salts),
                        sealed_salt=next(salts) if event.sealed is not None else None,
                    )
                )
            versions[append.stream] = version
        return recorded

    async def _insert(self, tx: Transaction, rows: list[tuple[Any, ...]]) -> list[int]:
        if len(rows) == 1:
            return [await tx.fetchval(self._insert_one, *rows[0])]
        if len(rows) < COPY_FROM:
            drawn = await tx.fetch(self._insert_many, *columns(rows))
            return [position for (position,) in drawn]
        await tx.copy(self.service, "events", _COLUMNS, rows)
        last = int(await tx.fetchval(f"SELECT currval('{self._table}_position_seq')"))
        return list(range(last - len(rows) + 1, last + 1))  # drawn under the lock: no holes

    def _recorded(self, row: Any) -> StoredEvent:
        event_type, data = row["type"], row["data"]
        if not self._as_stored:
            event_type, data = upcast(event_type, data)
        return StoredEvent(
            self.service, row["position"], row["event_id"], row["stream"], row["version"],
            event_type, row["person_id"], row["occurred_at"], row["recorded_at"], data,
            row["sealed"], EventMetadata.parse(row["meta"]), row["salt"], row["sealed_salt"],
            None if row["sealed"] else row["sealed_commitment"],
        )  # fmt: skip


def _row(event: StoredEvent) -> tuple[Any, ...]:
    event.require_readable()
    seal = event.committed_seal()
    return (
        event.event_id, event.stream, event.version, event.type, event.person_id,
        event.occurred_at, event.recorded_at, event.data, event.sealed, event.meta.json(),
        event.salt, event.sealed_salt, seal, event.entry_with(seal),
    )  # fmt: skip
