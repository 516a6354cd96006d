"""Broker and database go away under load, and come back: nobody restarts anything by hand.

``OUTAGE_SECONDS`` says for how long (``make faults``: 60).
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory

import pytest

from contracts.registry import SERVICES
from infra.base import data_directory
from infra.platform import DATABASE
from infra.postgres.embedded import EmbeddedPostgres
from services.hub.demo.day import demo_environment, directory_known, prepare, simulators
from services.hub.demo.kafka_broker import JarBroker, NoBroker, _free_port
from services.hub.demo.processes import Hub, embedded_hub, scaled_hub
from tests.faults.flow import Flow, all_answer, pids, until
from tests.support.kafka import skip_if_asked

OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "6"))
CRASH_EVERY_SECONDS = 3
PROCESSES = (*SERVICES, "relay")

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@dataclass
class Mortal:
    """A scaled-out hub, and what it stands on, in our hand."""

    hub: Hub
    broker: JarBroker
    server: EmbeddedPostgres
    partners: dict[str, str]
    flow: Flow
    alive_before: bool
    ready_before: bool
    started: dict[str, int]

    @property
    def urls(self) -> list[str]:
        return [self.hub.address[name] for name in PROCESSES]

    async def recovered(self) -> None:
        """Every process is the one that was started, alive and ready."""
        await until(lambda: all_answer(self.hub, self.urls, "/readyz", 200))
        assert await all_answer(self.hub, self.urls, "/livez", 200)
        assert pids(self.hub) == self.started


@pytest.fixture(scope="module")
async def mortal() -> AsyncIterator[Mortal]:
    """Its processes are started first; database and broker come afterwards."""
    skip_if_asked()
    async with AsyncExitStack() as stack:
        name = stack.enter_context(TemporaryDirectory(prefix="aiguillage-outage-"))
        directory, port, server = Path(name), _free_port(), EmbeddedPostgres(Path(name))
        url = server.url(DATABASE)  # before there is anything: the same afterwards
        environment = demo_environment() | {
            "AIGUILLAGE_DATABASE_URL": url,
            "AIGUILLAGE_KAFKA_BOOTSTRAP": f"127.0.0.1:{port}",
        }
        data_directory.create(directory)
        hub = await scaled_hub(directory, environment, {})
        stack.push_async_callback(hub.stop)
        urls = [hub.address[name] for name in PROCESSES]
        alive = await all_answer(hub, urls, "/livez", 200)
        unready = await all_answer(hub, urls, "/readyz", 503)
        started = pids(hub)
        await asyncio.to_thread(server.start)
        stack.callback(server.stop)
        assert server.url(DATABASE) == url
        hub.address |= await prepare(directory, url)
        try:
            broker = await asyncio.to_thread(JarBroker.start, directory / "broker", port)
        except NoBroker as absent:
            pytest.fail(f"{absent}\nAIGUILLAGE_TEST_SKIP_KAFKA=1 skips.", pytrace=False)
        stack.callback(broker.stop)
        await directory_known(hub)
        partners = await stack.enter_async_context(simulators(hub))
        flow = Flow(hub, seed=59459)
        yield Mortal(hub, broker, server, partners, flow, alive, not unready, started)


@pytest.mark.kafka
async def test_services_started_before_database_and_broker_work_once_those_come(
    mortal: Mortal,
):
    assert mortal.alive_before
    assert not mortal.ready_before
    await mortal.recovered()
    await mortal.flow.send(12)
    await mortal.flow.nothing_lost_or_doubled(mortal.partners)


@pytest.mark.kafka
async def test_broker_that_stops_under_load_loses_and_doubles_nothing(mortal: Mortal):
    async with mortal.flow.running():
        await mortal.flow.accepted(20)
        await asyncio.to_thread(mortal.broker.kill)
        await asyncio.sleep(OUTAGE_SECONDS)
        await mortal.flow.accepted(20)  # the intake needs no broker
        await asyncio.to_thread(mortal.broker.restart)
        await mortal.flow.accepted(20)
    await mortal.recovered()
    await mortal.flow.nothing_lost_or_doubled(mortal.partners)


@pytest.mark.kafka
async def test_database_that_stops_under_load_loses_and_doubles_nothing(mortal: Mortal):
    async with mortal.flow.running():
        await mortal.flow.accepted(20)
        await asyncio.to_thread(mortal.server.stop, "immediate")
        await until(lambda: all_answer(mortal.hub, mortal.urls, "/readyz", 503))
        await asyncio.sleep(OUTAGE_SECONDS)
        assert await all_answer(mortal.hub, mortal.urls, "/livez", 200)
        await asyncio.to_thread(mortal.server.start)
        await mortal.flow.accepted(20)
    await mortal.recovered()
    await mortal.flow.nothing_lost_or_doubled(mortal.partners)


async def test_embedded_database_that_crashes_under_load_is_started_again_by_the_hub():
    async with AsyncExitStack() as stack:
        name = stack.enter_context(TemporaryDirectory(prefix="aiguillage-outage-"))
        directory = Path(name)
        hub = await embedded_hub(directory, demo_environment())
        stack.push_async_callback(hub.stop)
        partners = await stack.enter_async_context(simulators(hub))
        flow, started, server = Flow(hub, seed=59460), pids(hub), EmbeddedPostgres(directory)
        async with flow.running():
            for _ in range(max(2, round(OUTAGE_SECONDS / CRASH_EVERY_SECONDS))):
                await flow.accepted(20)
                with contextlib.suppress(CalledProcessError):  # it is just being started
                    await asyncio.to_thread(server.stop, "immediate")
            await flow.accepted(20)
        urls = [hub.address[name] for name in SERVICES]
        await until(lambda: all_answer(hub, urls, "/readyz", 200))
        assert await all_answer(hub, urls, "/livez", 200)
        assert pids(hub) == started
        await flow.nothing_lost_or_doubled(partners)
