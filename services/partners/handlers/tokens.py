"""Tokens of answer links: random, handed out once, kept as digests."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.partners.tables import links as tables

TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
ANSWER_PAGE = "/r/"


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
        """Under the address that partners reach us by."""
        return ANSWER_PAGE + self.token


def new_link(row: Any, now: datetime, days: int) -> Link:
    """A link to the request that a row is about."""
    return Link(
        secrets.token_urlsafe(32), row["referral_id"], row["partner_id"], row["person_id"],
        row["endpoint_id"], now + timedelta(days=days),
    )  # fmt: skip


async def keep_links(raw: Any, links: Sequence[Link], now: datetime) -> None:
    """Store links, by the digest of their tokens."""
    rows = [
        (token_digest(link.token), link.referral_id, link.partner_id, link.person_id,
         link.endpoint_id, now, link.expires_at)
        for link in links
    ]  # fmt: skip
    if rows:
        await raw.execute(tables.INSERT, *map(list, zip(*rows, strict=True)))


def token_digest(token: str) -> bytes:
    """What is kept of a token: there is nothing to guess, so a plain digest is enough."""
    return hashlib.sha256(token.encode()).digest()
