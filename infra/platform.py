"""What a process stands on: databases, keys, clock, and where subscriptions read from."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from contracts.requesters import Requesters
from infra.base import data_directory
from infra.base.clock import Clock, system_clock
from infra.base.data_directory import LEDGER
from infra.base.requesters import load_requesters
from infra.base.settings import Settings
from infra.eventstore.events import StoredEvent
from infra.eventstore.writer import Writer
from infra.keys.key_ring import KeyRing
from infra.keys.master_key import FileProvider, IndexKey, Provider
from infra.keys.vault import Vault
from infra.messaging.record_codes import RecordKey
from infra.messaging.sources.base import Source
from infra.messaging.sources.postgres import PostgresSource
from infra.messaging.subscription import Subscription
from infra.postgres.database import Database, vault_url
from infra.postgres.embedded import EmbeddedPostgres
from infra.postgres.logins import with_passwords
from infra.postgres.transaction import Transaction
from infra.privacy.erasure import skip_erased
from infra.privacy.erasure_ledger import Erasures

DATABASE = "aiguillage"


class Databases(NamedTuple):
    """URLs of the main database and the keys', for their owner; the server, if it is ours."""

    main: str
    vault: str
    server: EmbeddedPostgres | None


StoredEventHandler = Callable[[Sequence[StoredEvent], Transaction], Awaitable[None]]


@dataclass
class Platform:
    """Built once per process by its entry point; handed to each ``app.build``."""

    settings: Settings
    database_url: str
    vault_url: str
    clock: Clock = system_clock
    vault: Vault = field(init=False)
    erasures: Erasures = field(init=False)
    requesters: Requesters = field(init=False)

    def __post_init__(self) -> None:
        self.vault = open_vault(self.settings, self.vault_url)
        self.erasures = Erasures(self.vault.database, self.settings.data / LEDGER)
        self.requesters = load_requesters(self.settings.requesters)

    def database(self, schema: str) -> Database:
        """The pool of one service."""
        return Database(self.database_url, schema)

    def writer(self, service: str) -> Writer:
        """How one service appends."""
        return Writer(service, self.vault, self.clock)

    def record_key(self) -> RecordKey:
        """What our records on Kafka are known by."""
        return RecordKey(self.vault.master)

    def source(
        self, database: Database, service: str, group: str, *, as_stored: bool = False
    ) -> Source[StoredEvent]:
        """Another service's events: its table, or its Kafka topic where there is a broker.

        ``as_stored``: old events in their own words, not in today's.
        """
        if self.settings.kafka_bootstrap:
            from infra.messaging.sources.kafka import KafkaSource

            return KafkaSource(
                self.settings, database, service, group, self.record_key(), as_stored=as_stored
            )
        return PostgresSource(database, service, as_stored=as_stored)

    def subscription(
        self,
        name: str,
        database: Database,
        service: str,
        handle: StoredEventHandler,
        source: Source[StoredEvent] | None = None,
        *,
        include_erased: bool = False,
    ) -> Subscription[StoredEvent]:
        """Subscribe to ``service``'s events under ``name`` (unique in the subscriber).

        ``source``: where to read them, if not where ``source()`` says. ``include_erased``: take
        also those about persons whom the subscriber has forgotten (erased).
        """
        settings = self.settings
        return Subscription(
            name,
            database,
            source or self.source(database, service, f"{database.schema}.{name}"),
            handle if include_erased else skip_erased(handle),
            batch_size=settings.batch_size,
            poll_seconds=settings.poll_seconds,
            max_parked_share=settings.max_parked_share,
            alarm_seconds=settings.lag_alarm_seconds,
        )

    async def close(self) -> None:
        """Close what the platform opened itself."""
        await self.vault.close()


def open_vault(settings: Settings, url: str) -> Vault:
    """The vault and its master keys; nothing is connected, and no master key made, before one
    is needed."""
    database = Database(url, "vault", pool_size=4)
    index = IndexKey(settings.data / data_directory.INDEX_KEY)
    ring = KeyRing(database, providers(settings), index, new_keys=settings.master_keys)
    return Vault(database, ring, settings.key_cache_seconds)


def providers(settings: Settings) -> list[Provider]:
    """Whoever may keep a master key here: files, and a transit engine where one is set.

    Both at once, so that a rotation can move from one to the other.
    """
    usable: list[Provider] = [FileProvider(settings.data)]
    if settings.transit_url and settings.transit_token_file:
        from infra.keys.transit import Transit, TransitProvider  # few have an engine

        transit = Transit(
            url=settings.transit_url,
            token_file=settings.transit_token_file,
            key=settings.transit_key,
            mount=settings.transit_mount,
            ca_file=settings.transit_ca_file,
            seconds=settings.transit_seconds,
        )
        usable.append(TransitProvider(transit))
    return usable


@asynccontextmanager
async def databases_of(settings: Settings, *, create: bool) -> AsyncIterator[Databases]:
    """The databases by URL, or on the embedded server, which whoever uses it last stops.

    Only with ``create`` is anything made. Raises ``NoHubError`` or ``NotOwnerError``.
    """
    prepare = data_directory.create if create else data_directory.require
    prepare(settings.data)
    if settings.database_url:
        yield _by_url(settings, with_passwords(settings.database_url, settings.data), None)
        return
    with ExitStack() as stack:
        used = EmbeddedPostgres(settings.data).used(create=create)
        server = await asyncio.to_thread(stack.enter_context, used)
        try:
            yield _by_url(settings, server.url(DATABASE), server)
        finally:
            await asyncio.to_thread(stack.close)


def _by_url(settings: Settings, url: str, server: EmbeddedPostgres | None) -> Databases:
    keys_url = settings.vault_url
    if keys_url:
        keys_url = with_passwords(keys_url, settings.data)
    return Databases(url, keys_url or vault_url(url), server)


@asynccontextmanager
async def command_context(settings: Settings) -> AsyncIterator[Platform]:
    """The platform of a command: the same databases and keys as the running hub.

    Raises ``NoHubError`` and ``NotOwnerError``, and what `migrations.check` raises.
    """
    # services' processes check their own schema alone
    from infra.postgres.migrations import check

    async with databases_of(settings, create=False) as databases:
        await check(databases.main, databases.vault)
        platform = Platform(settings, databases.main, databases.vault)
        try:
            yield platform
        finally:
            await platform.close()


@asynccontextmanager
async def service_context(
    settings: Settings, service: str
) -> AsyncIterator[tuple[Platform, Database]]:
    """The platform of a command, and the pool of the one service that it works on."""
    async with command_context(settings) as platform:
        database = platform.database(service)
        try:
            yield platform, database
        finally:
            await database.close()
