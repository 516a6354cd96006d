"""One JSON line a measure, with a peer run in turn in the same call.

``python -m tests.benchmarks [NAME]`` runs all, or those whose name starts so.
"""

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import orjson

from infra.postgres.database import vault_url
from infra.postgres.embedded import EmbeddedPostgres
from infra.postgres.migrations import migrate

ROUNDS = 3
Run = Callable[[], Awaitable[int]]


@dataclass
class Bench:
    """Where a benchmark runs: a directory and a migrated database."""

    directory: Path
    server: EmbeddedPostgres
    url: str


@asynccontextmanager
async def bench(name: str = "bench") -> AsyncIterator[Bench]:
    """A fresh embedded PostgreSQL with its usual, durable settings."""
    with TemporaryDirectory(prefix="aiguillage-bench-") as directory:
        server = EmbeddedPostgres(Path(directory))
        server.start()
        url = server.url(name)
        await migrate(url, vault_url(url))
        try:
            yield Bench(Path(directory), server, url)
        finally:
            server.stop("immediate")


async def rate(run: Run) -> float:
    """What one run did per second."""
    started = time.perf_counter()
    done = await run()
    return done / (time.perf_counter() - started)


async def compare(
    measure: str, ours: Run, peer: str, theirs: Run, unit: str = "events/s"
) -> None:
    """Run both in turn, three times, and print the medians and their ratio."""
    values, peers = [], []
    for _ in range(ROUNDS):
        values.append(await rate(ours))
        peers.append(await rate(theirs))
    report(measure, median(values), peer, median(peers), ROUNDS, unit=unit)


def report(
    measure: str,
    value: float,
    peer: str | None = None,
    peer_value: float | None = None,
    n: int = 1,
    **more: object,
) -> None:
    """Print one line of JSON."""
    ratio = round(value / peer_value, 3) if peer_value else None
    line = {
        "measure": measure,
        "value": round(value, 2),
        "unit": more.pop("unit", "events/s"),
        "peer": peer,
        "peer_value": round(peer_value, 2) if peer_value else None,
        "ratio": ratio,
        "n": n,
        **more,
    }
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()
