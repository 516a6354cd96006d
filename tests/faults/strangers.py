"""Random valid and hostile things at every door, with Kafka; then: did anything fall?

``python -m tests.faults.strangers --minutes 10 --seed 7``
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import aiohttp

from tests.faults.campaign import Result, hub_of
from tests.faults.strange_callers import Adviser, Emitter, Idler, Keeper, Walker
from tests.faults.strange_checks import judge
from tests.faults.strange_partners import Filed, Mailed, Signer
from tests.faults.strange_scene import Scene
from tests.faults.strange_topics import Forger, Producer
from tests.support.mailbox import mailbox
from tests.support.sftp import sftp_server

STRANGER = "127.0.0.2"
WARM_SHARE = 0.4
"""Of the time, until memory is taken for that of a hub that has seen everything once."""
CROWDED_SECONDS = 180
PARTNER = "petite-foret--mission-locale"
Step = Callable[[Random], Awaitable[None]]


@asynccontextmanager
async def scene_of(directory: Path, result: Result) -> AsyncIterator[Scene]:
    """A hub with Kafka, a mail server and a file server."""
    async with AsyncExitStack() as stack:
        box = await stack.enter_async_context(mailbox())
        files = await stack.enter_async_context(sftp_server(directory / "sftp"))
        environment = {
            "AIGUILLAGE_SMTP_URL": box.url,
            "AIGUILLAGE_COLLECT_SECONDS": "2",
            "AIGUILLAGE_LOG_LEVEL": "INFO",
        }
        hub = await stack.enter_async_context(hub_of("kafka", directory / "hub", environment))
        connector = aiohttp.TCPConnector(local_addr=(STRANGER, 0))
        timeout = aiohttp.ClientTimeout(total=60)
        stranger = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=timeout)
        )
        scene = Scene(hub, directory / "hub", result, stranger, box, files)
        path = f"/v1/partners/{PARTNER}/keys"
        _, made = await hub.post("partners", path, "partner_admin", {"name": "strangers"})
        scene.keys = dict(hub.address["keys"]) | {"partner": made["key"]}
        yield scene


async def run(directory: Path, seconds: float, seed: int) -> Result:
    """One campaign; ``problems`` is empty if all held."""
    result = Result()
    async with scene_of(directory, result) as scene, AsyncExitStack() as stack:
        signer, mailed, filed = Signer(scene), Mailed(scene), Filed(scene)
        runner = await signer.start()
        stack.push_async_callback(runner.cleanup)
        await mailed.start()
        await filed.start()
        producer, forger, idler = Producer(scene), Forger(scene), Idler(scene)
        for one in (producer, forger, idler):
            stack.push_async_callback(one.stop)
        emitters, walker = [Emitter(scene) for _ in range(2)], Walker(scene)
        steps: list[tuple[Step, float]] = [
            *((emitter.step, 0.3) for emitter in emitters), (producer.step, 0.3),
            (forger.step, 1.5), (signer.step, 0.05), (mailed.step, 0.5), (filed.step, 4),
            (walker.step, 0.1), (walker.step, 0.1), (Keeper(scene).step, 3), (idler.step, 0.2),
            (Adviser(scene).step, 0.2),
        ]  # fmt: skip
        scene.say("strangers come")
        await _at_once(scene, steps, seconds, seed)
        result.figures["messages to partners"] = signer.messages
        result.figures["mails"] = len(scene.box.messages)
        await idler.stop()
        await judge(scene)
    return result


async def _at_once(
    scene: Scene, steps: list[tuple[Step, float]], seconds: float, seed: int
) -> None:
    """All until the time is over; each by a random of its own, whatever the others do."""
    ends = time.monotonic() + seconds

    async def keep(number: int, step: Step, pause: float) -> None:
        random = Random(f"{seed} {number}")
        while _goes_on(scene, ends):
            await step(random)
            await asyncio.sleep(random.uniform(0, 2 * pause))

    async def watch() -> None:
        while _goes_on(scene, ends):
            await scene.probe()
            await asyncio.sleep(0.5)

    async def measure() -> None:
        await asyncio.sleep(seconds * WARM_SHARE)
        scene.result.figures["MiB, warm"] = scene.memory()

    async with asyncio.TaskGroup() as work:
        work.create_task(watch())
        work.create_task(measure())
        for number, (step, pause) in enumerate(steps):
            work.create_task(keep(number, step, pause))
    scene.result.figures["MiB, at the end"] = scene.memory()
    if len(scene.waits) > 1:
        p99 = statistics.quantiles(scene.waits, n=100)[98]
        scene.result.figures["livez p99, ms"] = round(p99 * 1000)


def _goes_on(scene: Scene, ends: float) -> bool:
    """Until the time is over; on a crowded machine, until there is something to judge."""
    late = time.monotonic() - ends
    return late < 0 or (late < CROWDED_SECONDS and not (scene.contacts and scene.answers))


def main() -> None:
    """Run the campaign; exit code 1 if anything did not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6))
    given = parser.parse_args()
    sys.stderr.write(f"strangers: {given.minutes:g} minutes, seed {given.seed}\n")
    with tempfile.TemporaryDirectory(prefix="aiguillage-strangers-") as directory:
        result = asyncio.run(run(Path(directory), given.minutes * 60, given.seed))
    for name, figure in result.figures.items():
        sys.stderr.write(f"  {name}: {figure}\n")
    for problem in result.problems:
        sys.stderr.write(f"  ✗ {problem}\n")
    sys.stderr.write("  ✓ all held\n" if not result.problems else "")
    raise SystemExit(1 if result.problems else 0)


if __name__ == "__main__":
    main()
