"""Refused records of the public topic: shown to whoever produced them, counted, and deleted.

Kafka has no answer to a producer. A record is asked for by its place, which a producer knows
from the broker's acknowledgement, or by the source that it names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
import structlog

from contracts import envelope
from contracts.sources import normal_source
from infra.base.clock import Clock
from infra.keys.key_ring import KeyRing
from infra.keys.master_key import IndexKey
from infra.keys.vault import keyed_digest
from infra.messaging.sources.base import ForeignRecord
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.intake import tables
from services.intake.handlers.kept import opened

MAX_LISTED = 500
EXPIRED_RECORDS = 500
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused record: where it is, which event it names, what was wrong with which fields."""

    id: str | None
    topic: str
    partition: int
    offset: int
    reason: str
    fields: Sequence[str]
    refused_at: datetime


class Refusals:
    """Reads what was refused, for whoever produced it."""

    def __init__(self, database: Database, master: KeyRing, index: IndexKey) -> None:
        self._database = database
        self._master = master
        self._index = index

    async def of_source(self, source: str) -> list[Refused]:
        """The newest refused records that name a source, with the ids that they name."""
        rows = await self._rows(tables.REFUSED_OF, sender_digest(self._index, source))
        keys = await self._master.keys(row["raw"] for row in rows)
        return [_refused(row, _text_id(opened(row, keys))) for row in rows]

    async def at(self, topic: str, partition: int, offset: int) -> list[Refused]:
        """The refused record at a place, if there is one; nothing of its text."""
        rows = await self._rows(tables.REFUSED_AT, topic, partition, offset)
        return [_refused(row, None) for row in rows]

    async def _rows(self, statement: str, *values: Any) -> list[Any]:
        async with self._database.reading() as connection:
            return list(await connection.fetch(statement, *values))


@dataclass(frozen=True)
class RefusedRetention:
    """Deletes refused records after so many days.

    One may hold what a person wants erased later, and nobody can tell whose it is.
    """

    database: Database
    clock: Clock
    days: int

    async def step(self) -> int:
        """Delete a set of those that are too old; return how many."""
        async with self.database.transaction() as tx:
            until = self.clock() - timedelta(days=self.days)
            deleted = await tx.fetch(tables.FORGET_REFUSED, until, EXPIRED_RECORDS)
        if deleted:
            log.info("refused records deleted, too old", count=len(deleted))
        return len(deleted)


async def count_refused(tx: Transaction) -> dict[str, int]:
    """Return how many refused records wait, by reason."""
    return {reason: count for reason, count in await tx.fetch(tables.COUNT_REFUSED)}


def sender_digest(index: IndexKey, source: str | None) -> bytes | None:
    """What a refused record is found by; none for one that names no source."""
    if source is None:
        return None
    return keyed_digest(index.derive("intake-refused"), normal_source(source).encode())


def named_source(record: ForeignRecord) -> str | None:
    """The source that a record names, however wrong the rest of it is."""
    return _named(record, "source")


def _text_id(record: ForeignRecord) -> str | None:
    return _named(record, "id")


def _named(record: ForeignRecord, attribute: str) -> str | None:
    for name, value in record.headers:
        if name.lower() == f"ce_{attribute}" and value:
            return value.decode("utf-8", "replace")[: envelope.MAX_ATTRIBUTE_CHARS]
    try:
        found = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    value = found.get(attribute) if isinstance(found, dict) else None
    return value[: envelope.MAX_ATTRIBUTE_CHARS] if isinstance(value, str) else None


def _refused(row: Any, event_id: str | None) -> Refused:
    return Refused(
        event_id, row["topic"], row["partition"], row["offset"],
        row["reason"], list(row["fields"]), row["refused_at"],
    )  # fmt: skip
