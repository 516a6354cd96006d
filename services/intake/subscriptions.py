"""Subscriptions of the intake: its own events, referrals, and the public topic."""

from infra.base.settings import Settings
from infra.eventstore.events import StoredEvent
from infra.messaging.sources.base import ForeignRecord
from infra.messaging.sources.postgres import PostgresSource
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.postgres.database import Database
from services.intake.handlers.erasure import Erasing
from services.intake.handlers.persons import Persons
from services.intake.handlers.reactions import PublicRecords
from services.intake.handlers.retention import Retention


def subscriptions(
    platform: Platform,
    database: Database,
    persons: Persons,
    erasing: Erasing,
    retention: Retention,
) -> list[Subscription[StoredEvent]]:
    """Return the subscriptions to events.

    ``persons`` finds duplicates, ``rights`` keeps restrictions and forgets erased persons,
    ``retention`` keeps last contacts, ``cases`` what is still open.
    """

    def own() -> PostgresSource:
        return PostgresSource(database, "intake")  # read before they are relayed

    indexed = persons.on_own_events
    return [
        platform.subscription("persons", database, "intake", indexed, own()),
        platform.subscription("retention", database, "intake", retention.on_own_events, own()),
        platform.subscription("cases", database, "referrals", retention.on_referrals),
        platform.subscription(
            "rights", database, "intake", erasing.on_own_events, own(), include_erased=True
        ),
    ]


def public_records(
    settings: Settings, database: Database, records: PublicRecords
) -> Subscription[ForeignRecord]:
    """Return ``public``: the topic that municipal systems produce to."""
    from infra.messaging.sources.public import public_source

    return Subscription(
        "public",
        database,
        public_source(settings, "intake.public"),
        records.handle,
        batch_size=settings.batch_size,
        poll_seconds=settings.poll_seconds,
        max_parked_share=settings.max_parked_share,
        alarm_seconds=settings.lag_alarm_seconds,
    )
