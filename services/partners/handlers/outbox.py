"""Deliveries that are due: leased in sets, composed at each send, recorded in sets.

The body is made from the stored event each time, by opening its sealed part: what is kept of a
message dies with the person's key.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Event
from contracts.partners import (
    DeliveryDeadLettered,
    DeliveryFailed,
    DeliverySucceeded,
    EndpointDisabled,
)
from contracts.referrals import DeadlinePassed, ReferralCancelled, ReferralRequested
from contracts.registry import parse_event
from infra.clock import Clock
from infra.database import Database, driver
from infra.eventstore.events import Meta
from infra.eventstore.writer import Pending, Writer
from infra.telemetry import trace_id
from infra.vault import PersonKey
from infra.webhooks.sender import Outcome, Outgoing, Sent
from infra.webhooks.worker import MAX_PER_ENDPOINT, Job, Result
from services.partners import tables
from services.partners.handlers.endpoints import Secrets
from services.partners.model import (
    RetrySchedule,
    compose_cancellation,
    compose_reminder,
    compose_request,
    expired,
)

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
    attempts: int
    tries: int
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a result means for a delivery."""

    leased: Leased
    endpoint_id: UUID
    sent: Sent
    state: str
    next_attempt_at: datetime | None


class Outbox:
    """The ``deliveries`` table as the worker sees it."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        clock: Clock,
        schedule: RetrySchedule,
        answer_url: str,
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        self._schedule = schedule
        self._answer_url = answer_url
        self._secrets = Secrets(writer.vault.master)

    async def due(self, busy: Sequence[UUID]) -> bool:
        """Whether anything is due, other than for these endpoints."""
        async with self._database.reading() as connection:
            raw = await driver(connection)
            return bool(await raw.fetchval(tables.DUE, self._clock(), list(busy)))

    async def turn(
        self, results: Sequence[Result[Leased]], room: int, free: Mapping[UUID, int]
    ) -> list[Job[Leased]]:
        """Record results and lease what is due next; events last, then the commit."""
        async with self._database.transaction() as tx:
            verdicts = [self._judge(r.job.endpoint_id, r.job.row, r.sent) for r in results]
            jobs, failed = await self._claim(tx, room, free) if room > 0 else ([], [])
            pending = await self._record(tx, [*verdicts, *failed])
            await self._writer.write(tx, pending)
        return jobs

    def _judge(self, endpoint_id: UUID, leased: Leased, sent: Sent) -> _Verdict:
        if sent.outcome is Outcome.OK:
            return _Verdict(leased, endpoint_id, sent, "succeeded", None)
        log.warning(
            "delivery failed", delivery_id=leased.delivery_id, error=sent.error,
            attempts=leased.attempts, trace_id=trace_id(leased.traceparent),
        )  # fmt: skip
        delay = None
        if sent.outcome is Outcome.RETRY:
            delay = self._schedule.delay(leased.tries, random.random(), sent.retry_after)
        if delay is None:
            return _Verdict(leased, endpoint_id, sent, "dead", None)
        due = self._clock() + timedelta(seconds=delay)
        return _Verdict(leased, endpoint_id, sent, "pending", due)

    async def _claim(
        self, tx: AsyncConnection, room: int, free: Mapping[UUID, int]
    ) -> tuple[list[Job[Leased]], list[_Verdict]]:
        raw, now, lease = await driver(tx), self._clock(), uuid4()
        rows = await raw.fetch(
            tables.CLAIM, now, room, lease, now + LEASE, list(free), list(free.values()),
            MAX_PER_ENDPOINT,
        )  # fmt: skip
        if not rows:
            return [], []
        keys = await self._keys(tx, {row["endpoint_id"] for row in rows}, now)
        persons = await self._writer.vault.keys({row["person_id"] for row in rows})
        jobs, failed = [], []
        for row in rows:
            leased = _leased(row, lease)
            made = self._compose(row, persons.get(row["person_id"]), keys, now)
            if isinstance(made, Outgoing):
                jobs.append(Job(row["endpoint_id"], made, leased))
            else:
                failed.append(self._judge(row["endpoint_id"], leased, made))
        return jobs, failed

    async def _keys(
        self, tx: AsyncConnection, endpoints: set[UUID], now: datetime
    ) -> dict[UUID, list[bytes]]:
        raw = await driver(tx)
        return self._secrets.open(
            await raw.fetch(tables.SECRETS_OF_ENDPOINTS, list(endpoints), now)
        )

    def _compose(
        self,
        row: Any,
        person: PersonKey | None,
        keys: dict[UUID, list[bytes]],
        now: datetime,
    ) -> Outgoing | Sent:
        """The message, or why there is none: one that fails must not hold up the others."""
        if expired(row["agreed_until"], now.date()):
            return Sent(Outcome.PERMANENT, "agreement-expired")
        if person is None:
            return Sent(Outcome.PERMANENT, "person-erased")
        if row["endpoint_id"] not in keys:
            return Sent(Outcome.PERMANENT, "no-secret")
        try:
            body = self._body(row, person)
        except Exception as error:
            log.error("message not composed", error=type(error).__name__)
            return Sent(Outcome.PERMANENT, "not-composed")
        webhook_id = f"dlv_{row['delivery_id'].hex}"
        secrets = keys[row["endpoint_id"]]
        return Outgoing(row["url"], webhook_id, body, secrets, row["traceparent"])

    def _body(self, row: Any, person: PersonKey) -> bytes:
        event, at = parse_event(row["event_type"], row["data"]), row["occurred_at"]
        if isinstance(event, ReferralRequested):
            fields = {}
            if row["sealed"]:
                clear = person.unseal(row["event_id"], row["event_type"], row["sealed"])
                fields = orjson.loads(clear)["fields"]
            return compose_request(event, fields, at, self._answer_url)
        if isinstance(event, DeadlinePassed):
            return compose_reminder(event, at, self._answer_url)
        assert isinstance(event, ReferralCancelled)
        return compose_cancellation(event, row["partner_id"], row["service_id"], at)

    async def _record(self, tx: AsyncConnection, verdicts: Sequence[_Verdict]) -> list[Pending]:
        if not verdicts:
            return []
        raw, now = await driver(tx), self._clock()
        rows = [
            (v.leased.delivery_id, v.leased.lease, v.state, v.next_attempt_at, v.sent.error,
             v.sent.status)
            for v in verdicts
        ]  # fmt: skip
        stored = await raw.fetch(tables.RECORD, *map(list, zip(*rows, strict=True)), now)
        states = {row["delivery_id"]: row["state"] for row in stored}
        pending = [
            _pending(v.leased, event)
            for v in verdicts
            # another process took it over, or it was cancelled on its way: nothing to say
            if states.get(v.leased.delivery_id) == v.state and (event := _event(v))
        ]
        gone = {v.endpoint_id for v in verdicts if v.sent.outcome is Outcome.GONE}
        return pending + (await self._disable(tx, gone, now) if gone else [])

    async def _disable(
        self, tx: AsyncConnection, endpoints: set[UUID], now: datetime
    ) -> list[Pending]:
        """An address that says it is gone gets nothing more; what waited for it is dead."""
        raw, ids = await driver(tx), list(endpoints)
        pending = [
            Pending(
                f"partner-{row['partner_id']}",
                [EndpointDisabled(**row, reason="gone")],
            )
            for row in await raw.fetch(tables.DISABLE_ENDPOINTS, ids, "gone")
        ]
        for row in await raw.fetch(tables.BURY_DELIVERIES, ids, now):
            dead = DeliveryDeadLettered(**row, error="endpoint-disabled")
            pending.append(Pending(f"delivery-{dead.delivery_id}", [dead], row["person_id"]))
        return pending


def _leased(row: Any, lease: UUID) -> Leased:
    return Leased(
        row["delivery_id"], lease, row["referral_id"], row["person_id"], row["partner_id"],
        row["attempts"], row["attempts"] - row["tries_before"], row["traceparent"],
    )  # fmt: skip


def _event(verdict: _Verdict) -> Event | None:
    leased, error = verdict.leased, verdict.sent.error or "unknown"
    about = {
        "delivery_id": leased.delivery_id,
        "referral_id": leased.referral_id,
        "partner_id": leased.partner_id,
    }
    if verdict.state == "succeeded":
        return DeliverySucceeded.model_validate(about | {"attempts": leased.attempts})
    if verdict.state == "dead":
        return DeliveryDeadLettered.model_validate(
            about | {"attempts": leased.attempts, "error": error}
        )
    if leased.tries == 1:
        return DeliveryFailed.model_validate(about | {"error": error})
    return None


def _pending(leased: Leased, event: Event) -> Pending:
    meta = Meta(traceparent=leased.traceparent)
    return Pending(f"delivery-{leased.delivery_id}", [event], leased.person_id, meta)
