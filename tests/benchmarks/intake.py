"""Durable HTTP intake, beside a bare Starlette + pydantic route that stores nothing."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import orjson

from contracts.public import PublicContact
from contracts.tools.examples import example
from infra.base import data_directory
from services.hub.demo.processes import Child, cli
from tests.benchmarks.measure import Bench, Run, bench, compare

SINGLE, BATCHES, BATCH_SIZE, CONNECTIONS = 6000, 40, 250, 64
KIND = {True: "application/cloudevents-batch+json", False: "application/cloudevents+json"}


def bodies(count: int, batch: int | None) -> list[bytes]:
    """Fresh events each time: a repeat would be answered from the inbox."""
    random = Random()

    def one() -> dict[str, Any]:
        event = example(PublicContact.TYPE, random)
        event["data"]["agreements"] = event["data"]["agreements"][:1]
        return event

    if batch is None:
        return [orjson.dumps(one()) for _ in range(count)]
    return [orjson.dumps([one() for _ in range(batch)]) for _ in range(count)]


def posting(url: str, key: str, made: Callable[[], list[bytes]], size: int, batch: bool) -> Run:
    """Post every body over kept-alive connections; all must be answered 202."""
    prepared = [made() for _ in range(3)]

    async def run() -> int:
        queue = prepared.pop()
        count = len(queue)
        headers = {"authorization": f"Bearer {key}", "content-type": KIND[batch]}
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def worker() -> None:
                while queue:
                    async with session.post(url, data=queue.pop()) as response:
                        answer = await response.read()
                        assert response.status == 202, answer

            await asyncio.gather(*(worker() for _ in range(CONNECTIONS if not batch else 4)))
        return count * size

    return run


async def main() -> None:
    """intake.single and intake.batch."""
    async with bench("aiguillage") as place:
        service, peer = await _started(place)
        url, bare, key = service[1], peer[1], service[2]
        await compare(
            "intake.single",
            posting(f"{url}/v1/events", key, lambda: bodies(SINGLE, None), 1, False),
            "bare Starlette + pydantic, stores nothing",
            posting(f"{bare}/events", key, lambda: bodies(SINGLE, None), 1, False),
        )
        await compare(
            "intake.batch",
            posting(
                f"{url}/v1/events", key, lambda: bodies(BATCHES, BATCH_SIZE), BATCH_SIZE, True
            ),
            "bare Starlette + pydantic, stores nothing",
            posting(
                f"{bare}/events", key, lambda: bodies(BATCHES, BATCH_SIZE), BATCH_SIZE, True
            ),
        )
        await service[0].stop()
        await peer[0].stop()


async def _started(place: Bench) -> tuple[Any, Any]:
    log = place.directory / "bench.log"
    environment = {
        "AIGUILLAGE_DATABASE_URL": place.url,
        "AIGUILLAGE_DATA": str(place.directory),
        "AIGUILLAGE_LOG_LEVEL": "ERROR",
    }
    data_directory.create(place.directory)  # as the first start of a hub does
    key = await _key(log, environment)
    service = Child("intake", cli("run", "intake", "--port", "0", "--json"), log, environment)
    url = orjson.loads(await service.start())["intake"]
    bare = Child("bare", [str(Path(__file__).with_name("bare_route.py"))], log, {})
    return (service, url, key), (bare, await bare.start())


async def _key(log: Path, environment: dict[str, str]) -> str:
    arguments = cli("keys", "create", "intake", "municipal", "bench", "--scope", "*")
    maker = Child("key", arguments, log, environment)
    key = await maker.start()
    await maker.stop()
    return key


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
