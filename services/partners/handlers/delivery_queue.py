"""Deliveries that are due: leased in sets, recorded in sets, moved to the next channel.

Recording and claiming are one transaction: what became of the last sends goes in with every
attempt, what may leave next comes out, leased; the endpoint's health decides how much that is.
"""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog

from infra.base.clock import Clock
from infra.base.telemetry import trace_id
from infra.delivery.webhook.sender import Outcome, Sent
from infra.delivery.worker import Job, Load, Result
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
from services.partners.handlers.verdicts import Leased, NextChannel, Verdict
from services.partners.model.delivery import STAYS, EndpointLoad, Health, RetrySchedule, allot
from services.partners.tables import appointments, channels, files, statements

LEASE = timedelta(seconds=30)
"""Longer than any send: one that is not recorded by then is sent again."""
log = structlog.get_logger()


class DeliveryQueue:
    """The ``deliveries`` table as the worker sees it."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        clock: Clock,
        schedule: RetrySchedule,
        profile: SenderProfile,
        channels: Channels,
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        self._schedule = schedule
        self._profile = profile
        self._channels = channels

    async def due(self, load: Load) -> bool:
        """Return whether anything is due that may leave now."""
        async with self._database.reading() as connection:
            loads = await self._loads(connection)
        return bool(allot(loads, load.in_flight, load.room, self._clock()))

    async def record_and_claim(
        self, results: Sequence[Result[Leased]], load: Load
    ) -> list[Job[Leased]]:
        """Record results and lease what may leave next; events last, then the commit."""
        verdicts = []
        for result in results:
            share = random.random()  # one for all: what was sent as one is tried again as one
            verdicts += [
                self._judge(
                    result.job.endpoint_id, leased, result.sent, result.duration_ms, share
                )
                for leased in result.job.rows
            ]
        async with self._database.transaction() as tx:
            pending = await self._record(tx, verdicts)
            jobs, failed = await self._claim(tx, load) if load.room > 0 else ([], [])
            await self._writer.write(tx, pending + await self._record(tx, failed))
        return jobs

    async def _loads(self, tx: Transaction) -> list[EndpointLoad]:
        return [EndpointLoad(**row) for row in await tx.fetch(statements.LANES, self._clock())]

    def _judge(
        self,
        endpoint_id: UUID,
        leased: Leased,
        sent: Sent,
        duration_ms: int = 0,
        share: float = 0.5,
    ) -> Verdict:
        state, due = "succeeded", None
        if sent.outcome is not Outcome.OK:
            log.warning(
                "delivery failed",
                delivery_id=leased.delivery_id,
                error=sent.error,
                attempts=leased.attempts,
                trace_id=trace_id(leased.traceparent),
            )
            delay = None
            if sent.outcome is Outcome.RETRY:
                delay = self._schedule.delay(leased.tries, share, sent.retry_after)
            state = "dead" if delay is None else "pending"
            due = None if delay is None else self._clock() + timedelta(seconds=delay)
        return Verdict(
            leased=leased,
            endpoint_id=endpoint_id,
            sent=sent,
            state=state,
            next_attempt_at=due,
            duration_ms=duration_ms,
        )

    async def _claim(
        self, tx: Transaction, load: Load
    ) -> tuple[list[Job[Leased]], list[Verdict]]:
        loads, now = await self._loads(tx), self._clock()
        allotted = allot(loads, load.in_flight, load.room, now)
        if not allotted:
            return [], []
        lease, shares = uuid4(), (list(allotted), list(allotted.values()))
        wanted = now, *shares, lease, now + LEASE, load.retry_room
        records = await tx.fetch(statements.CLAIM, *wanted)
        rows = [LeasedRow.of(record) for record in records]

        counts = Counter(row.endpoint_id for row in rows)
        rates = {
            known.endpoint_id: known.sent(counts[known.endpoint_id], now)
            for known in loads
            if known.per_minute and counts[known.endpoint_id]
        }
        if rates:
            await tx.execute(statements.KEEP_RATES, list(rates), list(rates.values()))
        return await self._compose(tx, rows, lease, now) if rows else ([], [])

    async def _compose(
        self, tx: Transaction, rows: Sequence[LeasedRow], lease: UUID, now: datetime
    ) -> tuple[list[Job[Leased]], list[Verdict]]:
        """Return sends, and what cannot be sent; links and names of files are stored first."""
        composer = await self._composer(tx, rows, now)
        failed: list[Verdict] = []
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
            together = tuple(leased for leased, _ in pairs)
            retry = any(leased.tries > 1 for leased in together)
            jobs.append(Job(endpoint_id, Parcel(name, message), together, retry))
            if file := channel.file_of(message):
                files_of += [(leased.delivery_id, file) for leased in together]
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
        referrals = {
            row.referral_id for row in rows if self._channels[row.channel].keeps_appointments
        }
        records = await tx.fetch(appointments.REQUESTS, list(referrals)) if referrals else []
        requests = [RequestRow(*record) for record in records]
        return Composer(
            letterhead=self._profile,
            persons=persons,
            now=now,
            secrets=secrets.of_endpoints(stored),
            requests={request.referral_id: request for request in requests},
        )

    async def _record(self, tx: Transaction, verdicts: Sequence[Verdict]) -> list[Pending]:
        if not verdicts:
            return []
        now = self._clock()
        # what a channel fails to bring for good goes to the next one, at last to a human
        dead = {
            v.leased.delivery_id: v
            for v in verdicts
            if v.state == "dead" and v.sent.error not in STAYS
        }
        records = await tx.fetch(channels.NEXT_CHANNELS, list(dead)) if dead else []
        for following in (NextChannel(*record) for record in records):
            dead[following.delivery_id].move_on(following, now)

        stored = columns(verdict.stored() for verdict in verdicts)
        states = {
            delivery_id: state
            for delivery_id, state in await tx.fetch(statements.RECORD, *stored, now)
        }
        pending = [
            event
            for verdict in verdicts
            # another process took it over, or it was cancelled on its way: nothing to say
            if states.get(verdict.leased.delivery_id) == verdict.state
            for event in verdict.pending()
        ]
        for reason, endpoints in (await self._keep_health(tx, verdicts, now)).items():
            pending += await disable(tx, endpoints, reason, now)
        return pending

    async def _keep_health(
        self, tx: Transaction, verdicts: Sequence[Verdict], now: datetime
    ) -> dict[str, set[UUID]]:
        """Rest what fails. Returns endpoints to disable, by reason: gone, failing for days."""
        taken = Counter(v.endpoint_id for v in verdicts if v.sent.outcome is Outcome.OK)
        failed = Counter(v.endpoint_id for v in verdicts if v.blames_address())
        gone = {v.endpoint_id for v in verdicts if v.sent.outcome is Outcome.GONE}
        if taken:
            await tx.execute(files.REST_BATCHES, list(taken), now)
        records = await tx.fetch(statements.HEALTH, [*taken, *failed], [*failed])
        health = {
            endpoint_id: Health(*known).after(taken[endpoint_id], failed[endpoint_id], now)
            for endpoint_id, *known in records
        }
        if health:
            rows = ((i, h.failures, h.failing_since, h.open_until) for i, h in health.items())
            await tx.execute(statements.KEEP_HEALTH, *columns(rows))
        hopeless = {i for i, known in health.items() if known.hopeless(now)}
        by_reason = {"gone": gone, "failing": hopeless - gone}
        return {reason: ids for reason, ids in by_reason.items() if ids}
