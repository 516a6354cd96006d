"""Deliveries that are due: leased in sets, recorded in sets, moved to the next channel.

A turn is one transaction: what became of the last sends goes in with every attempt, what may
leave next comes out, leased; the endpoint's health decides how much that is.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog

from contracts.base import Event
from contracts.partners import DeliveryDeadLettered, DeliveryFailed, DeliverySucceeded
from contracts.values import Channel, MessageKind
from infra.base.clock import Clock
from infra.base.telemetry import trace_id
from infra.delivery.sftp import OutgoingFile
from infra.delivery.webhook.sender import Outcome, Sent
from infra.delivery.worker import Job, Load, Result
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction, columns
from services.partners.handlers.compose import Composer, SenderProfile, batch
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
    channel: Channel
    attempts: int
    tries: int
    traceparent: str | None
    sent_at: datetime


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
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        self._schedule = schedule
        self._letterhead = letterhead

    async def due(self, load: Load) -> bool:
        """Whether anything is due that may leave now."""
        async with self._database.reading() as connection:
            return bool(await self._shares(connection, load))

    async def turn(self, results: Sequence[Result[Leased]], load: Load) -> list[Job[Leased]]:
        """Record results and lease what may leave next; events last, then the commit."""
        async with self._database.transaction() as tx:
            verdicts = [verdict for result in results for verdict in self._judged(result)]
            pending = await self._record(tx, verdicts)
            jobs, failed = await self._claim(tx, load) if load.room > 0 else ([], [])
            await self._writer.write(tx, pending + await self._record(tx, failed))
        return jobs

    async def _shares(self, tx: Transaction, load: Load) -> dict[UUID, int]:
        lanes = await self._lanes(tx)
        return allot(lanes, load.in_flight, load.room, self._clock())

    async def _lanes(self, tx: Transaction) -> list[EndpointLoad]:
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
        lanes, now = await self._lanes(tx), self._clock()
        given = allot(lanes, load.in_flight, load.room, now)
        if not given:
            return [], []
        lease = uuid4()
        rows = await tx.fetch(
            statements.CLAIM, now, list(given), list(given.values()), lease, now + LEASE,
            load.retry_room,
        )  # fmt: skip
        await self._keep_rates(tx, lanes, rows, now)
        return await self._composed(tx, rows, lease, now) if rows else ([], [])

    async def _keep_rates(
        self, tx: Transaction, lanes: Sequence[EndpointLoad], rows: Sequence[Any], now: datetime
    ) -> None:
        counts = Counter(row["endpoint_id"] for row in rows)
        rates = {
            lane.endpoint_id: lane.sent(counts[lane.endpoint_id], now)
            for lane in lanes
            if lane.per_minute and counts[lane.endpoint_id]
        }
        if rates:
            await tx.execute(statements.KEEP_RATES, list(rates), list(rates.values()))

    async def _composed(
        self, tx: Transaction, rows: Sequence[Any], lease: UUID, now: datetime
    ) -> tuple[list[Job[Leased]], list[_Verdict]]:
        composer = await self._composer(tx, rows, now)
        failed: list[_Verdict] = []
        sends: dict[tuple[UUID, UUID | None], list[tuple[Leased, Any]]] = {}
        for row in rows:
            endpoint, leased = row["endpoint_id"], _leased(row, lease, now)
            made = composer.compose(row)
            if isinstance(made, Sent):
                failed.append(self._judge(endpoint, leased, made))
            else:
                alone = None if row["batch_minutes"] else leased.delivery_id
                sends.setdefault((endpoint, alone), []).append((leased, made))
        jobs = [_job(endpoint, send) for (endpoint, _), send in sends.items()]
        await keep_links(tx, composer.links, now)
        await _keep_files(tx, jobs)
        return jobs, failed

    async def _composer(self, tx: Transaction, rows: Sequence[Any], now: datetime) -> Composer:
        endpoints = list({row["endpoint_id"] for row in rows})
        kept = await tx.fetch(statements.SECRETS_OF_ENDPOINTS, endpoints, now)
        secrets = await Secrets.of(self._writer.vault.master, kept)
        persons = await self._writer.vault.keys({row["person_id"] for row in rows})
        return Composer(
            self._letterhead,
            persons,
            now,
            secrets.signing(kept),
            secrets.accounts(kept),
            secrets.clients(kept),
            secrets.applications(kept),
            await _requests(tx, rows),
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


async def _requests(tx: Transaction, rows: Sequence[Any]) -> dict[UUID, Any]:
    """Referral id → its request, for what goes by an API that needs to know of it."""
    about = {row["referral_id"] for row in rows if row["channel"] == Channel.REST}
    found = await tx.fetch(appointments.REQUESTS, list(about)) if about else []
    return {row["referral_id"]: row for row in found}


def _job(endpoint: UUID, send: Sequence[tuple[Leased, Any]]) -> Job[Leased]:
    rows, messages = tuple(leased for leased, _ in send), [message for _, message in send]
    whole = messages[0] if len(messages) == 1 else batch(messages)
    return Job(endpoint, whole, rows, any(leased.tries > 1 for leased in rows))


async def _keep_files(tx: Transaction, jobs: Sequence[Job[Leased]]) -> None:
    laid = [j for j in jobs if isinstance(j.message, OutgoingFile)]
    rows = [(leased.delivery_id, job.message.name) for job in laid for leased in job.rows]
    if rows:
        await tx.execute(files.KEEP_FILES, *columns(rows))


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


def _leased(row: Any, lease: UUID, now: datetime) -> Leased:
    return Leased(
        row["delivery_id"], lease, row["referral_id"], row["person_id"], row["partner_id"],
        MessageKind(row["message"]), Channel(row["channel"]), row["attempts"],
        row["attempts"] - row["tries_before"], row["traceparent"], now,
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
