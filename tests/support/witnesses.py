"""Witnesses on real sockets: our own, and one that answers what a test says."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.tlog.note import VKey
from infra.tlog.signers import NoteSigner
from infra.tlog.witness import Witness
from infra.web.server import Server, bind
from services.hub.witness import witness_app, witness_signers


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """An application on a free port; answers its address."""
    with bind("127.0.0.1", 0) as listening:
        config = uvicorn.Config(app, log_level="critical", lifespan="off")
        server = Server(config)
        task = asyncio.create_task(server.serve([listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.stop()
            await task


@dataclass
class Town:
    """A running witness: its address, its keys, its directory."""

    url: str
    signers: Sequence[NoteSigner]
    directory: Path

    def line(self, name: str) -> str:
        """Its line in a policy."""
        return f"witness {name} {self.signers[0].vkey.encode()} {self.url}"


@asynccontextmanager
async def town(
    directory: Path, name: str, logs: Sequence[VKey], *, ml_dsa: bool = False
) -> AsyncIterator[Town]:
    """Our own witness."""
    signers = witness_signers(directory, name, ml_dsa=ml_dsa)
    async with serving(witness_app(Witness(directory, signers, logs))) as url:
        yield Town(url, signers, directory)


@dataclass
class Scripted:
    """A witness that answers what it is told to, one answer after the other."""

    answers: list[tuple[int, str, str]]
    asked: list[bytes] = field(default_factory=list)

    @property
    def app(self) -> Starlette:
        """Where it is asked."""
        return Starlette(routes=[Route("/add-checkpoint", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> Response:
        self.asked.append(await request.body())
        status, kind, body = self.answers.pop(0)
        return Response(body, status, headers={"content-type": kind})
