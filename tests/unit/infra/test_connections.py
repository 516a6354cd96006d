"""Connections and bodies, with real sockets: who keeps us waiting does not stop the others."""

import asyncio
import gzip
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from infra.web import connections
from infra.web.bodies import Body
from infra.web.entrance import Entrance
from infra.web.server import bind, serve
from infra.workers.event_loop import SENDING_LOOP

GET = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Client]]


async def _echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _unread(request: Request) -> Response:
    return PlainTextResponse("not read")


async def _long(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 100_000

    return StreamingResponse(chunks())


async def _waits(request: Request) -> Response:
    await request.app.state.leave.wait()
    return PlainTextResponse("at last")


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with serving() as connect:
        yield connect


@asynccontextmanager
async def serving() -> AsyncIterator[Connect]:
    bodies = {
        "/": Body(100_000, open=True),
        "/slow": Body(100_000, seconds=0.2, open=True),
        "/unread": Body(open=True, unread=True),
    }
    app = Starlette(
        routes=[
            Route("/", _echo, methods=["GET", "POST"]),
            Route("/slow", _echo, methods=["POST"]),
            Route("/unread", _unread, methods=["POST"]),
            Route("/long", _long),
            Route("/waits", _waits),
        ],
        middleware=[Middleware(Entrance, bodies=bodies)],
    )
    app.state.leave = asyncio.Event()
    listening, ready, opened = bind("127.0.0.1", 0), asyncio.Event(), []
    port = listening.getsockname()[1]
    task = asyncio.create_task(serve(app, listening, ready.set))
    await ready.wait()

    async def connect() -> Client:
        client = await asyncio.open_connection("127.0.0.1", port)
        opened.append(client[1])
        return client

    try:
        yield connect
    finally:
        app.state.leave.set()
        for writer in opened:
            writer.close()
        signal.raise_signal(signal.SIGTERM)
        await task


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await _content(reader, headers)


async def _content(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    return await reader.readexactly(int(headers.get("content-length", "0")))


async def said(connect: Connect, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await connect()
    for part in parts:
        writer.write(part)
    return await answer(reader)


async def flood(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send without an end; ends when the other side hangs up."""
    while True:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0)


def slug(body: bytes) -> str:
    return str(orjson.loads(body)["type"]).rsplit("/", 1)[1]


@pytest.mark.slow
async def test_a_request_line_that_never_ends_is_answered_late_and_cut(connect, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    reader, writer = await connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: he")
    status, headers, body = await answer(reader)
    assert (status, slug(body)) == (408, "request-timeout")
    assert headers["content-type"] == "application/problem+json"
    assert await reader.read() == b""


async def test_one_who_never_says_a_word_is_cut(connect, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    reader, _ = await connect()
    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_line_ends_between_two_requests_do_not_keep_a_connection(connect, monkeypatch):
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.5)
    reader, writer = await connect()
    writer.write(GET)
    assert (await answer(reader))[0] == 200

    async def ticking() -> None:
        while not writer.is_closing():
            writer.write(b"\r\n")
            await asyncio.sleep(0.05)

    ticks = asyncio.create_task(ticking())
    assert await reader.read() == b""
    ticks.cancel()


@pytest.mark.slow
async def test_a_connection_between_two_requests_outlives_that_of_a_late_head(
    connect, monkeypatch
):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    reader, writer = await connect()
    for pause in (2.5, 0):
        writer.write(GET)
        assert (await answer(reader))[0] == 200
        await asyncio.sleep(pause)
    writer.write(GET[:9])
    assert (await answer(reader))[0] == 408


async def test_a_connection_that_nobody_uses_is_closed_without_a_word(connect, monkeypatch):
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.1)
    for request in (GET, b"POST /unread HTTP/1.1\r\nhost: here\r\ncontent-length: 0\r\n\r\n"):
        reader, writer = await connect()
        writer.write(request)
        assert (await answer(reader))[0] == 200
        assert await reader.read() == b""


async def test_headers_larger_than_allowed_are_refused(connect):
    long = b"GET / HTTP/1.1\r\nhost: here\r\nx: " + b"y" * 40_000 + b"\r\n\r\n"
    status, _, body = await said(connect, long)
    assert (status, slug(body)) == (431, "headers-too-large")


async def test_headers_that_never_end_are_cut(connect):
    _, writer = await connect()
    writer.write(b"GET / HTTP/1.1\r\n")
    with pytest.raises(ConnectionError):
        await flood(writer, b"x: " + b"y" * 50_000)


async def test_trailers_that_never_end_are_cut(connect):
    head = b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
    _, writer = await connect()
    writer.write(head + b"1\r\nx\r\n0\r\n")
    with pytest.raises(ConnectionError):
        await flood(writer, b"x: " + b"y" * 50_000 + b"\r\n")


async def test_a_path_longer_than_allowed_is_refused(connect):
    status, _, body = await said(connect, b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n")
    assert (status, slug(body)) == (431, "headers-too-large")


async def test_what_is_not_http_is_a_problem_document(connect):
    status, headers, body = await said(connect, b"\x16\x03\x01 hello\r\n\r\n")
    assert (status, slug(body)) == (400, "malformed")
    assert headers["content-type"] == "application/problem+json"


async def test_a_body_that_does_not_come_in_time_is_answered(connect):
    head = b"POST /slow HTTP/1.1\r\nhost: here\r\ncontent-length: 50\r\n\r\n12345"
    status, _, body = await said(connect, head)
    assert (status, slug(body)) == (408, "request-timeout")


async def test_a_body_declared_too_large_is_refused_before_it_comes(connect):
    head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 268435456\r\n\r\n"
    status, _, body = await said(connect, head)
    assert (status, slug(body)) == (413, "too-large")


async def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(connect):
    head = b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"c350\r\n" + b"x" * 50_000 + b"\r\n"
    status, _, body = await said(connect, head, chunk, chunk, chunk)
    assert (status, slug(body)) == (413, "too-large")


async def test_a_body_as_large_as_allowed_is_taken_whole_in_any_chunks(connect):
    head = b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"c350\r\n" + b"x" * 50_000 + b"\r\n"
    assert (await said(connect, head, chunk, chunk, b"0\r\n\r\n"))[2] == b"100000"
    head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 100000\r\n\r\n"
    assert (await said(connect, head, b"x" * 100_000))[2] == b"100000"


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"gzip, identity"])
async def test_a_coded_body_is_refused_with_the_coding_that_is_taken(connect, coding):
    packed = gzip.compress(b"{}")
    head = (
        b"POST / HTTP/1.1\r\nhost: here\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n"
    )
    status, headers, body = await said(connect, head % (coding, len(packed)), packed)
    assert (status, slug(body)) == (415, "unsupported-media-type")
    assert headers["accept-encoding"] == "identity"


async def test_nothing_that_is_answered_is_kept_in_between(connect):
    assert (await said(connect, GET))[1]["cache-control"] == "no-store"


async def test_what_still_comes_after_an_answer_is_dropped_and_then_cut(connect):
    head = b"POST /unread HTTP/1.1\r\nhost: here\r\ncontent-length: 268435456\r\n\r\n"
    reader, writer = await connect()
    writer.write(head)
    assert (await answer(reader))[2] == b"not read"
    with pytest.raises(ConnectionError):
        await flood(writer, b"x" * 100_000)


async def test_an_answered_request_whose_body_never_comes_is_cut(connect, monkeypatch):
    monkeypatch.setattr(connections, "LEFT_SECONDS", 0.2)
    reader, writer = await connect()
    writer.write(b"POST /unread HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\n\r\n")
    assert (await answer(reader))[2] == b"not read"
    assert await reader.read() == b""


async def test_an_answer_that_nobody_takes_is_cut(connect, monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.5)
    _, writer = await connect()
    writer.write(GET.replace(b"/ ", b"/long ", 1))
    writer.transport.pause_reading()
    before = connections.CLOSED.labels("stalled")._value.get()
    while connections.CLOSED.labels("stalled")._value.get() == before:
        await asyncio.sleep(0.05)


async def test_callers_are_served_while_others_hold_every_place(monkeypatch):
    monkeypatch.setattr(connections, "MOST", 20)
    async with serving() as connect:
        for n in range(100):
            _, writer = await connect()
            writer.write(b"GET / HTTP/1.1\r\nhost: " + b"x" * (n % 2))
            if n % 10 == 0:
                assert (await said(connect, GET))[0] == 200


async def test_the_longest_waiting_makes_room(monkeypatch):
    monkeypatch.setattr(connections, "MOST", 2)
    async with serving() as connect:
        first, second = await connect(), await connect()
        second[1].write(GET)
        assert (await answer(second[0]))[0] == 200
        third = await connect()
        assert await first[0].read() == b""
        for reader, writer in (second, third):
            writer.write(GET)
            assert (await answer(reader))[0] == 200


async def test_where_everybody_is_being_served_a_newcomer_is_told_to_come_again(monkeypatch):
    monkeypatch.setattr(connections, "MOST", 2)
    async with serving() as connect:
        for _ in range(2):
            _, writer = await connect()
            writer.write(GET.replace(b"/ ", b"/waits ", 1))
        await asyncio.sleep(0.1)
        status, _, body = await said(connect)
        assert (status, slug(body)) == (503, "overloaded")


def test_a_process_on_the_loop_of_those_who_send_is_answered_and_cut_alike(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)

    async def calls() -> list[int]:
        async with serving() as connect:
            return [(await said(connect, sent))[0] for sent in (GET, b"GET / HTTP/1.1\r\n")]

    with asyncio.Runner(loop_factory=SENDING_LOOP) as runner:
        assert runner.run(calls()) == [200, 408]
