"""Tokens of links that are mailed: random, handed out once, kept as digests."""

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from infra.delivery.mail import MailSender, OutgoingMail
from infra.delivery.webhook.sender import Outcome, Sent
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction, columns
from services.partners.model.letters import Letter
from services.partners.tables import links as tables

TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
ANSWER_PAGE, CAPACITY_PAGE = "/r/", "/c/"
RENEW_EVERY = timedelta(hours=1)
log = structlog.get_logger()


class LinkGoneError(Exception):
    """The link leads nowhere: unknown, run out, or what it led to may not be shown any more."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link as it is handed out; the token itself is not kept."""

    token: str
    referral_id: UUID
    partner_id: str
    person_id: UUID
    endpoint_id: UUID
    expires_at: datetime

    @property
    def path(self) -> str:
        """Path of the link, under the address that partners reach us by."""
        return ANSWER_PAGE + self.token


async def keep_links(tx: Transaction, links: Sequence[Link], now: datetime) -> None:
    """Store links, by the digest of their tokens."""
    rows = []
    for link in links:
        about = (link.referral_id, link.partner_id, link.person_id, link.endpoint_id)
        rows.append((token_digest(link.token), *about, now, link.expires_at))
    if rows:
        await tx.execute(tables.INSERT, *columns(rows))


def new_token() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(32)


def expiry(now: datetime, days: int) -> datetime:
    """Return the moment at which a link made now runs out."""
    return now + timedelta(days=days)


async def renewed(
    database: Database,
    statement: str,
    digest: bytes,
    now: datetime,
    keep: Callable[[Any], Awaitable[None]],
) -> bool:
    """Keep another link for one that ran out, at most once an hour; return whether it was."""
    async with database.transaction() as tx:
        if await tx.fetchval(statement, digest, now, now - RENEW_EVERY) is None:
            return False
        await keep(tx)
    return True


async def mail_link(mail: MailSender, to: str, letter: Letter, token: str) -> Sent:
    """Mail a letter with a link; return the mail's outcome."""
    name = f"<link.{token_digest(token).hex()[:32]}@aiguillage>"
    sent = await mail.send(OutgoingMail(to, letter.subject, letter.text, name))
    if sent.outcome is not Outcome.OK:
        log.warning("link not mailed", error=sent.error)
    return sent


def token_digest(token: str) -> bytes:
    """Return the digest that is kept of a token: a plain one, for nobody guesses 256 bits."""
    return hashlib.sha256(token.encode()).digest()
