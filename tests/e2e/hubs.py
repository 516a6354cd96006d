"""A hub in processes of its own, and the command line run against it."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import orjson

from contracts.public import PublicContact
from contracts.tools.examples import FRONT_DESK, agreement, envelope, person
from contracts.values import PartnerKind
from services.hub.demo.day import demo_environment
from services.hub.demo.processes import Child, Hub, cli, embedded_hub

WAIT_SECONDS = 150
COMMAND_SECONDS = 150
STRUCTURED = "application/cloudevents+json"
JOB = "trouver-un-emploi--repondre-a-des-offres-demploi"


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: bytes
    err: str


async def aiguillage(*arguments: str, environment: Mapping[str, str] | None = None) -> Finished:
    """Run `aiguillage …` to its end; one that does not end is killed, and fails the test."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *cli(*arguments),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return Finished(process.returncode or 0, out, err.decode())


@dataclass
class Up:
    """`aiguillage up` on a directory; started as often as a test likes."""

    directory: Path
    environment: Mapping[str, str] = field(default_factory=demo_environment)
    hub: Hub | None = None

    async def start(self) -> Hub:
        """Start it, and answer what it says of itself."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.hub = await embedded_hub(self.directory, self.environment)
        return self.hub

    async def stop(self) -> int:
        """SIGTERM; answers the exit code. Nothing more may come on its standard output."""
        process = self.child.process
        await self._close(self.child.stop())
        assert process is not None
        assert process.stdout is not None
        assert await process.stdout.read() == b""
        return await process.wait()

    async def kill(self) -> None:
        """``kill -9``."""
        await self._close(self.child.kill())

    @property
    def child(self) -> Child:
        """The one process of the hub."""
        assert self.hub is not None
        return self.hub.children["hub"]

    async def _close(self, ending: Awaitable[None]) -> None:
        assert self.hub is not None
        await ending
        await self.hub.session.close()
        self.hub = None

    async def run(self, *arguments: str) -> Finished:
        """Run a command on the same directory, with the same code."""
        given = ("--data", str(self.directory))
        return await aiguillage(*arguments, *given, environment=self.environment)


def contact(ref: str, seed: int, source: str = FRONT_DESK, **given: Any) -> dict[str, Any]:
    """A contact of an invented young person who seeks a job and agrees to every partner."""
    random = Random(seed)
    resident = person(random) | {"ref": ref}
    resident["facts"] |= {
        "birth_date": {"value": "2006-05-17"},
        "situation": {"value": "job-seeker"},
        "study_level": {"value": "bac"},
    }
    data = {
        "mode": "walk-in",
        "person": resident,
        "agreements": [agreement(kind) for kind in PartnerKind],
        "needs": [{"thematique": JOB}],
    }
    return envelope(PublicContact.TYPE, data | given, random, source)


async def emit(hub: Hub, event: dict[str, Any]) -> dict[str, Any]:
    """Send one event that must be accepted; answers its receipt."""
    status, receipt = await hub.post("intake", "/v1/events", "municipal", event, STRUCTURED)
    assert status == 202, receipt
    found: dict[str, Any] = receipt
    return found


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until a condition holds, and answer it; the bound only ends a test that fails."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not (found := await condition()):
            await asyncio.sleep(0.05)
    return found


async def cases(hub: Hub, person_id: str) -> list[dict[str, Any]]:
    """The cases of a person."""
    found = await hub.get("referrals", "/v1/cases", "adviser", person_id=person_id)
    listed: list[dict[str, Any]] = found["cases"]
    return listed


async def with_referral(hub: Hub, person_id: str) -> dict[str, Any]:
    """Wait until the person's case has a referral; answers the first one."""

    async def first() -> Any:
        found = [r for case in await cases(hub, person_id) for r in case["referrals"]]
        return found[0] if found else None

    referral: dict[str, Any] = await until(first)
    return referral


async def rows(hub: Hub, query: str, *values: Any) -> list[Any]:
    """Ask the database as its owner."""
    connection = await asyncpg.connect(hub.address["database_url"])
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()


async def all_logged(hub: Hub) -> int:
    """Wait until every event is in the log and signed for; answers how many there are."""

    async def signed() -> Any:
        async with hub.session.get(hub.address["audit"] + "/v1/log") as response:
            log = orjson.loads(await response.read())
        (row,) = await rows(hub, EVENTS)
        return log["size"] if log["signed_size"] == log["size"] == row["count"] else None

    size: int = await until(signed)
    return size


EVENTS = (
    "SELECT (SELECT count(*) FROM intake.events) + (SELECT count(*) FROM referrals.events) "
    "+ (SELECT count(*) FROM partners.events) + (SELECT count(*) FROM audit.events) AS count"
)
