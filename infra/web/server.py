"""Serving an application on one socket until told to stop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from infra.web.accepting import Acceptor
from infra.web.connections import IDLE_SECONDS, Connection, Connections, places
from infra.workers.event_loop import settle_memory

REQUEST_SECONDS = 2


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; with port 0, a free one. Raises ``OSError`` if taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off only where the protocol is named
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    bound.listen(2048)
    return bound


def url_of(host: str, port: int) -> str:
    """The address of a server, as one writes it: IPv6 in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn, with its connections bounded, and signals left to us.

    Its own handlers raise signals again once it has stopped, which would end the process before
    the services and the database are stopped.
    """

    def __init__(self, config: uvicorn.Config, most: int | None = None) -> None:
        super().__init__(config)
        self._connections = Connections(most or places())
        self._acceptors: list[Acceptor] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    def stop(self) -> None:
        """Take no more requests, finish those under way for a moment."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Let callers in."""
        self.servers = []
        for listening in sockets or []:
            acceptor = Acceptor(listening, self._connections, self._connection)
            self._acceptors.append(acceptor)
            acceptor.open()
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """Once a second, see who is late."""
        if counter % 10 == 0:
            self._connections.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more; let requests finish."""
        for acceptor in self._acceptors:
            acceptor.close()
        await super().shutdown(sockets)

    def _connection(self) -> Connection:
        return Connection(
            self._connections, config=self.config, server_state=self.server_state, app_state={}
        )


async def serve(
    app: Any,
    listening: socket.socket,
    ready: Callable[[], None],
    opening: asyncio.Task[None] | None = None,
    root_path: str = "",
) -> None:
    """Serve until SIGTERM or SIGINT, then let requests finish for a moment.

    ``root_path``: below which a proxy serves us; it is in what we say of our own addresses.

    ``opening``: what still has to be done meanwhile; if it fails, serving ends with its error.
    The server's own log is off: a traceback may quote what a request held.
    """
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        root_path=root_path,
        log_config=None,
        log_level="critical",
        backlog=2048,
        timeout_graceful_shutdown=REQUEST_SECONDS,
        timeout_keep_alive=int(IDLE_SECONDS) + 1,  # Connections close it before
    )
    settle_memory()
    server = Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    task = asyncio.create_task(server.serve([listening]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    ready()
    if opening:
        opening.add_done_callback(lambda done: server.stop() if _failed(done) else None)
    await task
    if opening and _failed(opening):
        opening.result()


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None
