"""Files over SFTP, on a real server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncssh
import pytest

from infra.delivery.sftp import OutgoingFile, SftpSender
from infra.delivery.ssrf_guard import Guard, parse_networks
from infra.delivery.webhook.sender import Outcome
from tests.support.sftp import Server, sftp_server

OPEN = Guard(parse_networks("127.0.0.0/8"))
CONTENT = "message;reference\r\ndemande;1\r\n".encode("utf-8-sig")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with sftp_server(tmp_path) as server:
        yield server


async def test_file_lies_there_whole_under_its_name(server: Server):
    sent = await SftpSender(OPEN).send(OutgoingFile(server.account(), "dlv_1.csv", CONTENT))
    assert sent.outcome is Outcome.OK
    assert server.files() == ["dlv_1.csv"]
    assert (server.root / "dlv_1.csv").read_bytes() == CONTENT


async def test_file_sent_again_is_one_file(server: Server):
    (server.root / "dlv_1.csv.part").write_bytes(b"what a crash left")
    sender = SftpSender(OPEN)
    for _ in range(2):
        await sender.send(OutgoingFile(server.account(), "dlv_1.csv", CONTENT))
    assert server.files() == ["dlv_1.csv"]
    assert (server.root / "dlv_1.csv").read_bytes() == CONTENT


async def test_second_address_of_a_name_is_dialled_where_the_first_does_not_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    port = urlsplit(server.url).port
    assert port is not None

    async def both(host: str, port: int, **given: Any) -> list[Any]:
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    sent = await SftpSender(OPEN).send(OutgoingFile(server.account(), "dlv_1.csv", CONTENT))
    assert sent.outcome is Outcome.OK


async def test_address_that_may_not_be_reached_is_not_dialled(server: Server):
    sender = SftpSender(Guard(parse_networks("127.0.0.2/32")))
    sent = await sender.send(OutgoingFile(server.account(), "dlv_1.csv", CONTENT))
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "blocked-target")
    assert server.files() == []


async def test_server_with_another_key_is_not_trusted(server: Server):
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    account = server.account(host_key=other)
    sent = await SftpSender(OPEN).send(OutgoingFile(account, "dlv_1.csv", CONTENT))
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "host-key-unknown")
    assert server.files() == []


async def test_wrong_password_is_final(server: Server):
    account = server.account(password="wrong")
    sent = await SftpSender(OPEN).send(OutgoingFile(account, "dlv_1.csv", CONTENT))
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "login-refused")


async def test_directory_that_is_not_there_is_final(server: Server):
    account = server.account(url=server.url + "/none")
    sent = await SftpSender(OPEN).send(OutgoingFile(account, "dlv_1.csv", CONTENT))
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "directory-refused")


async def test_address_that_leads_inside_is_not_dialled(server: Server):
    sent = await SftpSender(Guard()).send(OutgoingFile(server.account(), "x.csv", CONTENT))
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "blocked-target")


async def test_server_that_is_away_is_tried_again(server: Server):
    account = server.account(url="sftp://aiguillage@127.0.0.1:9/box")
    sent = await SftpSender(OPEN).send(OutgoingFile(account, "x.csv", CONTENT))
    assert (sent.outcome, sent.error) == (Outcome.RETRY, "sftp-connect")


async def test_server_that_says_nothing_is_given_up_at_the_deadline(server: Server):
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    account = server.account(url=f"sftp://aiguillage@127.0.0.1:{port}/box")
    async with asyncio.timeout(20):
        sent = await SftpSender(OPEN, deadline_seconds=0.5).send(
            OutgoingFile(account, "x.csv", CONTENT)
        )
    silent.close()
    assert (sent.outcome, sent.error) == (Outcome.RETRY, "sftp-timeout")


async def test_answers_are_collected_in_order_and_moved_away_when_settled(server: Server):
    for name in ("b.csv", "a.csv", "ignored.txt"):
        (server.root / "answers" / name).write_bytes(name.encode())
    sender, account = SftpSender(OPEN), server.account()
    assert [f.name for f in await sender.collect(account)] == ["a.csv", "b.csv"]
    await sender.settle(account, "a.csv", b"ligne;resultat", True)
    await sender.settle(account, "b.csv", b"ligne;resultat", False)
    assert await sender.collect(account) == []
    assert server.files("answers/taken") == ["a.csv", "a.csv.ack.csv"]
    assert server.files("answers/refused") == ["b.csv", "b.csv.ack.csv"]


async def test_acknowledgements_are_found_and_cleared_those_of_nothing_put_aside(
    server: Server,
):
    sender, account = SftpSender(OPEN), server.account()
    assert await sender.acknowledged(account) == []  # nobody has made the directory
    (server.root / "acknowledged").mkdir()
    for name in ("dlv_1.csv", "noise"):
        (server.root / "acknowledged" / name).write_bytes(b"")
    assert await sender.acknowledged(account) == ["dlv_1.csv", "noise"]
    await sender.clear(account, ["dlv_1.csv"], ["noise"])
    assert await sender.acknowledged(account) == []
    assert server.files("acknowledged/unknown") == ["noise"]


async def test_huge_file_is_not_read_and_comes_with_the_reason(server: Server):
    (server.root / "answers" / "huge.csv").write_bytes(b"x" * (2 * 1024 * 1024))
    (file,) = await SftpSender(OPEN).collect(server.account())
    assert (file.name, file.content) == ("huge.csv", b"")
    assert file.problem == "fichier de plus de 1 Mio"
