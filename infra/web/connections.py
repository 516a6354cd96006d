"""Connections of one server: how many there are, and how long each may keep us waiting.

uvicorn bounds neither the bytes nor the time of a request's head, and takes connections until
the process has no descriptor left. So whoever keeps us waiting is given a time, and where all
places are taken, the one who keeps us waiting longest makes room for the newcomer.
"""

import asyncio
import resource
from typing import Any, cast

from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from infra.web.problems import (
    CONTENT_TYPE,
    HeadersTooLarge,
    Malformed,
    Problem,
    RequestTimeout,
    overloaded,
)

HEAD_BYTES = 32 * 1024
"""Of a request line with its headers; and of anything else that is not a body."""
HEAD_SECONDS = 10.0
IDLE_SECONDS = 75.0
"""Between two requests: longer than clients keep a connection (aiohttp 15 s, proxies 60 s).

So it is they who close it. Who is cut just as a POST sets out cannot know whether it was read.
"""
LEFT_BYTES = 1024 * 1024
LEFT_SECONDS = 2.0
"""How much, and how long, of a body is still taken after its request was answered."""
STALL_SECONDS = 30.0
"""How long nobody needs to take anything of an answer."""
MOST = 1000
SHARE = 0.6
"""Of the descriptors that the process may have: the rest is for its database, and its files."""
CLOSED = Counter("aiguillage_connections_closed", "Connections that were cut, by why", ["why"])


def places() -> int:
    """How many connections this process can hold."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(MOST, int(soft * SHARE))


class Connections:
    """All of them, and in the order of their waiting those who keep us waiting."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._all: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}

    def enter(self, new: "Connection") -> bool:
        """Whether there is a place; the longest waiting is cut for it if need be."""
        if len(self._all) >= self._most and not self.make_room(1):
            return False
        self._all.add(new)
        self.awaits(new)
        return True

    def make_room(self, wanted: int) -> int:
        """Cut so many of those who keep us waiting, the longest first; answers how many."""
        chosen = list(self._waiting)[:wanted]
        for connection in chosen:
            CLOSED.labels("room").inc()
            connection.transport.abort()
            self.leave(connection)
        return len(chosen)

    def leave(self, gone: "Connection") -> None:
        """It is closed, or about to be."""
        self._all.discard(gone)
        self._waiting.pop(gone, None)

    def awaits(self, connection: "Connection") -> None:
        """From now on it is the caller's turn."""
        self._waiting.pop(connection, None)
        if connection in self._all:
            self._waiting[connection] = None

    def serves(self, connection: "Connection") -> None:
        """From now on it is our turn."""
        self._waiting.pop(connection, None)

    def sweep(self, now: float) -> None:
        """Cut whoever has kept us waiting too long."""
        for connection in list(self._all):
            connection.look(now)


class Connection(HttpToolsProtocol):
    """One connection, with a bound for all that its other end may do."""

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._connections = connections
        self._since = self.loop.time()
        self._head = self._body = self._idle = False
        self._quiet = self._left = self._unsent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, or say that there is none."""
        # uvloop's transports have all that one has, but are no asyncio.Transport by descent
        super().connection_made(cast(asyncio.Transport, transport))
        self._head = True  # so that one who never says a word is late as well
        if not self._connections.enter(self):
            self._refuse("full", overloaded("Too many are connected already"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place up."""
        self._connections.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse what goes on without being a body."""
        self._quiet += len(data)
        super().data_received(data)
        if self._quiet > HEAD_BYTES:
            self._refuse("head", too_long())

    def on_message_begin(self) -> None:
        """Start the clock of a request's head."""
        super().on_message_begin()
        self._head, self._idle, self._quiet = True, False, 0
        self._turn_of_the_caller()

    def on_headers_complete(self) -> None:
        """Start the clock of what is left of a body after its answer."""
        self._head, self._body, self._left = False, True, 0
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what trails behind a body is nothing that we read."""
        if not self._body:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Pass the body on; count what nobody needs any more."""
        self._quiet = 0
        super().on_body(body)
        if self.cycle.response_complete:
            self._left += len(body)
            if self._left > LEFT_BYTES:
                self.flow.pause_reading()  # so that the caller has time to read the answer

    def on_message_complete(self) -> None:
        """The request is whole: now it is our turn."""
        super().on_message_complete()
        self._body, self._quiet = False, 0
        self._idle = self.cycle.response_complete
        if not self._idle:
            self._connections.serves(self)

    def on_response_complete(self) -> None:
        """It is answered: now it is the caller's turn, for a rest of the body or the next."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._idle = not self._body
            self._turn_of_the_caller()

    def pause_writing(self) -> None:
        """The caller does not take the answer as fast as it comes."""
        super().pause_writing()
        self._connections.awaits(self)

    def resume_writing(self) -> None:
        """The caller took some of the answer."""
        super().resume_writing()
        self._since = self.loop.time()
        if not self.cycle.response_complete:
            self._connections.serves(self)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse("malformed", Malformed("This is not an HTTP request"))

    def look(self, now: float) -> None:
        """Cut the connection if the caller is late."""
        waited = now - self._since
        if unsent := self.transport.get_write_buffer_size():
            if unsent != self._unsent:
                self._unsent, self._since = unsent, now
            elif waited > STALL_SECONDS:
                self._cut("stalled")
        elif self._head and waited > HEAD_SECONDS:
            self._refuse("late", late())
        elif self._idle and waited > IDLE_SECONDS:
            CLOSED.labels("idle").inc()
            self.transport.close()
        elif self._body and self.cycle.response_complete and waited > LEFT_SECONDS:
            self._cut("body")

    def _turn_of_the_caller(self) -> None:
        self._since = self.loop.time()
        self._connections.awaits(self)

    def _cut(self, why: str) -> None:
        CLOSED.labels(why).inc()
        self.transport.abort()

    def _refuse(self, why: str, problem: Problem) -> None:
        """Say why, unless another answer is under way, and close."""
        if self.transport.is_closing():
            return
        CLOSED.labels(why).inc()
        if self.cycle is None or self.cycle.response_complete:
            answer = problem.response()
            head = (
                STATUS_LINE[problem.status]
                + (
                    f"content-type: {CONTENT_TYPE}\r\ncontent-length: {len(answer.body)}\r\n"
                    "cache-control: no-store\r\nconnection: close\r\n\r\n"
                ).encode()
            )
            self.transport.write(head + bytes(answer.body))
        self.transport.close()


def too_long() -> Problem:
    """A request line and headers larger than allowed."""
    detail = f"The request line and the headers have at most {HEAD_BYTES} bytes"
    return HeadersTooLarge(detail)


def late() -> Problem:
    """A request, or its body, that did not come in time."""
    return RequestTimeout()
