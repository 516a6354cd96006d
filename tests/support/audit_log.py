"""An audit service on a real PostgreSQL, with events of other services to put into its log."""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import orjson

from contracts.base import Event
from infra.base.clock import Clock, system_clock
from infra.base.settings import Settings
from infra.eventstore.events import EventMetadata, NewEvent, StoredEvent, new_event
from infra.eventstore.store import Append, EventStore
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.postgres.database import Database
from infra.web.app import Service
from infra.web.auth import create_key
from infra.workers.periodic import PeriodicTask
from services.audit.app import build
from services.audit.handlers.signer import CheckpointSigner
from services.audit.handlers.signing import Signing
from tests.support.postgres import Databases

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@dataclass
class Hub:
    """The audit service under test, and tables of the others to append to."""

    platform: Platform
    service: Service
    pools: dict[str, Database] = field(default_factory=dict)

    @property
    def sequencers(self) -> list[Subscription[StoredEvent]]:
        """Its subscriptions, one per service."""
        return [w for w in self.service.workers if isinstance(w, Subscription)]

    @property
    def signer(self) -> CheckpointSigner:
        """Its signer."""
        (found,) = [w for w in self.service.workers if isinstance(w, CheckpointSigner)]
        return found

    @property
    def signing(self) -> Signing:
        """What its signer signs with."""
        found: Signing = self.service.app.state.signing
        return found

    async def tick(self, name: str) -> int:
        """Run one of its tickers once."""
        (found,) = [w for w in self.service.workers if w.name == name]
        assert isinstance(found, PeriodicTask)
        return await found._step()

    async def publish(self) -> int:
        """Bring the log's files up to date."""
        return await self.tick("log-files")

    async def fill(self, count: int) -> None:
        """Events of many streams, signed; ``count`` is a multiple of 5."""
        streams = [Append(f"s-{uuid4()}", plain(5)) for _ in range(count // 5)]
        await self.append_all("intake", streams)
        await self.read_all()
        await self.signer.step()

    async def append(
        self,
        service: str,
        stream: str,
        events: Sequence[NewEvent],
        at: datetime = START,
    ) -> list[StoredEvent]:
        """Store events as ``service`` would."""
        return await self.append_all(service, [Append(stream, events)], at)

    async def append_all(
        self, service: str, appends: Sequence[Append], at: datetime = START
    ) -> list[StoredEvent]:
        """Store events of several streams in one transaction."""
        pool = self.pools.setdefault(service, self.platform.database(service))
        async with pool.transaction() as tx:
            return await EventStore(service).append(tx, appends, at)

    async def say(
        self, service: str, stream: str, person: UUID, *events: Event, at: datetime = START
    ) -> list[StoredEvent]:
        """Store contract events about a person."""
        new = [new_event(event, at, person, EventMetadata("adviser:cle")) for event in events]
        return await self.append(service, stream, new, at)

    async def read_all(self) -> None:
        """Run every sequencer until nothing is left to read."""
        for sequencer in self.sequencers:
            await drain(sequencer)

    async def rows(self, query: str, *values: object) -> list[Any]:
        """What the audit service reads in its database."""
        async with self.service.database.reading() as tx:
            return list(await tx.fetch(query, *values))

    async def tamper(self, query: str, *values: object) -> None:
        """What only somebody with the database's own password can do."""
        owner = await asyncpg.connect(self.platform.database_url)
        try:
            await owner.execute(query, *values)
        finally:
            await owner.close()

    async def leaf_hashes(self) -> list[bytes]:
        """Every leaf of the log, in order."""
        return [r[0] for r in await self.rows("SELECT leaf_hash FROM entries ORDER BY idx")]


async def drain(sequencer: Subscription[StoredEvent]) -> None:
    """Read until nothing is left."""
    await sequencer.source.start(sequencer)
    while await sequencer.lag():
        await sequencer.step()
    await sequencer.source.stop()


@asynccontextmanager
async def audit_hub(
    databases: Databases, clock: Clock = system_clock, **given: Any
) -> AsyncIterator[Hub]:
    """A hub whose workers are stepped by hand."""
    usual = {"batch_size": 100, "poll_seconds": 0.01, "kafka_bootstrap": None}
    settings = Settings(**{"data": databases.directory} | usual | given)
    platform = Platform(settings, databases.url, databases.vault_url, clock)
    hub = Hub(platform, build(platform))
    try:
        yield hub
    finally:
        await hub.service.stop()
        for pool in hub.pools.values():
            await pool.close()
        await platform.close()


@asynccontextmanager
async def client_of(hub: Hub, role: str = "auditor") -> AsyncIterator[httpx2.AsyncClient]:
    """A caller with a key of this role."""
    async with hub.service.database.transaction() as tx:
        key = await create_key(tx, f"test-{role}", role)
    transport = httpx2.ASGITransport(hub.service.app)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://audit", headers=headers
    ) as client:
        yield client


def plain(count: int, person: UUID | None = None) -> list[NewEvent]:
    """Events whose type nobody knows, with a sealed part."""
    return [
        NewEvent(
            "fr.test.happened.v1", orjson.dumps({"n": n}).decode(), START, person or uuid4(),
            b"sealed %d" % n,
        )
        for n in range(count)
    ]  # fmt: skip


def unbase64(values: Sequence[str]) -> list[bytes]:
    """Hashes from JSON."""
    return [base64.b64decode(value) for value in values]
