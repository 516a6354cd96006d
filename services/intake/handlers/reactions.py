"""Reactions to what systems produce straight to Kafka.

The same as by HTTP, without an answer. A record that cannot be taken is kept, encrypted, with
the reason, and stops no other.
"""

from collections.abc import Sequence

import structlog

from contracts import envelope
from contracts.checks.nir import find_nir, may_hold_nir
from contracts.envelope import ContentTypeError, EnvelopeError, NotJSONError
from infra.base.clock import Clock
from infra.eventstore.store import ConcurrencyError
from infra.keys.key_ring import KeyRing
from infra.messaging.kafka_client import MAX_PUBLIC_BYTES
from infra.messaging.sources.base import ForeignRecord
from infra.postgres.database import is_infrastructure
from infra.postgres.transaction import Transaction, columns
from services.intake.handlers.arrivals import Intake, Outcome
from services.intake.handlers.errors import NotTakenError, Reason
from services.intake.handlers.inbound import (
    Emitter,
    InboundEvent,
    InboundValidator,
    envelope_refused,
)
from services.intake.handlers.kept import Place, closed, known_fields, opened, place_of
from services.intake.handlers.refused import named_source, sender_digest
from services.intake.tables import statements

KAFKA = Emitter("kafka", "system:kafka", ("*",))
REPLAY_RECORDS = 200
log = structlog.get_logger()


class PublicRecords:
    """Handles records of the public topic, and retries those that were refused."""

    def __init__(
        self, validator: InboundValidator, intake: Intake, master: KeyRing, clock: Clock
    ) -> None:
        self._validator = validator
        self._intake = intake
        self._master = master
        self._clock = clock

    async def handle(self, records: Sequence[ForeignRecord], tx: Transaction) -> None:
        """Take what is sound, keep the rest for later."""
        refused = await self._take(records, tx)
        if not refused:
            return
        keys = await self._master.keys()
        rows = [
            (
                *place_of(records[n]),
                error.reason,
                known_fields(error.errors),
                closed(records[n], keys),
                sender_digest(self._master.index, named_source(records[n])),
            )
            for n, error in sorted(refused.items())
        ]
        await tx.execute(statements.REFUSE, *columns(rows, 7), self._clock())
        keys.check()

    async def replay_refused(self, tx: Transaction) -> int:
        """Try all refused records again; return how many are left."""
        after = Place("", 0, -1)
        while rows := await tx.fetch(statements.REFUSED, *after, REPLAY_RECORDS):
            keys = await self._master.keys(raw for *_, raw in rows)
            records = [opened(Place(*place), raw, keys) for *place, raw in rows]
            refused = await self._take(records, tx)
            taken = [place_of(r) for n, r in enumerate(records) if n not in refused]
            await tx.execute(statements.ACCEPT_REFUSED, *columns(taken, 3))
            again = [
                (*place_of(records[n]), error.reason, known_fields(error.errors))
                for n, error in refused.items()
            ]
            await tx.execute(statements.REFUSE_AGAIN, *columns(again, 5))
            after = place_of(records[-1])
        return sum(count for _, count in await tx.fetch(statements.COUNT_REFUSED))

    async def _take(
        self, records: Sequence[ForeignRecord], tx: Transaction
    ) -> dict[int, NotTakenError]:
        """Apply the sound ones; return index → error of the others."""
        refused: dict[int, NotTakenError] = {}
        arrivals: dict[int, InboundEvent] = {}
        for index, record in enumerate(records):
            try:
                arrivals[index] = self._validated(record)
            except NotTakenError as error:
                refused[index] = error
            except Exception as error:
                refused[index] = _unexpected(error)
        outcomes = await self._apply(tx, list(arrivals.values()))
        for index, outcome in zip(arrivals, outcomes, strict=True):
            if isinstance(outcome, NotTakenError):
                refused[index] = outcome
        return refused

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

    def _validated(self, record: ForeignRecord) -> InboundEvent:
        if record.size > MAX_PUBLIC_BYTES:
            detail = f"A record has at most {MAX_PUBLIC_BYTES} bytes"
            raise NotTakenError(Reason.TOO_LARGE, detail)
        try:
            event = envelope.from_kafka(record.headers, record.value)
        except (NotJSONError, EnvelopeError, ContentTypeError) as error:
            raise envelope_refused(error) from None
        texts = b"\n".join([record.value or b"", *(text or b"" for _, text in record.headers)])
        look = may_hold_nir(texts) or b"data_base64" in texts
        if look and (field := find_nir(envelope.to_object(event))) is not None:
            raise NotTakenError.at(Reason.NIR_REFUSED, field)
        hop = next((v for name, v in record.headers if name == "traceparent" and v), b"")
        return self._validator.validate(event, KAFKA, hop.decode("latin-1"))


def _unexpected(error: Exception) -> NotTakenError:
    """Log a fault of ours; the record is kept until we are repaired."""
    log.error("record not taken", exc_info=error)
    return NotTakenError(Reason.INTERNAL)
