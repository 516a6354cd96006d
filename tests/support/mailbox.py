"""A real SMTP server on loopback, and a partner that answers by the links it is mailed."""

import asyncio
import email
import email.policy
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import httpx2
from aiosmtpd.smtp import SMTP, Envelope, Session

from contracts.referrals import ReferralRequested
from infra.base.clock import system_clock
from tests.support.partners import Hub, call, platform_at, register
from tests.support.postgres import Databases

TO = "accueil@partenaire.example"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass
class Mailbox:
    """What arrived; ``replies`` are used up first, one for each message."""

    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    url: str = ""

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.replies:
            return self.replies.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def text(self, number: int = -1) -> str:
        """The text of one message."""
        body = self.messages[number].get_body()
        assert isinstance(body, EmailMessage)
        return str(body.get_content())


@asynccontextmanager
async def mailbox(
    *, tls: ssl.SSLContext | None = None, at_once: bool = False, **options: Any
) -> AsyncIterator[Mailbox]:
    """A server on a free port; with ``tls`` it offers STARTTLS, or speaks TLS ``at_once``."""
    box = Mailbox()
    loop = asyncio.get_running_loop()
    offered = None if at_once else tls
    server = await loop.create_server(
        lambda: SMTP(box, tls_context=offered, **options),
        "127.0.0.1",
        0,
        ssl=tls if at_once else None,
    )
    scheme = "smtps" if at_once else "smtp"
    box.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield box
    finally:
        server.close()


class Form(HTMLParser):
    """The hidden fields and choices of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.hidden: dict[str, str] = {}
        self.choices: list[str] = []
        self.labels: set[str] = set()
        self.named: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        found = dict(attributes)
        if tag == "input" and found.get("type") == "hidden":
            self.hidden[found["name"]] = found["value"]
        if tag == "input" and found.get("type") == "radio":
            self.choices.append(found["value"])
        if tag == "label":
            self.labels.add(found["for"])
        if tag in ("input", "select", "textarea") and found.get("type") != "hidden":
            self.named.add(found["id"])


@dataclass
class Post:
    """A hub with a mail server and one referral mailed to a partner."""

    hub: Hub
    box: Mailbox
    referral: ReferralRequested
    path: str = ""
    now: datetime = field(default_factory=system_clock)

    async def turn(self) -> None:
        await self.hub.turn()
        self.path = re.findall(r"https://hub\.example(/r/\S+)", self.box.text())[-1]

    async def get(self, path: str | None = None) -> httpx2.Response:
        return await call(self.hub, "GET", path or self.path, headers={})

    async def post(self, tail: str, form: dict[str, str] | None = None) -> httpx2.Response:
        return await call(
            self.hub, "POST", f"{self.path}/{tail}", headers=FORM, data=form or {}
        )

    async def opened(self) -> Form:
        answer = await self.post("open")
        assert answer.status_code == 200, answer.text
        return Form(answer.text)

    async def answered(self, choice: str, **more: str) -> httpx2.Response:
        form = await self.opened()
        return await self.post("answer", form.hidden | {"choice": choice} | more)


@asynccontextmanager
async def posted(databases: Databases) -> AsyncIterator[Post]:
    """A partner with a mailbox, to which one referral was mailed."""
    async with mailbox() as box:
        hub = Hub(
            platform_at(
                databases,
                clock=lambda: post.now,
                smtp_url=box.url,
                mail_from="hub@ville.example",
            )
        )
        post = Post(hub, box, None)  # type: ignore[arg-type]
        await hub.prepare()
        await register(hub, f"mailto:{TO}", channel="email")
        post.referral = await hub.refer()
        await hub.hear()
        await post.turn()
        yield post
        await hub.close()
        await hub.platform.close()
