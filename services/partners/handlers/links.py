"""Answer links: a partner without a system opens a request and answers it, without an account.

The token is the credential: 256 random bits, kept only as a digest, for one referral of one
partner, for some days. A ``GET`` changes nothing: scanners of mail follow links.
"""

import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.checks.nir import find_nir
from contracts.days import local_day
from contracts.partners import LinkOpened
from contracts.referrals import ReferralRequested
from contracts.registry import parse_event
from contracts.values import BusinessStatus, ReferralStatus
from contracts.webhooks import Answer
from infra.base.clock import Clock
from infra.delivery.mail import MailSender
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.partners.handlers.answers import Answers
from services.partners.handlers.compose import Composer, SealedRow, SenderProfile
from services.partners.handlers.tokens import (
    TOKEN,
    LinkGoneError,
    keep_links,
    mail_link,
    new_link,
    renewed,
    token_digest,
)
from services.partners.model import letters
from services.partners.model.answers import ForbiddenTransitionError
from services.partners.model.choices import Choice, FormError, open_choices, spoken
from services.partners.model.requesters import spoken as spoken_by
from services.partners.tables import links as tables

NONCE = re.compile(r"[0-9a-f]{16}")
MAX_COMMENT = 4000


@dataclass(frozen=True, slots=True)
class Opened:
    """A request as its partner sees it, and what may be answered now."""

    referral_id: UUID
    status: ReferralStatus
    request: ReferralRequested
    requester: str
    fields: dict[str, Any]
    choices: list[Choice]
    nonce: str
    appointment_at: datetime | None = None


@dataclass(frozen=True)
class Links:
    """What the pages ask for. ``mail``: none where no mail server is set."""

    database: Database
    writer: Writer
    answers: Answers
    clock: Clock
    letterhead: SenderProfile
    mail: MailSender | None = None

    async def alive(self, token: str) -> bool:
        """Whether a link leads somewhere; changes nothing."""
        row = await self._row(token)
        return row is not None and row["expires_at"] > self.clock()

    async def open(self, token: str) -> Opened:
        """The request, with a note that it was opened. Raises ``LinkGoneError``."""
        row = await self._live(token)
        if row["opened_at"] is None:
            await self._receipt(row)  # first: a crash in between has it stored at the next try
            await self._first_opening(row)
            row = await self._read(row["token_digest"])  # the receipt may have moved it
        return await self._shown(row)

    async def again(self, token: str) -> Opened:
        """The request once more, to mend a form. Raises ``LinkGoneError``."""
        return await self._shown(await self._live(token))

    async def answer(self, token: str, form: Mapping[str, str]) -> None:
        """Store what a form says, once.

        Raises ``LinkGoneError``, ``FormError`` naming a field, and what ``accept_unsigned``
        does.
        """
        row = await self._live(token)
        nonce, seen = form.get("nonce", ""), form.get("seen", "")
        if not NONCE.fullmatch(nonce) or seen not in set(ReferralStatus):
            raise FormError("choice", "Le formulaire est incomplet : rouvrez la demande")
        if len(form.get("comment", "").strip()) > MAX_COMMENT:
            raise FormError("comment", f"Ce texte est trop long ({MAX_COMMENT} signes au plus)")
        kind = _request(row).partner_kind
        answer = spoken(dict(form), ReferralStatus(seen), row["referral_id"], kind)
        if found := find_nir(answer.model_dump(mode="json", exclude_none=True)):
            raise FormError(found, "N'indiquez pas de numéro de sécurité sociale")
        name = f"lnk_{row['token_digest'].hex()[:32]}_{nonce}"
        await self.answers.accept_unsigned(
            row["partner_id"], name, answer, ReferralStatus(seen)
        )

    async def renew(self, token: str) -> None:
        """Send a new link to the same mailbox, if this one ran out; at most once an hour.

        Says nothing of whether it did: whoever asks learns nothing.
        """
        row, now = await self._row(token), self.clock()
        if row is None or self.mail is None or await self._kept_back(row):
            return
        link = new_link(row, now, self.letterhead.link_days)

        async def keep(tx: Transaction) -> None:
            await keep_links(tx, [link], now)

        if await renewed(self.database, tables.RENEW, row["token_digest"], now, keep):
            url = self.letterhead.base_url + link.path
            letter = letters.renewal(url, local_day(link.expires_at))
            to = row["url"].removeprefix("mailto:")
            await mail_link(self.mail, to, letter, link.token)

    async def _row(self, token: str) -> Any:
        return await self._read(token_digest(token)) if TOKEN.fullmatch(token) else None

    async def _read(self, digest: bytes) -> Any:
        async with self.database.reading() as connection:
            return await connection.fetchrow(tables.LINK, digest)

    async def _live(self, token: str) -> Any:
        row = await self._row(token)
        if row is None or row["expires_at"] <= self.clock() or await self._kept_back(row):
            raise LinkGoneError
        return row

    async def _kept_back(self, row: Any) -> str | None:
        return (await self._composer(row)).kept_back(SealedRow.of(row))

    async def _composer(self, row: Any) -> Composer:
        persons = await self.writer.vault.keys({row["person_id"]})
        return Composer(self.letterhead, persons, self.clock())

    async def _receipt(self, row: Any) -> None:
        """Say that the request was received; not once it has been answered in any way."""
        if row["status"] != ReferralStatus.REQUESTED or await self._answered(row):
            return
        received = Answer(
            referral_id=row["referral_id"],
            status=ReferralStatus.REQUESTED,
            business_status=BusinessStatus.RECEIVED,
        )
        # one name for all links of a referral: a reminder brings another link
        with suppress(ForbiddenTransitionError):  # it was cancelled just now
            name = f"lnk_{row['referral_id'].hex}_opened"
            await self.answers.accept_unsigned(row["partner_id"], name, received)

    async def _answered(self, row: Any) -> bool:
        async with self.database.reading() as connection:
            about = (row["person_id"], row["referral_id"], row["partner_id"])
            return bool(await connection.fetchval(tables.ANSWERED, *about))

    async def _first_opening(self, row: Any) -> None:
        async with self.database.transaction() as tx:
            found = await tx.fetchrow(tables.OPEN, row["token_digest"], self.clock())
            if found is None:
                return
            meta = EventMetadata(f"partner:{row['partner_id']}")
            stream = f"link-{row['token_digest'].hex()[:32]}"
            opened = LinkOpened(**found)
            await self.writer.write(tx, [Pending(stream, [opened], row["person_id"], meta)])

    async def _shown(self, row: Any) -> Opened:
        request = _request(row)
        status = ReferralStatus(row["status"])
        composer = await self._composer(row)
        told = composer.disclosed(SealedRow.of(row))
        asks, fields = spoken_by(composer.requester(request, told)), told.fields
        choices = open_choices(status, row["referral_id"], request.partner_kind)
        nonce = secrets.token_hex(8)
        at = row["appointment_at"]
        return Opened(row["referral_id"], status, request, asks, fields, choices, nonce, at)


def _request(row: Any) -> ReferralRequested:
    request = parse_event(row["event_type"], row["data"])
    assert isinstance(request, ReferralRequested)
    return request
