"""Deliveries under any order of claims, sends, records, crashes and clocks.

A state machine drives the queue on a real database: nothing is lost, everything arrives at
least once or is left to be handed over, with an event, in order where that is asked,
under one id.
"""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    rule,
    run_state_machine_as_test,
)

from infra.base.clock import system_clock
from infra.delivery.webhook.sender import Outcome, Sent
from infra.delivery.worker import Job, Load, Result
from tests.support.partners import PARTNER, SERVICE, Hub, platform_at, register
from tests.support.postgres import Databases

ORDERED = f"{PARTNER}--mobilite"
REFUSED = Sent(Outcome.PERMANENT, "unsafe-url")
LOST = Sent(Outcome.RETRY, "timeout")
AGES = 40
EARLIER = """
SELECT count(*) FROM deliveries head JOIN deliveries d USING (endpoint_id, person_id)
WHERE d.delivery_id = $1 AND head.state = 'pending' AND head.seq < d.seq
"""
ENDS = """
SELECT data::json ->> 'delivery_id' AS id, count(*) FROM events
WHERE type ~ 'delivery.(succeeded|dead-lettered|manual)' GROUP BY 1
"""


class Deliveries(RuleBasedStateMachine):
    """What may happen to messages on their way."""

    databases: Databases

    def __init__(self) -> None:
        super().__init__()
        self.now = system_clock()
        self.runner = asyncio.Runner()
        self.people = [uuid4() for _ in range(2)]
        self.made: set[UUID] = set()
        self.under_way: list[Job[Any]] = []
        self.results: list[Result[Any]] = []
        self.arrived: dict[UUID, set[str]] = {}
        self.hub = Hub(platform_at(self.databases, clock=lambda: self.now))
        self.run(self._prepare())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def _prepare(self) -> None:
        await self.hub.prepare()
        async with self.hub.database.transaction() as tx:
            await tx.execute("DELETE FROM deliveries")
            await tx.execute("UPDATE endpoints SET state = 'disabled'")
        await register(self.hub, "http://127.0.0.1:9/a")
        await register(self.hub, "http://127.0.0.1:9/b", rank=1)
        await register(
            self.hub, "http://127.0.0.1:9/c", service_ids=[ORDERED], ordering="pathway"
        )

    @rule(person=st.integers(0, 1), ordered=st.booleans(), count=st.integers(1, 3))
    def referred(self, person: int, ordered: bool, count: int) -> None:
        self.run(self._refer(self.people[person], ORDERED if ordered else SERVICE, count))

    async def _refer(self, person: UUID, service: str, count: int) -> None:
        for _ in range(count):
            referral = await self.hub.refer(service_id=service, person_id=person)
            self.made.add(referral.referral_id)
        await self.hub.hear()

    @rule(room=st.integers(1, 5), retries=st.integers(0, 5))
    def claimed(self, room: int, retries: int) -> None:
        self.run(self._claim(room, retries))

    async def _claim(self, room: int, retries: int) -> None:
        queue = self.hub.worker._queue
        jobs = await queue.record_and_claim([], Load(room, retries, {}))
        assert len(jobs) <= room
        for job in jobs:
            assert job.message.message.webhook_id == f"dlv_{job.rows[0].delivery_id.hex}"
            (behind,) = await self.hub.rows(EARLIER, job.rows[0].delivery_id)
            assert "/c" not in job.message.message.url or behind["count"] == 0
        self.under_way += jobs

    @rule(arrives=st.booleans(), sent=st.sampled_from([Sent(Outcome.OK), LOST, REFUSED]))
    def sent(self, arrives: bool, sent: Sent) -> None:
        if not self.under_way:  # no precondition: the database's own chance decides of it
            return
        job = self.under_way.pop(0)
        if arrives or sent.outcome is Outcome.OK:
            self._arrive(job)
        self.results.append(Result(job, sent))

    def _arrive(self, job: Job[Any]) -> None:
        self.arrived.setdefault(job.rows[0].delivery_id, set()).add(
            job.message.message.webhook_id
        )

    @rule()
    def recorded(self) -> None:
        self.run(self.hub.worker._queue.record_and_claim(self.results, Load(0, 0, {})))
        self.results = []

    @rule()
    def crashed(self) -> None:
        self.under_way, self.results = [], []

    @rule(seconds=st.integers(0, 60))
    def waited(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def teardown(self) -> None:
        self.run(self._finish())
        self.runner.close()

    async def _finish(self) -> None:
        self.results = []
        for _ in range(AGES):
            self.now += timedelta(minutes=11)
            jobs = await self.hub.worker._queue.record_and_claim(self.results, Load(9, 9, {}))
            for job in jobs:
                self._arrive(job)
            self.results = [Result(job, Sent(Outcome.OK)) for job in jobs]
            left = await self.hub.rows("SELECT 1 FROM deliveries WHERE state = 'pending'")
            if not left:
                break
        await self._check()
        await self.hub.close()
        await self.hub.platform.close()

    async def _check(self) -> None:
        rows = await self.hub.rows("SELECT referral_id, delivery_id, state FROM deliveries")
        assert {row["referral_id"] for row in rows} == self.made
        assert len(rows) == len(self.made)
        assert {row["state"] for row in rows} <= {"succeeded", "manual"}
        ends = {UUID(row["id"]): row["count"] for row in await self.hub.rows(ENDS)}
        for row in rows:
            assert ends[row["delivery_id"]] == 1
            if row["state"] == "succeeded":
                assert len(self.arrived[row["delivery_id"]]) == 1


def test_messages_are_never_lost_and_stay_in_order_whatever_crashes(databases: Databases):
    Deliveries.databases = databases
    run_state_machine_as_test(
        Deliveries,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
