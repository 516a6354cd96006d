"""Subscriptions of the audit service: one sequencer per service, and the rights of persons."""

from contracts.registry import SERVICES
from infra.eventstore.events import StoredEvent
from infra.messaging.sources.base import Source
from infra.messaging.sources.postgres import PostgresSource
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.postgres.database import Database
from services.audit.handlers.erasure import Erasing
from services.audit.handlers.sequencing import sequence


def sequencers(platform: Platform, database: Database) -> list[Subscription[StoredEvent]]:
    """Every event of every service, the audit's own included, into the log."""
    return [
        platform.subscription(
            f"log-{service}",
            database,
            service,
            handle=sequence,
            source=_source(platform, database, service),
            include_erased=True,
        )
        for service in SERVICES
    ]


def rights(
    platform: Platform, database: Database, erasing: Erasing
) -> Subscription[StoredEvent]:
    """``rights``: keeps limits; ciphertext of erased persons leaves the log's side."""
    return platform.subscription(
        "rights", database, "intake", erasing.on_intake, include_erased=True
    )


def _source(platform: Platform, database: Database, service: str) -> Source[StoredEvent]:
    """The service's topic where there is a broker; nobody but us reads our own events."""
    if platform.settings.kafka_bootstrap and service != database.schema:
        return platform.source(
            database, service, f"{database.schema}.log-{service}", as_stored=True
        )
    return PostgresSource(database, service, as_stored=True)
