"""From the municipal system's request to the partner's endpoint, through every service."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from random import Random
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid5

import orjson
from aiohttp import web

from contracts.public import PublicContact
from contracts.tools.examples import agreement, envelope, person
from contracts.values import PartnerKind
from infra.postgres.embedded import EmbeddedPostgres
from services.hub.demo.day import demo_environment, scaled_out
from services.hub.demo.kafka_broker import obtain_broker
from services.hub.demo.processes import Hub, embedded_hub
from tests.benchmarks.measure import report

CASES, BATCH, SENDERS = 3000, 100, 4
PACED, PER_SECOND = 400, 40
WAIT_SECONDS = 240
NEED = "trouver-un-emploi--repondre-a-des-offres-demploi"
KIND = "application/cloudevents-batch+json"


class Sink:
    """A partner's endpoint that only notes when each referral arrives."""

    async def consent(self, _: web.Request) -> web.Response:
        """Say that messages are wanted."""
        return web.Response(headers={"webhook-allowed-origin": "*"})

    def __init__(self) -> None:
        self.arrived: dict[str, float] = {}

    async def hook(self, request: web.Request) -> web.Response:
        """Note the time and take it."""
        message = orjson.loads(await request.read())
        self.arrived.setdefault(message["data"]["referral_id"], time.perf_counter())
        return web.Response(status=204)


def contacts(count: int, random: Random) -> list[dict[str, Any]]:
    """Young job seekers who agree: each case goes to the Mission Locale by itself."""
    made = []
    for _ in range(count):
        resident = person(random)
        resident["facts"] |= {
            "birth_date": {"value": str(date(2003, 1, 1) + timedelta(random.randrange(1800)))},
            "situation": {"value": "job-seeker"},
        }
        data = {
            "mode": "walk-in",
            "person": resident,
            "agreements": [agreement(PartnerKind.MISSION_LOCALE)],
            "needs": [{"thematique": NEED}],
        }
        made.append(envelope(PublicContact.TYPE, data, random))
    return made


async def embedded() -> None:
    """whole_way.embedded."""
    with TemporaryDirectory(prefix="aiguillage-bench-") as directory:
        hub = await embedded_hub(Path(directory), demo_environment())
        try:
            await _measure("whole_way.embedded", hub)
        finally:
            await hub.stop()


async def kafka() -> None:
    """whole_way.kafka."""
    with TemporaryDirectory(prefix="aiguillage-bench-") as name:
        directory = Path(name)
        async with AsyncExitStack() as stack:
            broker = await asyncio.to_thread(obtain_broker, directory / "broker")
            stack.callback(broker.stop)
            server = EmbeddedPostgres(directory)
            server.start()
            stack.callback(server.stop)
            environment = demo_environment() | {
                "AIGUILLAGE_KAFKA_BOOTSTRAP": broker.bootstrap,
                "AIGUILLAGE_TOPIC_PREFIX": f"bench-{os.getpid()}.",
            }
            hub = await scaled_out(directory, server, environment)
            stack.push_async_callback(hub.stop)
            await _measure("whole_way.kafka", hub)


async def _measure(measure: str, hub: Hub) -> None:
    async with _sink(hub) as (sink, service_id):
        random = Random()
        await _flood(hub, sink, service_id, contacts(100, random))  # warm
        started = time.perf_counter()
        last = await _flood(hub, sink, service_id, contacts(CASES, random))
        report(measure, CASES / (last - started), unit="cases/s", n=CASES)
        waits = await _paced(hub, sink, service_id, contacts(PACED, random))
        cuts = quantiles(waits, n=100)
        for name, value in (("p50", cuts[49]), ("p99", cuts[98])):
            report(f"{measure}.{name}", value * 1000, unit="ms", n=PACED, at=f"{PER_SECOND}/s")


async def _flood(hub: Hub, sink: Sink, service_id: str, events: list[dict[str, Any]]) -> float:
    queue = [events[n : n + BATCH] for n in range(0, len(events), BATCH)]
    expected: list[str] = []

    async def sender() -> None:
        while queue:
            _, answer = await hub.post("intake", "/v1/events", "municipal", queue.pop(), KIND)
            expected.extend(_referral(r["receipt"], service_id) for r in answer["results"])

    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return await _all_arrived(sink, expected)


async def _paced(
    hub: Hub, sink: Sink, service_id: str, events: list[dict[str, Any]]
) -> list[float]:
    sent: dict[str, float] = {}

    async def one(event: dict[str, Any]) -> None:
        at = time.perf_counter()
        kind = "application/cloudevents+json"
        _, receipt = await hub.post("intake", "/v1/events", "municipal", event, kind)
        sent[_referral(receipt, service_id)] = at

    tasks = []
    for event in events:
        tasks.append(asyncio.create_task(one(event)))
        await asyncio.sleep(1 / PER_SECOND)
    await asyncio.gather(*tasks)
    await _all_arrived(sink, list(sent))
    return [sink.arrived[referral] - at for referral, at in sent.items()]


async def _all_arrived(sink: Sink, expected: list[str]) -> float:
    async with asyncio.timeout(WAIT_SECONDS):
        while any(referral not in sink.arrived for referral in expected):
            await asyncio.sleep(0.02)
    return max(sink.arrived[referral] for referral in expected)


def _referral(receipt: dict[str, Any], service_id: str) -> str:
    return str(uuid5(UUID(receipt["needs"][0]["case_id"]), "referral 1"))


@asynccontextmanager
async def _sink(hub: Hub) -> AsyncIterator[tuple[Sink, str]]:
    sink = Sink()
    app = web.Application()
    app.add_routes([web.post("/hook", sink.hook), web.options("/hook", sink.consent)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    services = (await hub.get("partners", "/v1/services", "partner_admin"))["services"]
    mine = [s for s in services if s["kind"] == PartnerKind.MISSION_LOCALE]
    body = {
        "partner_id": mine[0]["partner_id"],
        "service_ids": [s["service_id"] for s in mine],
        "url": f"http://127.0.0.1:{runner.addresses[0][1]}/hook",
    }
    await hub.post("partners", "/v1/endpoints", "partner_admin", body)
    chosen = next(s["service_id"] for s in mine if NEED in s["service"]["thematiques"])
    yield sink, chosen
    await runner.cleanup()
