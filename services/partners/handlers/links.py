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
    Link,
    LinkGoneError,
    expiry,
    keep_links,
    mail_link,
    new_token,
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


@dataclass(frozen=True, slots=True)
class _LinkRow(SealedRow):
    """A link, and the request that it opens."""

    token_digest: bytes
    referral_id: UUID
    partner_id: str
    endpoint_id: UUID
    expires_at: datetime
    opened_at: datetime | None
    url: str
    status: ReferralStatus
    appointment_at: datetime | None

    @property
    def request(self) -> ReferralRequested:
        """Event of the request."""
        event = parse_event(self.event_type, self.data)
        assert isinstance(event, ReferralRequested)
        return event


@dataclass(frozen=True)
class Links:
    """Opens, answers and renews links. ``mail``: none where no mail server is set."""

    database: Database
    writer: Writer
    answers: Answers
    clock: Clock
    letterhead: SenderProfile
    mail: MailSender | None = None

    async def alive(self, token: str) -> bool:
        """Return whether a link leads somewhere; change nothing."""
        row = await self._row(token)
        return row is not None and row.expires_at > self.clock()

    async def open(self, token: str) -> Opened:
        """Return the request, and note that it was opened. Raises ``LinkGoneError``."""
        row, composer = await self._live(token)
        if row.opened_at is None:
            await self._receipt(row)  # first: a crash in between has it stored at the next try
            await self._first_opening(row)
            row = await self._read(row.token_digest) or row  # the receipt may have moved it
        return self._shown(row, composer)

    async def again(self, token: str) -> Opened:
        """Return the request once more, to mend a form. Raises ``LinkGoneError``."""
        return self._shown(*await self._live(token))

    async def answer(self, token: str, form: Mapping[str, str]) -> None:
        """Store what a form says, once.

        Raises ``LinkGoneError``, ``FormError`` naming a field, and what
        ``Answers.accept_unsigned`` does.
        """
        row, _ = await self._live(token)
        nonce, seen = form.get("nonce", ""), form.get("seen", "")
        if not NONCE.fullmatch(nonce) or seen not in set(ReferralStatus):
            raise FormError("choice", "Le formulaire est incomplet : rouvrez la demande")
        if len(form.get("comment", "").strip()) > MAX_COMMENT:
            raise FormError("comment", f"Ce texte est trop long ({MAX_COMMENT} signes au plus)")
        status = ReferralStatus(seen)
        answer = spoken(dict(form), status, row.referral_id, row.request.partner_kind)
        if field := find_nir(answer.model_dump(mode="json", exclude_none=True)):
            raise FormError(field, "N'indiquez pas de numéro de sécurité sociale")
        name = f"lnk_{row.token_digest.hex()[:32]}_{nonce}"
        await self.answers.accept_unsigned(row.partner_id, name, answer, status)

    async def renew(self, token: str) -> None:
        """Send a new link to the same mailbox, if this one ran out; at most once an hour.

        Says nothing of whether it did: whoever asks learns nothing.
        """
        row, now = await self._row(token), self.clock()
        if row is None or self.mail is None or (await self._composer(row)).kept_back(row):
            return
        link = Link(
            token=new_token(),
            referral_id=row.referral_id,
            partner_id=row.partner_id,
            person_id=row.person_id,
            endpoint_id=row.endpoint_id,
            expires_at=expiry(now, self.letterhead.link_days),
        )

        async def keep(tx: Transaction) -> None:
            await keep_links(tx, [link], now)

        if await renewed(self.database, tables.RENEW, row.token_digest, now, keep):
            url = self.letterhead.base_url + link.path
            letter = letters.renewal(url, local_day(link.expires_at))
            await mail_link(self.mail, row.url.removeprefix("mailto:"), letter, link.token)

    async def _row(self, token: str) -> _LinkRow | None:
        return await self._read(token_digest(token)) if TOKEN.fullmatch(token) else None

    async def _read(self, digest: bytes) -> _LinkRow | None:
        async with self.database.reading() as connection:
            record = await connection.fetchrow(tables.LINK, digest)
        return _LinkRow.of(record) if record else None

    async def _live(self, token: str) -> tuple[_LinkRow, Composer]:
        row = await self._row(token)
        if row is None or row.expires_at <= self.clock():
            raise LinkGoneError
        composer = await self._composer(row)
        if composer.kept_back(row):
            raise LinkGoneError
        return row, composer

    async def _composer(self, row: _LinkRow) -> Composer:
        persons = await self.writer.vault.keys({row.person_id})
        return Composer(self.letterhead, persons, self.clock())

    async def _receipt(self, row: _LinkRow) -> None:
        """Say that the request was received; not once it has been answered in any way."""
        if row.status != ReferralStatus.REQUESTED:
            return
        async with self.database.reading() as connection:
            about = (row.person_id, row.referral_id, row.partner_id)
            if await connection.fetchval(tables.ANSWERED, *about):
                return
        received = Answer(
            referral_id=row.referral_id,
            status=ReferralStatus.REQUESTED,
            business_status=BusinessStatus.RECEIVED,
        )
        # one name for all links of a referral: a reminder brings another link
        with suppress(ForbiddenTransitionError):  # it was cancelled just now
            name = f"lnk_{row.referral_id.hex}_opened"
            await self.answers.accept_unsigned(row.partner_id, name, received)

    async def _first_opening(self, row: _LinkRow) -> None:
        async with self.database.transaction() as tx:
            link = await tx.fetchrow(tables.OPEN, row.token_digest, self.clock())
            if link is None:
                return
            meta = EventMetadata(f"partner:{row.partner_id}")
            stream = f"link-{row.token_digest.hex()[:32]}"
            opened = LinkOpened(**link)
            await self.writer.write(tx, [Pending(stream, [opened], row.person_id, meta)])

    def _shown(self, row: _LinkRow, composer: Composer) -> Opened:
        request, status = row.request, ReferralStatus(row.status)
        disclosed = composer.disclosed(row)
        return Opened(
            referral_id=row.referral_id,
            status=status,
            request=request,
            requester=spoken_by(composer.requester(request, disclosed)),
            fields=disclosed.fields,
            choices=open_choices(status, row.referral_id, request.partner_kind),
            nonce=secrets.token_hex(8),
            appointment_at=row.appointment_at,
        )
