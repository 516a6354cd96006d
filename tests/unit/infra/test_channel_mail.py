"""Mail by SMTP, on a real server: what each answer of the server means."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from email.header import decode_header, make_header
from pathlib import Path

import pytest
from aiosmtpd.smtp import AuthResult

from infra.delivery.mail import MailSender, OutgoingMail
from infra.delivery.webhook.sender import Outcome
from tests.support.hostile import Authority
from tests.support.mailbox import mailbox

MAIL = OutgoingMail("accueil@partenaire.example", "Une demande", "Bonjour é", "<dlv_1@hub>")
FROM = "hub@ville.example"


async def test_mail_arrives_as_it_was_written():
    async with mailbox() as box:
        sent = await MailSender(box.url, FROM).send(MAIL)
    assert sent.outcome is Outcome.OK
    (message,) = box.messages
    assert (message["to"], message["from"]) == (MAIL.to, FROM)
    assert message["message-id"] == MAIL.message_id
    assert message["auto-submitted"] == "auto-generated"
    assert box.text().strip() == MAIL.text


async def test_same_message_id_over_all_attempts():
    async with mailbox() as box:
        sender = MailSender(box.url, FROM)
        await sender.send(MAIL)
        await sender.send(MAIL)
    assert len({message["message-id"] for message in box.messages}) == 1


@pytest.mark.parametrize(
    "name",
    [
        "=?utf-8?q?=0D=0ABcc:_v@x?=",
        "=?utf-8?b?DQpCY2M6IHZAeA==?=",
        "a\r\nBcc: v@x",
        "a\x0bBcc: v@x",
        "a\u2028Bcc: v@x",
        "a\u202eb",
    ],
)
async def test_name_of_a_third_party_in_a_subject_makes_no_header(name: str):
    async with mailbox() as box:
        mail = replace(MAIL, subject=f"Places disponibles : {name} (Espace)")
        sent = await MailSender(box.url, FROM).send(mail)
    assert sent.outcome is Outcome.OK
    (message,) = box.messages
    assert message["bcc"] is None
    names = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"]
    assert message.keys()[:6] == names
    subject = str(make_header(decode_header(message["subject"])))
    assert subject.startswith("Places disponibles : ")
    assert subject.endswith("(Espace)")
    assert subject.isprintable()


@pytest.mark.parametrize(
    "to",
    [
        "=?utf-8?q?=0D=0ABcc:_v@x?=@a.fr",
        '"a b"@a.fr',
        "a@a.fr, b@b.fr",
        "A <a@a.fr>",
        "a@a.fr\n",
    ],
)
async def test_what_is_not_one_plain_mailbox_gets_no_mail(to: str):
    async with mailbox() as box:
        sent = await MailSender(box.url, FROM).send(replace(MAIL, to=to))
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "unsendable")
    assert box.messages == []


@pytest.mark.parametrize(
    ("reply", "outcome", "error"),
    [
        ("550 no such user", Outcome.PERMANENT, "mailbox-refused"),
        ("450 mailbox busy", Outcome.RETRY, "mailbox-busy"),
    ],
)
async def test_mailbox_that_is_refused_is_final_and_one_that_is_busy_is_not(
    reply: str, outcome: Outcome, error: str
):
    async with mailbox() as box:
        box.refused[MAIL.to] = reply
        sent = await MailSender(box.url, FROM).send(MAIL)
    assert (sent.outcome, sent.error) == (outcome, error)
    assert sent.status == int(reply[:3])


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [("554 refused as spam", Outcome.PERMANENT), ("451 try later", Outcome.RETRY)],
)
async def test_message_that_is_refused_says_whether_for_good(reply: str, outcome: Outcome):
    async with mailbox() as box:
        box.replies.append(reply)
        sent = await MailSender(box.url, FROM).send(MAIL)
    assert (sent.outcome, sent.error) == (outcome, "smtp-refused")
    assert box.messages == []


async def test_server_that_is_away_is_tried_again():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"smtp://127.0.0.1:{free.getsockname()[1]}"
        sent = await MailSender(url, FROM).send(MAIL)
    assert (sent.outcome, sent.error) == (Outcome.RETRY, "smtp-connect")


async def test_server_that_says_nothing_is_given_up_at_the_deadline():
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sender = MailSender(f"smtp://127.0.0.1:{port}", FROM, deadline_seconds=0.3)
    async with asyncio.timeout(10):
        sent = await sender.send(MAIL)
    server.close()
    assert (sent.outcome, sent.error) == (Outcome.RETRY, "smtp-timeout")


async def test_password_is_not_sent_in_clear_and_a_missing_login_is_tried_again():
    async with mailbox() as box:
        url = box.url.replace("//", "//user:secret@")
        sent = await MailSender(url, FROM).send(MAIL)
    assert sent.outcome is Outcome.RETRY
    assert box.messages == []


async def test_line_break_in_a_subject_adds_no_header():
    evil = OutgoingMail(MAIL.to, "x\r\nBcc: other@example.org", "text", "<dlv_2@hub>")
    async with mailbox() as box:
        sent = await MailSender(box.url, FROM).send(evil)
    assert sent.outcome is Outcome.OK
    (message,) = box.messages
    assert message["bcc"] is None
    assert message["subject"] == "x Bcc: other@example.org"


@pytest.mark.parametrize("url", ["http://mail.example", "smtp://", "mail.example:25"])
def test_address_that_is_no_mail_server_is_refused_at_the_start(url: str):
    with pytest.raises(ValueError, match="smtp"):
        MailSender(url, FROM)


@asynccontextmanager
async def scripted(replies: Mapping[str, str | None]) -> AsyncIterator[str]:
    """A server that answers a command as told, hangs up for ``""``, or says nothing (None)."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = replies.get("", "220 mail.example")
        while said:
            writer.write(said.encode() + b"\r\n")
            line = (await reader.readline()).decode()
            verb = line.strip().partition(" ")[0].upper()
            if verb in replies and replies[verb] is None:
                await reader.read()
                break
            said = (
                replies.get(verb, "354 go on" if verb == "DATA" else "250 OK") if line else ""
            )
            if verb == "DATA" and said == "354 go on":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                said = replies.get(".", "250 OK")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize("at_once", [False, True])
async def test_mail_goes_over_tls_where_the_server_speaks_it(tmp_path: Path, at_once: bool):
    authority = Authority.new()
    context = authority.server(tmp_path)
    async with mailbox(tls=context, at_once=at_once, require_starttls=not at_once) as box:
        sent = await MailSender(box.url, FROM, tls=authority.trusted()).send(MAIL)
    assert sent.outcome is Outcome.OK
    assert len(box.messages) == 1


@pytest.mark.parametrize("at_once", [False, True])
async def test_server_of_an_unknown_authority_gets_no_mail(tmp_path: Path, at_once: bool):
    context = Authority.new().server(tmp_path)
    async with mailbox(tls=context, at_once=at_once) as box:
        sent = await MailSender(box.url, FROM, tls=Authority.new().trusted()).send(MAIL)
    assert (sent.outcome, sent.error) == (Outcome.RETRY, "smtp-tls")
    assert box.messages == []


async def test_server_elsewhere_without_tls_gets_no_mail(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("infra.delivery.mail._on_this_machine", lambda host: False)
    async with mailbox() as box:
        sent = await MailSender(box.url, FROM).send(MAIL)
    assert (sent.outcome, sent.error) == (Outcome.RETRY, "smtp-protocol")
    assert box.messages == []


@pytest.mark.parametrize(("password", "outcome"), [("right", "ok"), ("wrong", "retry")])
async def test_login_that_fails_is_ours_to_mend(tmp_path: Path, password: str, outcome: str):
    authority = Authority.new()
    async with mailbox(
        tls=authority.server(tmp_path),
        authenticator=lambda server, session, envelope, way, found: AuthResult(
            success=found.password == b"right", handled=False
        ),
    ) as box:
        url = box.url.replace("//", f"//user:{password}@")
        sent = await MailSender(url, FROM, tls=authority.trusted()).send(MAIL)
    assert sent.outcome == outcome
    assert sent.error == (None if outcome == "ok" else "smtp-auth")


@pytest.mark.parametrize("command", ["", "EHLO", "MAIL", "RCPT", "DATA", "."])
async def test_server_that_hangs_up_is_tried_again(command: str):
    async with scripted({command: "", "HELO": ""}) as url:
        sent = await MailSender(url, FROM, deadline_seconds=3).send(MAIL)
    assert sent.outcome is Outcome.RETRY
    assert sent.error in ("smtp-connect", "smtp-disconnected")


@pytest.mark.parametrize("command", ["EHLO", "MAIL", "RCPT", "DATA"])
async def test_server_that_falls_silent_is_given_up_at_the_deadline(command: str):
    async with scripted({command: None}) as url, asyncio.timeout(5):
        sent = await MailSender(url, FROM, deadline_seconds=0.3).send(MAIL)
    assert (sent.outcome, sent.error) == (Outcome.RETRY, "smtp-timeout")


@pytest.mark.parametrize("farewell", [None, "", "500 what?", "nonsense"])
async def test_mail_that_was_taken_is_sent_whatever_the_farewell(farewell: str | None):
    async with scripted({"QUIT": farewell}) as url, asyncio.timeout(5):
        sent = await MailSender(url, FROM, deadline_seconds=0.5).send(MAIL)
    assert sent.outcome is Outcome.OK


@pytest.mark.parametrize(
    "replies",
    [
        {"": "554 not today"},
        {"EHLO": "554 no", "HELO": "554 no"},
        {"MAIL": "530 log in first"},
        {"MAIL": "553 sender not allowed"},
    ],
)
async def test_server_that_refuses_us_is_no_fault_of_the_partners_mailbox(
    replies: dict[str, str],
):
    async with scripted(replies) as url:
        sent = await MailSender(url, FROM, deadline_seconds=3).send(MAIL)
    assert sent.outcome is Outcome.RETRY


async def test_mail_that_cannot_be_written_is_not_tried_again():
    evil = OutgoingMail("x@y.example\r\nBcc: other@example.org", "x", "text", "<dlv_3@hub>")
    async with mailbox() as box:
        sent = await MailSender(box.url, FROM).send(evil)
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "unsendable")
    assert box.messages == []


async def test_password_is_not_shown(caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    async with mailbox() as box:
        sender = MailSender(box.url.replace("//", "//user:s3cret@"), FROM)
        await sender.send(MAIL)
    assert "s3cret" not in repr(sender) + caplog.text
