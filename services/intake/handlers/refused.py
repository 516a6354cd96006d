"""Refused records of the public topic: listed for producers, counted, deleted.

Kafka has no answer to a producer. A record is asked for by its place, which a producer knows
from the broker's acknowledgement, or by the source that it names.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
import structlog
from sqlalchemy import select

from contracts import envelope
from contracts.sources import normal_source
from infra.base.clock import Clock
from infra.keys.key_ring import KeyRing
from infra.keys.master_key import IndexKey
from infra.keys.vault import keyed_digest
from infra.messaging.sources.base import ForeignRecord
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.intake.handlers.kept import Place, opened
from services.intake.tables import statements
from services.intake.tables.schema import REFUSED_RECORDS

MAX_LISTED = 500
EXPIRED_RECORDS = 500
_KEPT = REFUSED_RECORDS.c
_SHOWN = (
    _KEPT.topic,
    _KEPT.partition,
    _KEPT.offset,
    _KEPT.reason,
    _KEPT.fields,
    _KEPT.refused_at,
)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused record: where it is, which event it names, what was wrong with which fields."""

    id: str | None
    topic: str
    partition: int
    offset: int
    reason: str
    fields: list[str]
    refused_at: datetime


class Refusals:
    """Lists refused records, for the systems that produced them."""

    def __init__(self, database: Database, master: KeyRing, index: IndexKey) -> None:
        self._database = database
        self._master = master
        self._index = index

    async def of_source(self, source: str) -> list[Refused]:
        """Return the newest refused records that name a source, with the ids that they name."""
        newest = (
            select(*_SHOWN, _KEPT.raw)
            .where(_KEPT.sender == sender_digest(self._index, source))
            .order_by(_KEPT.refused_at.desc(), _KEPT.partition, _KEPT.offset.desc())
            .limit(MAX_LISTED)
        )
        async with self._database.reading() as connection:
            rows = await connection.select(newest)
        keys = await self._master.keys(row.raw for row in rows)
        listed = []
        for row in rows:
            *shown, raw = tuple(row)
            record = opened(Place(*shown[:3]), raw, keys)
            listed.append(Refused(_named(record, "id"), *shown))
        return listed

    async def at(self, place: Place) -> list[Refused]:
        """Return the refused record at a place, if there is one; nothing of its text."""
        one = select(*_SHOWN).where(
            _KEPT.topic == place.topic,
            _KEPT.partition == place.partition,
            _KEPT.offset == place.offset,
        )
        async with self._database.reading() as connection:
            rows = await connection.select(one)
        return [Refused(None, *shown) for (*shown,) in rows]


@dataclass(frozen=True)
class RefusedRetention:
    """Deletes refused records after so many days.

    One may hold what a person wants erased later, and it is not known whose it is.
    """

    database: Database
    clock: Clock
    days: int

    async def step(self) -> int:
        """Delete a set of those that are too old; return how many."""
        async with self.database.transaction() as tx:
            until = self.clock() - timedelta(days=self.days)
            deleted = await tx.fetch(statements.FORGET_REFUSED, until, EXPIRED_RECORDS)
        if deleted:
            log.info("refused records deleted, too old", count=len(deleted))
        return len(deleted)


async def count_refused(tx: Transaction) -> dict[str, int]:
    """Return how many refused records wait, by reason."""
    return {reason: count for reason, count in await tx.fetch(statements.COUNT_REFUSED)}


def sender_digest(index: IndexKey, source: str | None) -> bytes | None:
    """Return the digest that refused records of a source are found by."""
    if source is None:
        return None
    return keyed_digest(index.derive("intake-refused"), normal_source(source).encode())


def named_source(record: ForeignRecord) -> str | None:
    """Return the source that a record names, however wrong the rest of it is."""
    return _named(record, "source")


def _named(record: ForeignRecord, attribute: str) -> str | None:
    for name, value in record.headers:
        if name.lower() == f"ce_{attribute}" and value:
            return value.decode("utf-8", "replace")[: envelope.MAX_ATTRIBUTE_CHARS]
    try:
        event = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    value = event.get(attribute) if isinstance(event, dict) else None
    return value[: envelope.MAX_ATTRIBUTE_CHARS] if isinstance(value, str) else None
