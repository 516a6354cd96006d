"""Child processes for demo and fault campaign: a hub in one, or one per service."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from contracts.registry import SERVICES

READY_SECONDS = 240
STOP_SECONDS = 60


class ChildFailedError(Exception):
    """A child process ended, or did not become ready; the text is the end of its log."""


@dataclass
class Child:
    """One process of ours: started with its arguments, and again with the same ones."""

    name: str
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> str:
        """Start, and answer the first line that it prints when ready.

        Raises ``ChildFailedError`` with the end of its log.
        """
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self.arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(READY_SECONDS):
                line = await self.process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            await self.kill()
            tail = self.log.read_text(errors="replace")[-3000:]
            raise ChildFailedError(f"{self.name} did not start:\n{tail}")
        return line.decode().strip()

    async def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def kill(self) -> None:
        """``kill -9``, at whatever line it stands."""
        await self._signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to stop; kill it if it does not."""
        await self._signal(signal.SIGTERM)

    async def _signal(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        self.process = None


@dataclass
class Hub:
    """A running hub: where its services are and how to call them."""

    address: dict[str, Any]
    children: dict[str, Child]
    session: aiohttp.ClientSession

    async def get(self, service: str, path: str, role: str, **params: Any) -> Any:
        """GET a JSON document; raises ``aiohttp.ClientResponseError`` on a problem."""
        headers = self._headers(role)
        url = self.address[service] + path
        async with self.session.get(url, headers=headers, params=params) as response:
            response.raise_for_status()
            return orjson.loads(await response.read())

    async def post(
        self, service: str, path: str, role: str, body: Any, kind: str = "application/json"
    ) -> tuple[int, Any]:
        """POST a JSON document; return status and document."""
        headers = {**self._headers(role), "content-type": kind}
        data = orjson.dumps(body, default=str)
        url = self.address[service] + path
        async with self.session.post(url, headers=headers, data=data) as response:
            return response.status, orjson.loads(await response.read() or b"null")

    async def opened(self, urls: Iterable[str] = ()) -> None:
        """Wait until processes let callers in: these, or all of the hub.

        A process says where it is before it serves, lest its database is long in coming.
        """
        wanted = list(urls) or [self.address[name] for name in self.children]
        async with asyncio.timeout(READY_SECONDS):
            for url in wanted:
                while True:
                    async with self.session.get(url + "/readyz") as response:
                        if response.ok:
                            break
                    await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Stop every process, the consumers last."""
        await self.session.close()
        await asyncio.gather(*(child.stop() for child in self.children.values()))

    def _headers(self, role: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.address['keys'][role]}"}


def cli(*arguments: str) -> list[str]:
    """Arguments that run `aiguillage …` with this interpreter."""
    return ["-m", "services.hub.cli.main", *arguments]


async def embedded_hub(directory: Path, environment: Mapping[str, str], port: int = 0) -> Hub:
    """Everything in one process, on an embedded PostgreSQL in ``directory``."""
    options = ["--data", str(directory), "--port", str(port), "--json"]
    arguments = cli("up", *options)
    child = Child("hub", arguments, directory / "hub.log", environment)
    address = orjson.loads(await child.start())
    return Hub(address, {"hub": child}, _session())


async def scaled_hub(
    directory: Path, environment: Mapping[str, str], address: dict[str, Any]
) -> Hub:
    """One process per service and one relay, each of which says where it is.

    They serve as soon as the database is there, migrated, with its keys: see ``Hub.opened``.
    """
    hub = Hub(dict(address), {}, _session())
    for name in (*SERVICES, "relay"):
        options = ["--data", str(directory), "--port", "0", "--json"]
        arguments = cli("run", name, *options)
        hub.children[name] = Child(name, arguments, directory / f"{name}.log", environment)
    started = await asyncio.gather(
        *(child.start() for child in hub.children.values()), return_exceptions=True
    )
    if failed := next((e for e in started if isinstance(e, BaseException)), None):
        await hub.stop()
        raise failed
    for line in started:
        hub.address |= orjson.loads(str(line))
    return hub


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
