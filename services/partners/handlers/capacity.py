"""Partners' word on whether a service has room: with a key, by a link, with an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from contracts.days import local_day
from contracts.partners import CapacityReported
from infra.base.clock import Clock
from infra.delivery.mail import MailSender
from infra.delivery.webhook.sender import Outcome, Sent
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.partners import projections
from services.partners.handlers.compose import SenderProfile
from services.partners.handlers.tokens import (
    CAPACITY_PAGE,
    RENEW_EVERY,
    TOKEN,
    LinkGoneError,
    expiry,
    mail_link,
    new_token,
    renewed,
    token_digest,
)
from services.partners.model import letters
from services.partners.model.capacity import CapacityReport, reported
from services.partners.model.choices import FormError
from services.partners.tables import links as link_tables
from services.partners.tables import statements

MAILS_AN_HOUR = 20
"""To one mailbox, which may be that of many services."""


class UnknownServiceError(Exception):
    """The directory has no such service (of this partner)."""


class PastReportError(Exception):
    """A field of the report speaks of the past."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class NoMailboxError(Exception):
    """Nobody knows a mailbox of the service, or there is no mail server: why, in words."""


class MailedLatelyError(Exception):
    """The mailbox got a link of the service, or many links, within the hour."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__()
        self.wait = wait


async def keep_report(
    tx: Transaction, service: tuple[str, str], report: CapacityReport, now: datetime
) -> CapacityReported:
    """Bring the directory up to date; return the event to append. The newest report counts.

    Reports on one service wait for each other: an older one changes no row, and so would
    append beside a newer one.
    """
    service_id, partner_id = service
    await tx.execute(statements.LOCK_SERVICE, service_id)
    event = CapacityReported(
        service_id=service_id, partner_id=partner_id, reported_at=now, **report.model_dump()
    )
    await projections.keep_directory(tx, [event])
    return event


def of_service(event: CapacityReported, meta: EventMetadata) -> Pending:
    """Return the event, for the stream of its service."""
    return Pending(f"service-{event.service_id}", [event], None, meta)


@dataclass(frozen=True)
class Capacity:
    """Stores reports, where they are a partner's own to make."""

    database: Database
    writer: Writer
    clock: Clock

    async def report(
        self,
        service_id: str,
        report: CapacityReport,
        meta: EventMetadata,
        of_partner: str | None = None,
    ) -> CapacityReported:
        """Store a report. Raises ``UnknownServiceError`` and ``PastReportError``."""
        now = self.clock()
        if field := report.over(now):
            raise PastReportError(field)
        async with self.database.transaction() as tx:
            partner_id = await tx.fetchval(statements.SERVICE, service_id)
            if partner_id is None or of_partner not in (None, partner_id):
                raise UnknownServiceError(service_id)
            event = await keep_report(tx, (service_id, partner_id), report, now)
            await self.writer.write(tx, [of_service(event, meta)])
        return event


class Mailbox(NamedTuple):
    """A service, and the mailbox that its links go to."""

    service_id: str
    partner_id: str
    service: str
    mailbox: str


class LinkedService(NamedTuple):
    """A link, and its service with what was reported last; ``registered``: its mailbox now."""

    token_digest: bytes
    service_id: str
    partner_id: str
    mailbox: str
    expires_at: datetime
    registered: str | None
    service: str
    capacity: str | None
    capacity_until: date | None
    capacity_at: datetime | None

    @property
    def to(self) -> Mailbox:
        """Address of the link."""
        return Mailbox(self.service_id, self.partner_id, self.service, self.mailbox)


@dataclass(frozen=True)
class CapacityLinks:
    """Links by which partners without a system report; each for one service, for some days."""

    capacity: Capacity
    letterhead: SenderProfile
    mail: MailSender | None = None

    async def send(self, service_id: str, of_partner: str | None = None) -> Sent:
        """Mail a link to the service's mailbox; return the mail's outcome.

        Raises ``UnknownServiceError``, ``NoMailboxError`` and ``MailedLatelyError``.
        """
        async with self.capacity.database.reading() as connection:
            row = await connection.fetchrow(link_tables.CAPACITY_MAILBOX, service_id)
        if row is None or of_partner not in (None, row["partner_id"]):
            raise UnknownServiceError(service_id)
        if self.mail is None:
            raise NoMailboxError("no mail server is set (smtp_url)")
        to, token = Mailbox(*row), new_token()
        if row["mailbox"] is None:
            raise NoMailboxError(
                "no address of channel email, and no courriel in the directory"
            )
        async with self.capacity.database.transaction() as tx:
            await tx.execute(statements.LOCK_SERVICE, service_id)
            await self._check_lately(tx, to)
            await self._keep(tx, to, token)
        sent = await self._mail(self.mail, to, token)
        if sent.outcome is not Outcome.OK:  # nobody has the link: it may be asked for again
            async with self.capacity.database.transaction() as tx:
                await tx.execute(link_tables.DROP_CAPACITY, token_digest(token))
        return sent

    async def shown(self, token: str) -> LinkedService:
        """Return the service to report on. Raises ``LinkGoneError``."""
        link = await self._link(token)
        if link is None or link.expires_at <= self.capacity.clock():
            raise LinkGoneError
        return link

    async def report(self, token: str, form: Mapping[str, str]) -> None:
        """Store what a form says. Raises ``LinkGoneError`` and ``FormError``."""
        link, report = await self.shown(token), reported(form)
        try:
            meta = EventMetadata(f"partner:{link.partner_id}")
            await self.capacity.report(link.service_id, report, meta)
        except PastReportError as error:
            raise FormError(error.field, "Indiquez une date à venir") from error

    async def renew(self, token: str) -> None:
        """Send a new link to the same mailbox, if this one ran out; at most once an hour.

        Says nothing of whether it did: whoever asks learns nothing.
        """
        link = await self._link(token)
        if link is None or self.mail is None or link.registered != link.mailbox:
            return
        fresh, now = new_token(), self.capacity.clock()

        async def keep(tx: Transaction) -> None:
            await self._keep(tx, link.to, fresh)

        digest, statement = link.token_digest, link_tables.RENEW_CAPACITY
        if await renewed(self.capacity.database, statement, digest, now, keep):
            await self._mail(self.mail, link.to, fresh)

    async def _check_lately(self, tx: Transaction, to: Mailbox) -> None:
        """Raise ``MailedLatelyError`` if the mailbox has had enough for now."""
        now, of = self.capacity.clock(), (to.service_id, to.mailbox)
        (lately,) = await tx.fetch(link_tables.CAPACITY_MAILED, *of, now - RENEW_EVERY)
        of_service, of_mailbox, first = lately
        since = of_service or (first if of_mailbox >= MAILS_AN_HOUR else None)
        if since is not None:
            raise MailedLatelyError(since + RENEW_EVERY - now)

    async def _keep(self, tx: Transaction, to: Mailbox, token: str) -> None:
        now = self.capacity.clock()
        service = (to.service_id, to.partner_id, to.mailbox)
        row = (token_digest(token), *service, now, expiry(now, self.letterhead.link_days))
        await tx.execute(link_tables.INSERT_CAPACITY, *row)

    async def _mail(self, mail: MailSender, to: Mailbox, token: str) -> Sent:
        until = local_day(expiry(self.capacity.clock(), self.letterhead.link_days))
        url = self.letterhead.base_url + CAPACITY_PAGE + token
        return await mail_link(
            mail, to.mailbox, letters.capacity(to.service, url, until), token
        )

    async def _link(self, token: str) -> LinkedService | None:
        if not TOKEN.fullmatch(token):
            return None
        async with self.capacity.database.reading() as connection:
            row = await connection.fetchrow(link_tables.CAPACITY_LINK, token_digest(token))
        return LinkedService(*row) if row else None
