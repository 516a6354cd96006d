"""Subscriptions of the partner service, wired: which handler gets whose events."""

from infra.delivery.mail import MailSender
from infra.eventstore.events import StoredEvent
from infra.eventstore.writer import Writer
from infra.messaging.sources.postgres import PostgresSource
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.postgres.database import Database
from services.partners.handlers.erasure import Rights
from services.partners.handlers.notices import Notices
from services.partners.handlers.reactions import Deliveries, Receipts, Withdrawals


def subscriptions(
    platform: Platform, database: Database, writer: Writer
) -> list[Subscription[StoredEvent]]:
    """``deliveries``: a request or a cancellation becomes a message to the partner.

    ``withdrawals``: an agreement withdrawn keeps back what did not leave, and tells whoever
    received something. ``rights``: holds what concerns a restricted person, forgets erased
    ones; ``receipts``: tells whoever received something that a person was erased.
    """
    deliveries = Deliveries(writer, platform.clock)
    withdrawn = Withdrawals(writer, platform.clock)
    rights, receipts = Rights(writer, platform.clock), Receipts(writer, platform.clock)
    return [
        platform.subscription("deliveries", database, "referrals", deliveries.handle),
        platform.subscription("withdrawals", database, "intake", withdrawn.handle),
        platform.subscription(
            "rights", database, "intake", rights.on_intake, include_erased=True
        ),
        platform.subscription(
            "receipts", database, "audit", receipts.handle, include_erased=True
        ),
    ]


def notices(
    platform: Platform, database: Database, mail: MailSender
) -> Subscription[StoredEvent]:
    """``notices``: our own word that an address is disabled becomes mail."""
    handler = Notices(mail, platform.settings.operator_mail)
    source = PostgresSource(database, "partners")
    return platform.subscription("notices", database, "partners", handler.handle, source)
