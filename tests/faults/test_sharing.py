"""Two processes of each service, topics of four partitions: shared, taken over, not doubled."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

import asyncpg
import orjson
import pytest

from contracts.registry import SERVICES
from infra.postgres.embedded import EmbeddedPostgres
from services.hub.demo.day import demo_environment, scaled_out, simulators
from services.hub.demo.kafka_broker import Broker
from services.hub.demo.processes import Child, Hub
from tests.faults.balancer import Balancer
from tests.faults.flow import Flow, pids, until

PROCESSES = (*SERVICES, "relay")
SHARED = (  # (process, its subscription): each has more than one partition to share
    ("referrals", "routing"),
    ("referrals", "answers"),
    ("partners", "deliveries"),
    ("audit", "log-intake"),
    ("audit", "log-referrals"),
    ("audit", "log-partners"),
    ("relay", "relay"),
)
PARTITIONS = 4
FRONTED = ("intake", "partners", "audit")
"""Services called from outside by whoever must not notice that a process is gone."""

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(600)]


@dataclass
class Twins:
    """A scaled-out hub with two processes of each service."""

    hub: Hub
    urls: dict[str, tuple[str, str]]
    partners: dict[str, str]
    flow: Flow

    async def applied(self, process: str, subscription: str) -> list[int]:
        """How many messages each twin applied."""
        return [await self._applied(url, subscription) for url in self.urls[process]]

    async def _applied(self, url: str, subscription: str) -> int:
        async with self.hub.session.get(url + "/metrics") as response:
            text = await response.text()
        name = f'aiguillage_messages_applied_total{{subscription="{subscription}"}}'
        found = re.search(re.escape(name) + r" (\S+)", text)
        return int(float(found[1])) if found else 0

    async def all_shared(self) -> bool:
        """Whether both twins applied something of every subscription."""
        return all([min(await self.applied(*shared)) > 0 for shared in SHARED])

    async def count(self, query: str) -> int:
        """A number from the database."""
        connection = await asyncpg.connect(self.hub.address["database_url"])
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    async def opened(self) -> bool:
        """Whether every contact has its case."""
        count = await self.count("SELECT count(*) FROM referrals.cases")
        return count == len(self.flow.persons)


@pytest.fixture(scope="module")
async def twins(broker: Broker) -> AsyncIterator[Twins]:
    async with AsyncExitStack() as stack:
        name = stack.enter_context(TemporaryDirectory(prefix="aiguillage-sharing-"))
        directory, server = Path(name), EmbeddedPostgres(Path(name))
        await asyncio.to_thread(server.start)
        stack.callback(server.stop)
        fronts = {name: await Balancer().start() for name in FRONTED}
        for front in fronts.values():
            stack.push_async_callback(front.stop)
        environment = demo_environment() | {
            "AIGUILLAGE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "AIGUILLAGE_TOPIC_PREFIX": f"sharing-{token_hex(4)}.",
            "AIGUILLAGE_TOPIC_PARTITIONS": str(PARTITIONS),
            "AIGUILLAGE_PUBLIC_URL": fronts["partners"].url,
        }
        hub = await scaled_out(directory, server, environment)
        stack.push_async_callback(hub.stop)
        urls = await _twins_of(hub)
        for name, front in fronts.items():
            front.backends = list(urls[name])
            hub.address[name] = front.url
        partners = await stack.enter_async_context(simulators(hub))
        yield Twins(hub, urls, partners, Flow(hub, seed=59461))


async def _twins_of(hub: Hub) -> dict[str, tuple[str, str]]:
    """Start a second process of each service; answers the addresses of both."""
    second = {n: Child(n, c.arguments, c.log, c.environment) for n, c in hub.children.items()}
    hub.children |= {f"{name}-twin": child for name, child in second.items()}
    lines = await asyncio.gather(*(child.start() for child in second.values()))
    urls = {
        name: (hub.address[name], orjson.loads(line)[name])
        for name, line in zip(second, lines, strict=True)
    }
    await hub.opened(twin for _, twin in urls.values())
    return urls


async def test_two_processes_of_each_service_share_the_work(twins: Twins):
    async with twins.flow.running():
        await until(twins.all_shared)
    await twins.flow.nothing_lost_or_doubled(twins.partners)
    events = await twins.count("SELECT count(*) FROM intake.events")
    assert sum(await twins.applied("referrals", "routing")) == events
    assert sum(await twins.applied("audit", "log-intake")) == events


async def test_process_frozen_until_others_took_over_applies_nothing_stale(twins: Twins):
    await twins.flow.send(8)
    await twins.flow.nothing_lost_or_doubled(twins.partners)  # idle: it holds no lock
    frozen = twins.hub.children["referrals"].process
    assert frozen is not None
    frozen.send_signal(signal.SIGSTOP)
    try:
        # the broker has fetches of the frozen one to answer: these records wait in its socket
        await twins.flow.send(40)
        await until(twins.opened)
    finally:
        frozen.send_signal(signal.SIGCONT)
    await twins.flow.send(20)
    await twins.flow.nothing_lost_or_doubled(twins.partners)
    events = await twins.count("SELECT count(*) FROM intake.events")
    assert sum(await twins.applied("referrals", "routing")) == events
    async with twins.hub.session.get(twins.urls["referrals"][0] + "/livez") as response:
        assert response.status == 200


async def test_one_of_each_killed_under_load_is_replaced_by_the_other(twins: Twins):
    living = {n: pid for n, pid in pids(twins.hub).items() if n.endswith("-twin")}
    async with twins.flow.running():
        await twins.flow.accepted(20)
        for name in PROCESSES:
            await twins.hub.children[name].kill()
            await twins.flow.accepted(5)
        await twins.flow.accepted(40)
    await until(twins.opened)
    await twins.flow.nothing_lost_or_doubled(twins.partners)
    assert pids(twins.hub) == living
