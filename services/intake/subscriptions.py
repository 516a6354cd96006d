"""What the intake listens to: its own events, what becomes of cases, and what systems produce
straight to Kafka.

The latter is the same as by HTTP, without an answer. A record that cannot be taken is kept,
encrypted, with the reason, and stops nobody.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from contracts import envelope
from contracts.checks.nir import find_nir, may_hold_nir
from contracts.envelope import ContentTypeError, Envelope, EnvelopeError, NotJSONError
from contracts.public import PUBLIC_TYPES
from infra.base.clock import Clock
from infra.base.settings import Settings
from infra.eventstore.events import StoredEvent
from infra.eventstore.store import ConcurrencyError
from infra.keys.key_ring import KeyRing
from infra.messaging.kafka_client import MAX_PUBLIC_BYTES
from infra.messaging.sources.base import ForeignRecord
from infra.messaging.sources.postgres import PostgresSource
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.postgres.database import Database, is_infrastructure
from infra.postgres.transaction import Transaction, columns
from infra.web.auth import Principal
from infra.web.problems import Internal, Problem, TooLarge
from services.intake import tables
from services.intake.handlers.arrivals import Intake, Outcome
from services.intake.handlers.erasure import Erasing
from services.intake.handlers.inbound import (
    InboundEvent,
    InboundValidator,
    envelope_problem,
    nir_refused,
)
from services.intake.handlers.kept import closed, opened, place_of
from services.intake.handlers.persons import Persons
from services.intake.handlers.refused import named_source, sender_digest
from services.intake.handlers.retention import Retention

KAFKA = Principal("kafka", "system", ("*",))
REPLAY_RECORDS = 200
EXPIRED_RECORDS = 500
RETENTION_SECONDS = 3600.0
log = structlog.get_logger()


def subscriptions(
    platform: Platform,
    database: Database,
    persons: Persons,
    erasing: Erasing,
    retention: Retention,
) -> list[Subscription[StoredEvent]]:
    """``persons`` finds duplicates, ``rights`` keeps limits and forgets erased persons,
    ``retention`` remembers who was here when, ``cases`` what is still open with them."""

    def own() -> PostgresSource:
        return PostgresSource(database, "intake")  # nobody but us reads them before they relay

    heard = persons.on_own_events
    return [
        platform.subscription("persons", database, "intake", heard, own()),
        platform.subscription("retention", database, "intake", retention.on_own_events, own()),
        platform.subscription("cases", database, "referrals", retention.on_referrals),
        platform.subscription(
            "rights", database, "intake", erasing.on_own_events, own(), include_erased=True
        ),
    ]


def public_records(
    settings: Settings, database: Database, records: "PublicRecords"
) -> Subscription[ForeignRecord]:
    """``public``: the topic that municipal systems produce to."""
    from infra.messaging.sources.public import public_source

    return Subscription(
        "public",
        database,
        public_source(settings, "intake.public"),
        records.handle,
        batch_size=settings.batch_size,
        poll_seconds=settings.poll_seconds,
        max_parked_share=settings.max_parked_share,
        alarm_seconds=settings.lag_alarm_seconds,
    )


class PublicRecords:
    """The handler of the public topic's subscription, and of what it had to refuse."""

    def __init__(
        self, gate: InboundValidator, intake: Intake, master: KeyRing, clock: Clock
    ) -> None:
        self._gate = gate
        self._intake = intake
        self._master = master
        self._clock = clock

    async def handle(self, records: Sequence[ForeignRecord], tx: Transaction) -> None:
        """Take what is sound, keep the rest for later."""
        if problems := await self._take(records, tx):
            await self._refuse(tx, records, problems)

    async def replay_refused(self, tx: Transaction) -> int:
        """Try all refused records again; answers how many are left."""
        after: tuple[str, int, int] = ("", 0, -1)
        while rows := await tx.fetch(tables.REFUSED, *after, REPLAY_RECORDS):
            keys = await self._master.keys(row["raw"] for row in rows)
            records = [opened(row, keys) for row in rows]
            problems = await self._take(records, tx)
            await self._settle(tx, records, problems)
            after = place_of(records[-1])
        return sum(count for _, count in await tx.fetch(tables.COUNT_REFUSED))

    async def _take(
        self, records: Sequence[ForeignRecord], tx: Transaction
    ) -> dict[int, Problem]:
        """Apply the sound ones; answers index → problem of the others."""
        problems: dict[int, Problem] = {}
        arrivals: dict[int, InboundEvent] = {}
        for index, record in enumerate(records):
            try:
                arrivals[index] = self._admit(record)
            except Problem as problem:
                problems[index] = problem
            except Exception as error:
                problems[index] = _unexpected(error)
        outcomes = await self._apply(tx, list(arrivals.values()))
        for index, outcome in zip(arrivals, outcomes, strict=True):
            if isinstance(outcome, Problem):
                problems[index] = outcome
        return problems

    async def _apply(self, tx: Transaction, arrivals: list[InboundEvent]) -> list[Outcome]:
        """Apply all together; one by one where that fails, so that it fails for one alone."""
        try:
            async with tx.savepoint():
                return await self._intake.apply(tx, arrivals)
        except Exception as error:
            if is_infrastructure(error) or isinstance(error, ConcurrencyError):
                raise
            if len(arrivals) == 1:
                return [_unexpected(error)]
        return [outcome for one in arrivals for outcome in await self._apply(tx, [one])]

    def _admit(self, record: ForeignRecord) -> InboundEvent:
        if record.size > MAX_PUBLIC_BYTES:
            raise TooLarge(f"A record has at most {MAX_PUBLIC_BYTES} bytes")
        found = _read(record)
        if (field := _nir_field(record, found)) is not None:
            raise nir_refused(field)
        hop = next((v for name, v in record.headers if name == "traceparent" and v), b"")
        return self._gate.validate(found, KAFKA, hop.decode("latin-1"))

    async def _refuse(
        self, tx: Transaction, records: Sequence[ForeignRecord], problems: dict[int, Problem]
    ) -> None:
        keys = await self._master.keys()
        rows = [
            (
                *place_of(records[n]), p.slug, _known_fields(p), closed(records[n], keys),
                sender_digest(self._master.index, named_source(records[n])),
            )
            for n, p in sorted(problems.items())
        ]  # fmt: skip
        await tx.execute(tables.REFUSE, *columns(rows, 7), self._clock())
        keys.check()

    async def _settle(
        self, tx: Transaction, records: Sequence[ForeignRecord], problems: dict[int, Problem]
    ) -> None:
        taken = [place_of(r) for n, r in enumerate(records) if n not in problems]
        again = [(*place_of(records[n]), p.slug, _known_fields(p)) for n, p in problems.items()]
        await tx.execute(tables.ACCEPT_REFUSED, *columns(taken, 3))
        await tx.execute(tables.REFUSE_AGAIN, *columns(again, 5))


@dataclass(frozen=True)
class RefusedRetention:
    """Deletes refused records after so many days.

    One may hold what a person wants erased later, and nobody can tell whose it is.
    """

    database: Database
    clock: Clock
    days: int

    async def step(self) -> int:
        """Delete a set of those that are too old; answers how many."""
        async with self.database.transaction() as tx:
            until = self.clock() - timedelta(days=self.days)
            deleted = await tx.fetch(tables.FORGET_REFUSED, until, EXPIRED_RECORDS)
        if deleted:
            log.info("refused records deleted, too old", count=len(deleted))
        return len(deleted)


async def refused(tx: Transaction) -> dict[str, int]:
    """How many refused records wait, by reason."""
    return {row["reason"]: row["count"] for row in await tx.fetch(tables.COUNT_REFUSED)}


def _read(record: ForeignRecord) -> Envelope:
    try:
        return envelope.from_kafka(record.headers, record.value)
    except (NotJSONError, EnvelopeError, ContentTypeError) as error:
        raise envelope_problem(error) from None


def _nir_field(record: ForeignRecord, found: Envelope) -> str | None:
    texts = b"\n".join([record.value or b"", *(text or b"" for _, text in record.headers)])
    look = may_hold_nir(texts) or b"data_base64" in texts
    return find_nir(envelope.to_object(found)) if look else None


def _unexpected(error: Exception) -> Problem:
    """A fault of ours, for which a record is kept until we are repaired."""
    log.error("record not taken", exc_info=error)
    return Internal()


def _names(schema: Any) -> Iterator[str]:
    """Names of all properties in a JSON Schema."""
    if isinstance(schema, dict):
        if isinstance(properties := schema.get("properties"), dict):
            yield from properties
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _names(part)


_KNOWN_NAMES = frozenset(
    name for model in PUBLIC_TYPES.values() for name in _names(model.model_json_schema())
) | {"data", "event", "specversion", "id", "source", "type", "subject", "time",
     "datacontenttype", "dataschema", "data_base64", "traceparent"}  # fmt: skip


def _known_fields(problem: Problem) -> str:
    """The fields at fault, for the record: a name that we do not know may be anybody's."""
    return " ".join(".".join(map(_known, e["field"].split("."))) for e in problem.errors)


def _known(name: str) -> str:
    return name if name in _KNOWN_NAMES or (name.isdigit() and len(name) < 4) else "*"
