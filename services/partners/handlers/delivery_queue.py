"""Deliveries that are due: leased in sets, recorded in sets, moved to the next channel.

A turn is one transaction: what became of the last sends goes in with every attempt, what may
leave next comes out, leased; the endpoint's health decides how much that is.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID, uuid4

import structlog

from contracts.base import Event
from contracts.partners import DeliveryDeadLettered, DeliveryFailed, DeliverySucceeded
from contracts.values import MessageKind
from infra.base.clock import Clock
from infra.base.telemetry import trace_id
from infra.delivery.webhook.sender import Outcome, Sent
from infra.delivery.worker import Job, Load, Result
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction, columns
from services.partners.channels.registry import Channels, Parcel
from services.partners.handlers.compose import (
    Composer,
    LeasedRow,
    RequestRow,
    SenderProfile,
)
from services.partners.handlers.endpoints import disable
from services.partners.handlers.secrets import Secrets
from services.partners.handlers.tokens import keep_links
from services.partners.model.delivery import (
    STAYS,
    EndpointLoad,
    Health,
    RetrySchedule,
    allot,
    blames_address,
    taken_over,
)
from services.partners.tables import appointments, channels, files, statements

LEASE = timedelta(seconds=30)
"""Longer than any send: one that is not recorded by then is sent again."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Leased:
    """A delivery that this process sends now; ``tries``: since it was last asked for."""

    delivery_id: UUID
    lease: UUID
    referral_id: UUID
    person_id: UUID
    partner_id: str
    message: MessageKind
    channel: str
    attempts: int
    tries: int
    traceparent: str | None
    sent_at: datetime

    @classmethod
    def of(cls, row: LeasedRow, lease: UUID, now: datetime) -> Self:
        """Return what is remembered of a row while it is on its way."""
        return cls(
            delivery_id=row.delivery_id,
            lease=lease,
            referral_id=row.referral_id,
            person_id=row.person_id,
            partner_id=row.partner_id,
            message=row.message,
            channel=row.channel,
            attempts=row.attempts,
            tries=row.attempts - row.tries_before,
            traceparent=row.traceparent,
            sent_at=now,
        )


@dataclass(slots=True)
class _Verdict:
    """What a result means for a delivery; ``moved``: to the channel that takes it over."""

    leased: Leased
    endpoint_id: UUID
    sent: Sent
    state: str
    next_attempt_at: datetime | None
    duration_ms: int = 0
    moved: Any = None


class DeliveryQueue:
    """The ``deliveries`` table as the worker sees it."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        clock: Clock,
        schedule: RetrySchedule,
        letterhead: SenderProfile,
        channels: Channels,
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        self._schedule = schedule
        self._letterhead = letterhead
        self._channels = channels

    async def due(self, load: Load) -> bool:
        """Whether anything is due that may leave now."""
        async with self._database.reading() as connection:
            loads = await self._loads(connection)
        return bool(allot(loads, load.in_flight, load.room, self._clock()))

    async def turn(self, results: Sequence[Result[Leased]], load: Load) -> list[Job[Leased]]:
        """Record results and lease what may leave next; events last, then the commit."""
        async with self._database.transaction() as tx:
            verdicts = [verdict for result in results for verdict in self._judged(result)]
            pending = await self._record(tx, verdicts)
            jobs, failed = await self._claim(tx, load) if load.room > 0 else ([], [])
            await self._writer.write(tx, pending + await self._record(tx, failed))
        return jobs

    async def _loads(self, tx: Transaction) -> list[EndpointLoad]:
        return [EndpointLoad(**row) for row in await tx.fetch(statements.LANES, self._clock())]

    def _judged(self, result: Result[Leased]) -> list[_Verdict]:
        """What was sent as one is tried again as one."""
        job, share = result.job, random.random()
        return [
            self._judge(job.endpoint_id, leased, result.sent, result.duration_ms, share)
            for leased in job.rows
        ]

    def _judge(
        self,
        endpoint_id: UUID,
        leased: Leased,
        sent: Sent,
        duration_ms: int = 0,
        share: float = 0.5,
    ) -> _Verdict:
        if sent.outcome is Outcome.OK:
            return _Verdict(leased, endpoint_id, sent, "succeeded", None, duration_ms)
        log.warning(
            "delivery failed", delivery_id=leased.delivery_id, error=sent.error,
            attempts=leased.attempts, trace_id=trace_id(leased.traceparent),
        )  # fmt: skip
        delay = None
        if sent.outcome is Outcome.RETRY:
            delay = self._schedule.delay(leased.tries, share, sent.retry_after)
        if delay is None:
            return _Verdict(leased, endpoint_id, sent, "dead", None, duration_ms)
        due = self._clock() + timedelta(seconds=delay)
        return _Verdict(leased, endpoint_id, sent, "pending", due, duration_ms)

    async def _claim(
        self, tx: Transaction, load: Load
    ) -> tuple[list[Job[Leased]], list[_Verdict]]:
        loads, now = await self._loads(tx), self._clock()
        allotted = allot(loads, load.in_flight, load.room, now)
        if not allotted:
            return [], []
        lease, until = uuid4(), now + LEASE
        shares = list(allotted), list(allotted.values())
        records = await tx.fetch(statements.CLAIM, now, *shares, lease, until, load.retry_room)
        rows = [LeasedRow.of(record) for record in records]

        counts = Counter(row.endpoint_id for row in rows)
        rates = {
            known.endpoint_id: known.sent(counts[known.endpoint_id], now)
            for known in loads
            if known.per_minute and counts[known.endpoint_id]
        }
        if rates:
            await tx.execute(statements.KEEP_RATES, list(rates), list(rates.values()))
        return await self._composed(tx, rows, lease, now) if rows else ([], [])

    async def _composed(
        self, tx: Transaction, rows: Sequence[LeasedRow], lease: UUID, now: datetime
    ) -> tuple[list[Job[Leased]], list[_Verdict]]:
        composer = await self._composer(tx, rows, now)
        failed: list[_Verdict] = []
        sends: dict[tuple[UUID, str, UUID | None], list[tuple[Leased, Any]]] = {}
        for row in rows:
            leased = Leased.of(row, lease, now)
            message = self._channels[row.channel].compose(row, composer)
            if isinstance(message, Sent):
                failed.append(self._judge(row.endpoint_id, leased, message))
            else:
                alone = None if row.batch_minutes else leased.delivery_id
                key = row.endpoint_id, row.channel, alone
                sends.setdefault(key, []).append((leased, message))

        jobs, files_of = [], []
        for (endpoint_id, name, _), pairs in sends.items():
            channel, messages = self._channels[name], [message for _, message in pairs]
            message = messages[0] if len(messages) == 1 else channel.join(messages)
            sent_as_one = tuple(leased for leased, _ in pairs)
            retry = any(leased.tries > 1 for leased in sent_as_one)
            jobs.append(Job(endpoint_id, Parcel(name, message), sent_as_one, retry))
            if file := channel.file_of(message):
                files_of += [(leased.delivery_id, file) for leased in sent_as_one]
        await keep_links(tx, composer.links, now)
        if files_of:
            await tx.execute(files.KEEP_FILES, *columns(files_of))
        return jobs, failed

    async def _composer(
        self, tx: Transaction, rows: Sequence[LeasedRow], now: datetime
    ) -> Composer:
        endpoints = list({row.endpoint_id for row in rows})
        stored = await tx.fetch(statements.SECRETS_OF_ENDPOINTS, endpoints, now)
        secrets = await Secrets.of(self._writer.vault.master, stored)
        persons = await self._writer.vault.keys({row.person_id for row in rows})
        # what a channel that keeps appointments is told is about a request, sealed with it
        kept_there = {
            row.referral_id for row in rows if self._channels[row.channel].keeps_appointments
        }
        requests = await tx.fetch(appointments.REQUESTS, list(kept_there)) if kept_there else []
        return Composer(
            self._letterhead,
            persons,
            now,
            secrets.of_endpoints(stored),
            {record["referral_id"]: RequestRow(*record.values()) for record in requests},
        )

    async def _record(self, tx: Transaction, verdicts: Sequence[_Verdict]) -> list[Pending]:
        if not verdicts:
            return []
        now = self._clock()
        await self._move_on(tx, verdicts, now)
        values = columns(map(_columns, verdicts))
        stored = await tx.fetch(statements.RECORD, *values, now)
        states = {row["delivery_id"]: row["state"] for row in stored}
        pending = [
            _pending(v.leased, event)
            for v in verdicts
            # another process took it over, or it was cancelled on its way: nothing to say
            if states.get(v.leased.delivery_id) == v.state and (event := _event(v))
        ]
        ill = await self._keep_health(tx, verdicts, now)
        for reason, endpoints in ill.items():
            pending += await disable(tx, endpoints, reason, now)
        return pending

    async def _move_on(
        self, tx: Transaction, verdicts: Sequence[_Verdict], now: datetime
    ) -> None:
        """What a channel fails to bring for good goes to the next one, at last to a human."""
        dead = {
            v.leased.delivery_id: v
            for v in verdicts
            if v.state == "dead" and v.sent.error not in STAYS
        }
        for further in await tx.fetch(channels.NEXT_CHANNELS, list(dead)) if dead else []:
            verdict = dead[further["delivery_id"]]
            verdict.moved, verdict.state = further, "manual"
            if further["endpoint_id"]:
                verdict.state, verdict.next_attempt_at = "pending", now

    async def _keep_health(
        self, tx: Transaction, verdicts: Sequence[_Verdict], now: datetime
    ) -> dict[str, set[UUID]]:
        """Rest what fails; answers the endpoints that are gone, or failed for days."""
        taken = Counter(v.endpoint_id for v in verdicts if v.sent.outcome is Outcome.OK)
        failed = Counter(v.endpoint_id for v in verdicts if _ill(v))
        gone = {v.endpoint_id for v in verdicts if v.sent.outcome is Outcome.GONE}
        if taken:
            await tx.execute(files.REST_BATCHES, list(taken), now)
        rows = await tx.fetch(statements.HEALTH, [*taken, *failed], [*failed])
        new = {
            row["endpoint_id"]: Health(
                row["failures"], row["failing_since"], row["open_until"]
            ).after(taken[row["endpoint_id"]], failed[row["endpoint_id"]], now)
            for row in rows
        }
        if new:
            health = [(i, h.failures, h.failing_since, h.open_until) for i, h in new.items()]
            await tx.execute(statements.KEEP_HEALTH, *columns(health))
        hopeless = {i for i, health in new.items() if health.hopeless(now)}
        return {r: ids for r, ids in (("gone", gone), ("failing", hopeless - gone)) if ids}


def _ill(verdict: _Verdict) -> bool:
    sent = verdict.sent
    return sent.outcome is Outcome.RETRY and blames_address(verdict.leased.message, sent.status)


def _columns(verdict: _Verdict) -> tuple[Any, ...]:
    leased, sent = verdict.leased, verdict.sent
    return (
        leased.delivery_id, leased.lease, verdict.state, verdict.next_attempt_at, sent.error,
        sent.status, verdict.moved and verdict.moved["endpoint_id"], verdict.endpoint_id,
        leased.attempts, sent.outcome, leased.sent_at, verdict.duration_ms, sent.external_id,
    )  # fmt: skip


def _event(verdict: _Verdict) -> Event | None:
    leased, error = verdict.leased, verdict.sent.error or "unknown"
    about: dict[str, Any] = {
        "delivery_id": leased.delivery_id,
        "referral_id": leased.referral_id,
        "partner_id": leased.partner_id,
        "message": leased.message,
    }
    if verdict.state == "succeeded":
        return DeliverySucceeded(**about, attempts=leased.attempts, channel=leased.channel)
    if verdict.state == "dead":
        return DeliveryDeadLettered(**about, attempts=leased.attempts, error=error)
    if verdict.moved:
        return taken_over({**verdict.moved, **about}, error)
    if leased.tries > 1:
        return None
    return DeliveryFailed(**about, error=error, channel=leased.channel)


def _pending(leased: Leased, event: Event) -> Pending:
    meta = EventMetadata(origin=f"partner:{leased.partner_id}", traceparent=leased.traceparent)
    return Pending(f"delivery-{leased.delivery_id}", [event], leased.person_id, meta)
