"""Mail by SMTP, on a real server: what each answer of the server means."""

import asyncio
import socket

import pytest

from infra.channels.mail import MailSender, OutgoingMail
from infra.webhooks.sender import Outcome
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
    assert sent.outcome is not Outcome.OK
    assert box.messages == []


@pytest.mark.parametrize("url", ["http://mail.example", "smtp://", "mail.example:25"])
def test_address_that_is_no_mail_server_is_refused_at_the_start(url: str):
    with pytest.raises(ValueError, match="smtp"):
        MailSender(url, FROM)
