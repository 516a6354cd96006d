"""crowd.livez: how long `/livez` takes while a crowd of strangers stands before the door.

500 slow connections under 400 descriptors, bodies of 256 MiB with and without a key, and events
of 250 KB, all at once; the peer is the same hub in peace.
"""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from statistics import quantiles
from tempfile import TemporaryDirectory
from uuid import uuid4

import aiohttp
import orjson

from services.hub.demo.processes import Hub
from tests.benchmarks.measure import report
from tests.e2e.hubs import STRUCTURED, contact
from tests.e2e.test_crowd import CROWD, MIB, crowd, endless, limited_hub, slow, status

PROBES = 400
PAUSE_SECONDS = 0.03
BODY_BYTES = 256 * MIB
EVENT_BYTES = 250_000


async def main() -> None:
    """Probe in peace, in the crowd, and in peace again."""
    with TemporaryDirectory(prefix="aiguillage-bench-crowd-") as directory:
        async with limited_hub(directory) as hub:
            before = await _probed(hub)
            strangers = [asyncio.create_task(one) for one in _strangers(hub)]
            async with crowd(hub.address["intake"], slow("/intake/v1/events")):
                meanwhile = await _probed(hub)
            for one in strangers:
                one.cancel()
            done = await asyncio.gather(*strangers, return_exceptions=True)
            if failed := [x for x in done if not isinstance(x, asyncio.CancelledError)]:
                raise RuntimeError(f"a stranger gave up: {failed[0]!r}")
            after = await _probed(hub)
    report(
        "crowd.livez", _p99(meanwhile), "in peace", _p99(before + after), unit="ms, p99",
        n=PROBES, crowd=CROWD, event_bytes=EVENT_BYTES, body_mib=BODY_BYTES // MIB,
    )  # fmt: skip


async def _probed(hub: Hub) -> list[float]:
    """Milliseconds until each of many callers, with a connection of its own, is answered."""
    waits = []
    for _ in range(PROBES):
        started = time.perf_counter()
        if await status(f"{hub.address['intake']}/livez") != 200:
            raise RuntimeError("not alive")
        waits.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(PAUSE_SECONDS)
    return waits


def _p99(waits: list[float]) -> float:
    return quantiles(waits, n=100)[98]


def _strangers(hub: Hub) -> list[Coroutine[None, None, None]]:
    url = hub.address["intake"] + "/v1/events"
    key = {"authorization": f"Bearer {hub.address['keys']['municipal']}"}

    async def bodies(headers: dict[str, str]) -> None:
        while True:
            data = endless(BODY_BYTES)
            with suppress(aiohttp.ClientError):  # cut for going on after its answer
                async with aiohttp.request("POST", url, headers=headers, data=data) as answer:
                    await answer.read()
            await asyncio.sleep(0.2)

    async def events() -> None:
        while True:
            event = contact(str(uuid4()), uuid4().int)
            event["data"]["wide"] = {f"{n:010}": "x" * 10 for n in range(EVENT_BYTES // 27)}
            body, headers = orjson.dumps(event), key | {"content-type": STRUCTURED}
            with suppress(aiohttp.ClientError):  # it made room for a newcomer
                async with aiohttp.request("POST", url, headers=headers, data=body) as answer:
                    if answer.status not in (422, 503):
                        raise RuntimeError(f"a wide event got {answer.status}")
            await asyncio.sleep(0.1)

    media = {"content-type": "application/json"}
    return [bodies(media), bodies(media | key), events()]
