"""Endpoints that are dead, hostile or broken: classified, bounded, seen; nobody else harmed."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from infra.delivery.ssrf_guard import Guard, parse_networks
from infra.delivery.webhook.sender import MAX_RETRY_AFTER_SECONDS, Outcome, Outgoing, Sender
from infra.delivery.webhook.signature import new_secret
from tests.support import hostile as h
from tests.support.partners import PARTNER, Hub, Sink, register

OPEN = Guard(parse_networks("127.0.0.0/8"))
OTHER = f"{PARTNER}--mobilite"
DEADLINE = 1.0
MOST_WRITTEN = 16 * 1024 * 1024
"""What the buffers of both sides may hold before a server that pours is cut off."""
BEHAVIOURS: list[tuple[h.Behaviour, str, str]] = [
    (h.hangs_at_headers, "retry", "timeout"),
    (h.hangs_at_body, "retry", "timeout"),
    (h.drips, "retry", "timeout"),
    (h.endless_headers, "retry", "protocol"),
    (h.endless_body, "ok", ""),
    (h.endless_chunks, "ok", ""),
    (h.resets, "retry", "disconnected"),
    (h.leads_to_metadata, "retry", "http-301"),
    (h.is_gone, "gone", "http-410"),
    (h.throttles(b"-5"), "retry", "http-429"),
    (h.throttles(b"9" * 300), "retry", "http-429"),
    (h.throttles(b"Fri, 31 Dec 9999 23:59:59 GMT"), "retry", "http-429"),
    (h.throttles(b"\xff\xfe soon"), "retry", "http-429"),
    (h.shows_a_page, "retry", "html-page"),
    (h.bombs, "ok", ""),
    (h.says_nuls, "retry", ""),
    (h.says_garbage, "retry", "protocol"),
    (h.lies_about_length, "retry", ""),
]
ATTEMPT = """
SELECT a.outcome, a.error FROM delivery_attempts a JOIN deliveries d USING (delivery_id)
WHERE d.service_id <> $1
"""
SSRF = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1",
    "3fff::1", "100::1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::1", "5f00::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::7f00:1", "::ffff:0:7f00:1",
    "::5efe:7f00:1",
]  # fmt: skip
LITERALS = [
    "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "2130706433", "0177.0.0.1",
    "127.1", "localhost", "localhost.", "[64:ff9b::7f00:1]", "169.254.169.254",
    "[::ffff:a9fe:a9fe]", "0",
]  # fmt: skip


def message(url: str) -> Outgoing:
    return Outgoing(url, "dlv_1", b"{}", [new_secret()])


@pytest.mark.parametrize(
    ("behaviour", "outcome", "error"),
    BEHAVIOURS,
    ids=[f"{n}-{b.__name__}" for n, (b, _, _) in enumerate(BEHAVIOURS)],
)
async def test_hostile_endpoint_is_classified_bounded_and_seen_and_harms_nobody(
    hub: Hub, sink: Sink, behaviour: h.Behaviour, outcome: str, error: str
):
    sender = Sender(OPEN, deadline_seconds=DEADLINE)
    hub.channels["webhook"].sender = sender
    async with h.hostile(behaviour) as bad:
        await register(hub, bad.url)
        await register(hub, sink.url, service_ids=[OTHER])
        await hub.refer()
        await hub.refer(service_id=OTHER)
        await hub.hear()
        async with asyncio.timeout(30):
            await hub.turn()
        assert bad.requests == 1
        assert bad.written < MOST_WRITTEN
    (attempt,) = await hub.rows(ATTEMPT, OTHER)
    assert attempt["outcome"] == outcome
    assert error in (attempt["error"] or "")
    assert len(sink.received) == 1


async def test_absurd_wait_is_capped():
    sender = Sender(OPEN, deadline_seconds=DEADLINE)
    for value in (b"9" * 300, b"Fri, 31 Dec 9999 23:59:59 GMT"):
        async with h.hostile(h.throttles(value)) as bad:
            sent = await sender.send(message(bad.url))
            assert sent.retry_after == MAX_RETRY_AFTER_SECONDS
    await sender.close()


async def test_endpoint_that_never_accepts_is_given_up_at_the_deadline():
    sender = Sender(OPEN, deadline_seconds=DEADLINE)
    with h.never_accepts() as url:
        async with asyncio.timeout(30):
            sent = await sender.send(message(url))
    await sender.close()
    assert (sent.outcome, sent.error) == (Outcome.RETRY, "timeout")


@pytest.mark.parametrize(
    ("given", "outcome", "error"),
    [
        ({}, Outcome.OK, None),
        ({"begins": -40, "days": 30}, Outcome.PERMANENT, "tls-certificate-expired"),
        ({"begins": 5}, Outcome.RETRY, "tls"),
        ({"host": "other.example"}, Outcome.RETRY, "tls"),
    ],
    ids=["good", "expired", "not-yet", "other-host"],
)
async def test_certificate_decides(
    tmp_path: Path, given: dict[str, Any], outcome: Outcome, error: str | None
):
    authority = h.Authority.new()

    async def take(server: h.Hostile, reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    sender = Sender(OPEN, deadline_seconds=5, tls=authority.trusted())
    async with h.hostile(take, authority.server(tmp_path, **given)) as server:
        sent = await sender.send(message(server.url))
    await sender.close()
    assert (sent.outcome, sent.error) == (outcome, error)


async def test_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path):
    sender = Sender(OPEN, deadline_seconds=5)
    async with h.hostile(h.is_gone, h.Authority.new().server(tmp_path)) as server:
        sent = await sender.send(message(server.url))
        assert server.requests == 0
    await sender.close()
    assert (sent.outcome, sent.error) == (Outcome.RETRY, "tls")


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Let names resolve to these addresses, one after the other; answers who was asked for."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: Any, **_: Any) -> list[Any]:
        address = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        where = (address, port, 0, 0) if ":" in address else (address, port)
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


async def test_name_that_is_public_when_checked_and_private_when_dialled_is_blocked(
    monkeypatch: pytest.MonkeyPatch,
):
    asked = resolving(monkeypatch, "93.184.216.34", "127.0.0.1")
    guard = Guard()
    await guard.check("https://rebound.example/hook")
    sender = Sender(guard, deadline_seconds=DEADLINE)
    sent = await sender.send(message("https://rebound.example/hook"))
    await sender.close()
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "blocked-target")
    assert len(asked) == 2


@pytest.mark.parametrize("address", SSRF)
async def test_name_that_leads_inside_is_blocked_at_the_dial(
    monkeypatch: pytest.MonkeyPatch, address: str
):
    resolving(monkeypatch, address)
    sender = Sender(Guard(), deadline_seconds=DEADLINE)
    sent = await sender.send(message("https://inside.example/hook"))
    await sender.close()
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "blocked-target")


@pytest.mark.parametrize("literal", LITERALS)
async def test_address_that_leads_inside_is_not_dialled_in_any_notation(literal: str):
    sender = Sender(Guard(), deadline_seconds=DEADLINE)
    sent = await sender.send(message(f"https://{literal}/hook"))
    await sender.close()
    assert sent.outcome is not Outcome.OK
    assert sent.error in ("blocked-target", "unsafe-url", "dns")
