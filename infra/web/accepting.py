"""Taking connections from a listening socket, also when the process has no descriptor left.

asyncio's own way tries once for each place of the backlog, and logs each time, when there is
none; then nobody is let in for a second.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

from infra.web.connections import Connections

AT_ONCE = 32
"""Connections taken in one turn of the loop: none is counted before the next."""
AGAIN_SECONDS = 0.05
NOBODY = (BlockingIOError, InterruptedError, ConnectionAbortedError)
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Takes connections while it is open."""

    def __init__(
        self,
        listening: socket.socket,
        connections: Connections,
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self._listening = listening
        self._connections = connections
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._again: asyncio.TimerHandle | None = None
        listening.setblocking(False)

    def open(self) -> None:
        """Let callers in."""
        self._loop.add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Let nobody in any more."""
        self._loop.remove_reader(self._listening)
        if self._again:
            self._again.cancel()

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                accepted, _address = self._listening.accept()
            except NOBODY:
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self._connections.make_room(AT_ONCE)
                self.close()
                self._again = self._loop.call_later(AGAIN_SECONDS, self.open)
                return
            accepted.setblocking(False)
            made = self._loop.connect_accepted_socket(self._protocol, accepted)
            task = self._loop.create_task(made)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
