"""What a process stands on: databases, keys, clock, and where subscriptions read from."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.requesters import Requesters
from infra.clock import Clock, system_clock
from infra.database import Database
from infra.embedded import EmbeddedPostgres
from infra.eventstore.events import Recorded
from infra.eventstore.writer import Writer
from infra.migrations import vault_url
from infra.requesters import load_requesters
from infra.settings import Settings
from infra.sources.base import Source
from infra.sources.postgres import PostgresSource
from infra.subscription import Subscription
from infra.vault import FileMasterKey, Vault

DATABASE = "aiguillage"
RecordedHandler = Callable[[Sequence[Recorded], AsyncConnection], Awaitable[None]]


@dataclass
class Platform:
    """Built once per process by its entry point; handed to each ``app.build``."""

    settings: Settings
    database_url: str
    vault_url: str
    clock: Clock = system_clock
    vault: Vault = field(init=False)
    requesters: Requesters = field(init=False)

    def __post_init__(self) -> None:
        self.requesters = load_requesters(self.settings.requesters)
        master = FileMasterKey(self.settings.data / "master.key")
        self.vault = Vault(Database(self.vault_url, "vault", pool_size=4), master)

    def database(self, schema: str) -> Database:
        """The pool of one service."""
        return Database(self.database_url, schema)

    def writer(self, service: str) -> Writer:
        """How one service appends."""
        return Writer(service, self.vault, self.clock)

    def source(
        self, database: Database, service: str, group: str, *, as_stored: bool = False
    ) -> Source[Recorded]:
        """Another service's events: its table, or its Kafka topic where there is a broker.

        ``as_stored``: old events in their own words, not in today's.
        """
        if self.settings.kafka_bootstrap:
            from infra.sources.kafka import KafkaSource

            return KafkaSource(self.settings, service, group, as_stored=as_stored)
        return PostgresSource(database, service, as_stored=as_stored)

    def subscription(
        self,
        name: str,
        database: Database,
        service: str,
        handle: RecordedHandler,
        source: Source[Recorded] | None = None,
    ) -> Subscription[Recorded]:
        """Subscribe to ``service``'s events under ``name`` (unique in the subscriber).

        ``source``: where to read them, if not where ``source()`` says.
        """
        settings = self.settings
        return Subscription(
            name,
            database,
            source or self.source(database, service, f"{database.schema}.{name}"),
            handle,
            batch_size=settings.batch_size,
            poll_seconds=settings.poll_seconds,
            max_parked_share=settings.max_parked_share,
        )

    async def close(self) -> None:
        """Close what the platform opened itself."""
        await self.vault.close()


def resolve_urls(settings: Settings) -> tuple[str, str, EmbeddedPostgres | None]:
    """URLs of the main database and the keys'; starts the embedded server if none given."""
    server, url = None, settings.database_url
    if url is None:
        server = EmbeddedPostgres(settings.data)
        server.start()
        url = server.url(DATABASE)
    return url, settings.vault_url or vault_url(url), server
