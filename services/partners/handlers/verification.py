"""Endpoints prove that they want our messages before they get the first real one.

Either they answer the handshake of CloudEvents' HTTP webhooks (``OPTIONS`` with our origin), or
they take a signed ping; France Travail gives a token for our credentials. What is due waits for
it, and uses up no attempts.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from contracts.partners import EndpointVerified
from contracts.values import Channel
from infra.base.clock import Clock
from infra.base.missing import NotFoundError
from infra.delivery.webhook.sender import (
    ClientCertificate,
    Consent,
    Outcome,
    Outgoing,
    Sender,
    Sent,
)
from infra.delivery.webhook.signature import SigningKey
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.partners.adapters.france_travail_clients import Application, Clients
from services.partners.handlers.endpoints import disable
from services.partners.handlers.secrets import Secrets
from services.partners.model.delivery import Health, pause
from services.partners.model.messages import compose_ping
from services.partners.tables import statements

LEASE = timedelta(seconds=60)
"""Longer than a handshake and a ping: another process does not ask meanwhile."""
LOST = Sent(Outcome.PERMANENT, "no-credentials")
"""What was sealed does not open any more."""


@dataclass(frozen=True, slots=True)
class _Known:
    keys: Mapping[UUID, list[SigningKey]]
    clients: Mapping[UUID, ClientCertificate]
    applications: Mapping[UUID, Application]


@dataclass(frozen=True)
class Verification:
    """Asks endpoints, and remembers what they said. ``origin``: our host, as they know it."""

    database: Database
    writer: Writer
    sender: Sender
    travail: Clients
    clock: Clock
    origin: str

    async def step(self) -> int:
        """Ask those that were not asked yet, or not for a while; answers how many."""
        now = self.clock()
        async with self.database.transaction() as tx:
            rows = await tx.fetch(statements.UNVERIFIED, now, now + LEASE)
        if rows:
            secrets = await self._secrets([row["endpoint_id"] for row in rows])
            said = await asyncio.gather(*(self._prove(row, secrets) for row in rows))
            for row, consent in zip(rows, said, strict=True):
                await self._keep(row, consent)
        return len(rows)

    async def ping(self, endpoint_id: UUID, partner_id: str | None = None) -> Sent:
        """Send a signed ping now, or ask for a token; answers what became of it.

        Raises ``NotFoundError`` unless there is such an endpoint (of this partner) to send to.
        """
        async with self.database.reading() as connection:
            row = await connection.fetchrow(statements.ACTIVE_ENDPOINT, endpoint_id, partner_id)
        if row is None or row["channel"] not in (Channel.WEBHOOK, Channel.REST):
            raise NotFoundError("endpoint")
        known = await self._secrets([endpoint_id])
        if row["channel"] == Channel.REST:
            application = known.applications.get(endpoint_id)
            return await self.travail.prove(application) if application else LOST
        return await self._ping(row, known)

    async def _secrets(self, endpoints: list[UUID]) -> _Known:
        async with self.database.reading() as connection:
            rows = await connection.fetch(
                statements.SECRETS_OF_ENDPOINTS, endpoints, self.clock()
            )
        secrets = await Secrets.of(self.writer.vault.master, rows)
        return _Known(secrets.signing(rows), secrets.clients(rows), secrets.applications(rows))

    async def _prove(self, row: Any, known: _Known) -> Consent:
        if row["channel"] == Channel.REST:
            application = known.applications.get(row["endpoint_id"])
            return Consent(application is not None and await self._tokens(application))
        client = known.clients.get(row["endpoint_id"])
        consent = await self.sender.ask(row["url"], self.origin, client)
        if consent.given:
            return consent
        return Consent((await self._ping(row, known)).outcome is Outcome.OK)

    async def _tokens(self, application: Application) -> bool:
        """Whether France Travail knows us; who may only search offers is known, too."""
        sent = await self.travail.prove(application)
        if sent.outcome is Outcome.PERMANENT:
            sent = await self.travail.prove_offers(application)
        return sent.outcome is Outcome.OK

    async def _ping(self, row: Any, known: _Known) -> Sent:
        endpoint_id = row["endpoint_id"]
        body = compose_ping(endpoint_id, row["partner_id"], self.clock())
        ping = Outgoing(
            row["url"],
            f"ping_{uuid4().hex}",
            body,
            known.keys.get(endpoint_id, []),
            client=known.clients.get(endpoint_id),
        )
        return await self.sender.send(ping)

    async def _keep(self, row: Any, consent: Consent) -> None:
        async with self.database.transaction() as tx:
            now = self.clock()
            if consent.given:
                pending = await self._verified(tx, row, consent.per_minute, now)
            else:
                pending = await self._failed(tx, row, now)
            await self.writer.write(tx, pending)

    async def _verified(
        self, tx: Transaction, row: Any, per_minute: int | None, now: datetime
    ) -> list[Pending]:
        found = await tx.fetchval(statements.VERIFY, row["endpoint_id"], now, per_minute)
        if found is None:
            return []  # disabled or replaced meanwhile
        verified = EndpointVerified(endpoint_id=found, partner_id=row["partner_id"])
        return [Pending(f"partner-{row['partner_id']}", [verified], None, EventMetadata())]

    async def _failed(self, tx: Transaction, row: Any, now: datetime) -> list[Pending]:
        failures, since = row["failures"] + 1, row["failing_since"] or now
        values = [failures], [since], [now + pause(row["failures"])]
        await tx.execute(statements.KEEP_HEALTH, [row["endpoint_id"]], *values)
        if not Health(failures, since).hopeless(now):
            return []
        return await disable(tx, [row["endpoint_id"]], "unverified", now)
