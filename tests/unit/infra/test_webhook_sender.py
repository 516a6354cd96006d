"""One send, against endpoints that misbehave in every way we know of."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest
from aiohttp import web

from infra.delivery.ssrf_guard import Guard, parse_networks
from infra.delivery.webhook.sender import (
    MAX_ANSWER_BYTES,
    MAX_RETRY_AFTER_SECONDS,
    Outcome,
    Outgoing,
    Sender,
    Sent,
    retry_after,
)
from infra.delivery.webhook.signature import new_secret, verify
from tests.support.partners import Sink, sink_on_loopback

OPEN = Guard(parse_networks("127.0.0.0/8,::1/128"))
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def message(url: str, **given: object) -> Outgoing:
    return Outgoing(url, "dlv_1", b'{"type":"x"}', [new_secret()], **given)  # type: ignore[arg-type]


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    sender = Sender(OPEN, deadline_seconds=2)
    yield sender
    await sender.close()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with sink_on_loopback() as sink:
        yield sink


async def raw_server(handle: Raw) -> tuple[asyncio.Server, str]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_message_is_signed_with_every_key_and_carries_its_trace(
    sender: Sender, sink: Sink
):
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    out = Outgoing(sink.url, "dlv_1", b"{}", [new_secret(), new_secret()], trace)
    assert await sender.send(out) == Sent(Outcome.OK, None, 204)
    (got,) = sink.received
    for key in out.keys:
        assert verify([key], got.headers, got.body, datetime.now(UTC)).webhook_id == "dlv_1"
    assert got.headers["traceparent"].split("-")[1] == "a" * 32
    assert got.headers["traceparent"] != trace
    assert "cookie" not in got.headers


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.OK), (202, Outcome.OK), (204, Outcome.OK), (301, Outcome.RETRY),
        (302, Outcome.RETRY), (400, Outcome.RETRY), (404, Outcome.RETRY), (408, Outcome.RETRY),
        (410, Outcome.GONE), (429, Outcome.RETRY), (500, Outcome.RETRY), (503, Outcome.RETRY),
    ],
)  # fmt: skip
async def test_status_decides_what_follows(
    sender: Sender, sink: Sink, status: int, outcome: Outcome
):
    sink.replies = [web.Response(status=status)]
    sent = await sender.send(message(sink.url))
    assert (sent.outcome, sent.status) == (outcome, status)


async def test_redirect_is_not_followed(sender: Sender, sink: Sink):
    async with sink_on_loopback() as other:
        sink.replies = [web.Response(status=307, headers={"location": other.url})]
        assert (await sender.send(message(sink.url))).error == "http-307"
        assert other.received == []


async def test_wait_that_is_asked_for_is_reported(sender: Sender, sink: Sink):
    sink.replies = [web.Response(status=429, headers={"retry-after": "120"})]
    assert (await sender.send(message(sink.url))).retry_after == 120


async def test_error_page_that_comes_with_200_is_no_receipt(sender: Sender, sink: Sink):
    page = "\n<!DOCTYPE html><html><body>Blocked by our firewall</body></html>"
    sink.replies = [
        web.Response(text=page, content_type="text/html"),
        web.Response(text="ok", content_type="text/html"),
    ]
    assert await sender.send(message(sink.url)) == Sent(Outcome.RETRY, "html-page", 200)
    assert await sender.send(message(sink.url)) == Sent(Outcome.OK, None, 200)


async def test_receipt_that_says_it_failed_is_no_receipt(sender: Sender, sink: Sink):
    said = '{"success": false, "message": "Dossier introuvable"}'
    sink.replies = [web.Response(text=said, content_type="application/json")]
    assert await sender.send(message(sink.url)) == Sent(Outcome.RETRY, "error-in-200", 200)


@pytest.mark.parametrize(
    ("status", "over", "outcome"),
    [
        (404, True, Outcome.OK), (409, True, Outcome.OK), (422, True, Outcome.OK),
        (400, True, Outcome.OK), (410, True, Outcome.GONE), (500, True, Outcome.RETRY),
        (404, False, Outcome.RETRY), (409, False, Outcome.RETRY),
    ],
)  # fmt: skip
async def test_what_has_ended_there_already_needs_no_end(
    sender: Sender, sink: Sink, status: int, over: bool, outcome: Outcome
):
    reply = web.json_response({"detail": "Cette demande a déjà été clôturée"}, status=status)
    sink.replies = [reply]
    sent = await sender.send(message(sink.url, may_be_over=over))
    assert (sent.outcome, sent.status) == (outcome, status)


@pytest.mark.parametrize("status", [404, 409])
async def test_plain_refusal_does_not_say_that_anything_has_ended(
    sender: Sender, sink: Sink, status: int
):
    sink.replies = [web.Response(text="not found", status=status)]
    sent = await sender.send(message(sink.url, may_be_over=True))
    assert sent == Sent(Outcome.RETRY, f"http-{status}", status)


async def test_connection_is_kept_for_the_next_message(sender: Sender):
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):
            await reader.readuntil(b'{"type":"x"}')
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server, url = await raw_server(handle)
    async with server:
        assert (await sender.send(message(url))).outcome is Outcome.OK
        assert (await sender.send(message(url))).outcome is Outcome.OK
    assert connections == 1


async def test_endless_answer_is_cut_and_its_connection_dropped(sender: Sender):
    dropped = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b'{"type":"x"}')
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * MAX_ANSWER_BYTES)
                await writer.drain()
        except ConnectionError:
            dropped.set()
        finally:
            writer.close()

    server, url = await raw_server(handle)
    async with server:
        assert await sender.send(message(url)) == Sent(Outcome.OK, None, 200)
        async with asyncio.timeout(10):
            await dropped.wait()


@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1"]
)
async def test_one_deadline_spans_headers_and_body(beginning: bytes):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        try:
            await reader.read()
        finally:
            writer.close()

    server, url = await raw_server(handle)
    sender = Sender(OPEN, deadline_seconds=0.2)
    async with server:
        assert await sender.send(message(url)) == Sent(Outcome.RETRY, "timeout")
        await sender.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "disconnected"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1", "protocol"),
    ],
)
async def test_answer_that_is_not_http_or_cut_short_is_tried_again(
    sender: Sender, answer: bytes, error: str
):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b'{"type":"x"}')
        writer.write(answer)
        writer.close()

    server, url = await raw_server(handle)
    async with server:
        assert await sender.send(message(url)) == Sent(Outcome.RETRY, error)


async def test_nobody_listening_is_tried_again(sender: Sender):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sent = await sender.send(message(f"http://127.0.0.1:{port}/"))
    assert sent == Sent(Outcome.RETRY, "connect")


async def test_plain_server_where_https_is_expected_is_a_tls_error(sender: Sender, sink: Sink):
    sent = await sender.send(message(sink.url.replace("http:", "https:")))
    assert sent == Sent(Outcome.RETRY, "tls")


async def test_name_that_does_not_resolve_is_tried_again(sender: Sender):
    sent = await sender.send(message("https://no-such-host.invalid/"))
    assert sent == Sent(Outcome.RETRY, "dns")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
        "https://localhost/", "https://169.254.169.254/", "http://127.0.0.1/",
        "http://8.8.8.8/",
    ],
)  # fmt: skip
async def test_dial_to_a_blocked_address_is_never_made(url: str):
    sender = Sender(Guard(), deadline_seconds=2)
    assert await sender.send(message(url)) == Sent(Outcome.PERMANENT, "blocked-target")
    await sender.close()


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1/", "https://me@127.0.0.1/", "https://"])
async def test_url_that_we_never_deliver_to_is_permanent(sender: Sender, url: str):
    assert await sender.send(message(url)) == Sent(Outcome.PERMANENT, "unsafe-url")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("", None), ("soon", None), ("-5", None), ("1.5", None), ("²", None),
        ("0", 0), ("30", 30), ("9" * 30, MAX_RETRY_AFTER_SECONDS),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30), ("Mon, 23 Nov 2026 11:00:00 GMT", 0),
        ("Wed, 23 Nov 2050 12:00:00 GMT", MAX_RETRY_AFTER_SECONDS),
        ("Mon, 99 Nov 2026 12:00:30 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_number_or_date_and_capped(
    value: str | None, seconds: float | None
):
    assert retry_after(value, NOW) == seconds


async def test_connection_opened_while_others_close_is_closed_as_well():
    class Session:
        closed = False

        async def close(self) -> None:
            self.closed = True
            if self is first:  # somebody sends at this moment
                sender._sessions["http", None] = second  # type: ignore[assignment]

    first, second = Session(), Session()
    sender = Sender(Guard())
    sender._sessions["https", None] = first  # type: ignore[assignment]
    await sender.close()
    assert (first.closed, second.closed, sender._sessions) == (True, True, {})
