"""Partners' word on whether a service has room: with a key, by a link, with an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

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
    """Bring the directory up to date; answers the event to append. The newest report counts.

    Reports on one service wait for each other: an older one changes no row, and so would
    append beside a newer one.
    """
    service_id, partner_id = service
    await tx.execute(statements.LOCK_SERVICE, service_id)
    said = CapacityReported(
        service_id=service_id, partner_id=partner_id, reported_at=now, **report.model_dump()
    )
    await projections.keep_directory(tx, [said])
    return said


def of_service(said: CapacityReported, meta: EventMetadata) -> Pending:
    """The event, for the stream of its service."""
    return Pending(f"service-{said.service_id}", [said], None, meta)


@dataclass(frozen=True)
class Capacity:
    """Takes reports."""

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
            said = await keep_report(tx, (service_id, partner_id), report, now)
            await self.writer.write(tx, [of_service(said, meta)])
        return said


@dataclass(frozen=True, slots=True)
class Asked:
    """What the page of a link asks about, and what was said last."""

    service: str
    known: Mapping[str, Any]


@dataclass(frozen=True)
class CapacityLinks:
    """Links by which partners without a system report; each for one service, for some days."""

    capacity: Capacity
    letterhead: SenderProfile
    mail: MailSender | None = None

    async def send(self, service_id: str, of_partner: str | None = None) -> Sent:
        """Mail a link to the service's mailbox; answers what became of the mail.

        Raises ``UnknownServiceError``, ``NoMailboxError`` and ``MailedLatelyError``.
        """
        async with self.capacity.database.reading() as connection:
            row = await connection.fetchrow(link_tables.CAPACITY_MAILBOX, service_id)
        if row is None or of_partner not in (None, row["partner_id"]):
            raise UnknownServiceError(service_id)
        if self.mail is None:
            raise NoMailboxError("no mail server is set (smtp_url)")
        if row["mailbox"] is None:
            raise NoMailboxError(
                "no address of channel email, and no courriel in the directory"
            )
        token = new_token()
        async with self.capacity.database.transaction() as tx:
            await tx.execute(statements.LOCK_SERVICE, service_id)
            await self._check_lately(tx, row)
            await self._keep(tx, row, token)
        sent = await self._mail(self.mail, row, token)
        if sent.outcome is not Outcome.OK:  # nobody has the link: it may be asked for again
            async with self.capacity.database.transaction() as tx:
                await tx.execute(link_tables.DROP_CAPACITY, token_digest(token))
        return sent

    async def shown(self, token: str) -> Asked:
        """What to report on. Raises ``LinkGoneError``."""
        row = await self._live(token)
        return Asked(row["service"], dict(row))

    async def report(self, token: str, form: Mapping[str, str]) -> None:
        """Store what a form says. Raises ``LinkGoneError`` and ``FormError``."""
        row, report = await self._live(token), reported(form)
        try:
            meta = EventMetadata(f"partner:{row['partner_id']}")
            await self.capacity.report(row["service_id"], report, meta)
        except PastReportError as error:
            raise FormError(error.field, "Indiquez une date à venir") from error

    async def renew(self, token: str) -> None:
        """Send a new link to the same mailbox, if this one ran out; at most once an hour.

        Says nothing of whether it did: whoever asks learns nothing.
        """
        row = await self._row(token)
        if row is None or self.mail is None or row["now_mailbox"] != row["mailbox"]:
            return
        fresh, now = new_token(), self.capacity.clock()

        async def keep(tx: Transaction) -> None:
            await self._keep(tx, row, fresh)

        digest, statement = row["token_digest"], link_tables.RENEW_CAPACITY
        if await renewed(self.capacity.database, statement, digest, now, keep):
            await self._mail(self.mail, row, fresh)

    async def _check_lately(self, tx: Transaction, row: Any) -> None:
        """Raise ``MailedLatelyError`` if the mailbox has had enough for now."""
        now, about = self.capacity.clock(), (row["service_id"], row["mailbox"])
        (lately,) = await tx.fetch(link_tables.CAPACITY_MAILED, *about, now - RENEW_EVERY)
        full = lately["of_mailbox"] >= MAILS_AN_HOUR
        since = lately["of_service"] or (lately["first"] if full else None)
        if since is not None:
            raise MailedLatelyError(since + RENEW_EVERY - now)

    async def _keep(self, tx: Transaction, row: Any, token: str) -> None:
        now = self.capacity.clock()
        await tx.execute(
            link_tables.INSERT_CAPACITY, token_digest(token), row["service_id"],
            row["partner_id"], row["mailbox"], now, expiry(now, self.letterhead.link_days),
        )  # fmt: skip

    async def _mail(self, mail: MailSender, row: Any, token: str) -> Sent:
        until = local_day(expiry(self.capacity.clock(), self.letterhead.link_days))
        url = self.letterhead.base_url + CAPACITY_PAGE + token
        letter = letters.capacity(row["service"], url, until)
        return await mail_link(mail, row["mailbox"], letter, token)

    async def _row(self, token: str) -> Any:
        if not TOKEN.fullmatch(token):
            return None
        async with self.capacity.database.reading() as connection:
            return await connection.fetchrow(link_tables.CAPACITY_LINK, token_digest(token))

    async def _live(self, token: str) -> Any:
        row = await self._row(token)
        if row is None or row["expires_at"] <= self.capacity.clock():
            raise LinkGoneError
        return row
