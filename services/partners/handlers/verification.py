"""Endpoints prove that they want our messages before they get the first real one.

How, their channel says (``DeliveryChannel.prove``). What is due waits for it, and uses up no
attempts.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from contracts.partners import EndpointVerified
from infra.base.clock import Clock
from infra.base.missing import NotFoundError
from infra.delivery.webhook.sender import Consent, Sent
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.partners.channels.base import Endpoint
from services.partners.channels.registry import Channels
from services.partners.handlers.endpoints import disable
from services.partners.handlers.secrets import EndpointSecrets, Secrets
from services.partners.model.delivery import Health, pause
from services.partners.tables import statements

LEASE = timedelta(seconds=60)
"""Longer than a handshake and a ping: another process does not ask meanwhile."""


@dataclass(frozen=True)
class Verification:
    """Asks endpoints whether they want our messages, and stores what came of it."""

    database: Database
    writer: Writer
    channels: Channels
    clock: Clock

    async def step(self) -> int:
        """Ask those that were not asked yet, or not for a while. Returns how many."""
        now = self.clock()
        async with self.database.transaction() as tx:
            rows = await tx.fetch(statements.UNVERIFIED, now, now + LEASE)
        if rows:
            endpoints = await self._endpoints(rows)
            consents = await asyncio.gather(
                *(
                    self.channels[row["channel"]].prove(endpoint)
                    for row, endpoint in zip(rows, endpoints, strict=True)
                )
            )
            for row, consent in zip(rows, consents, strict=True):
                await self._keep(row, consent)
        return len(rows)

    async def ping(self, endpoint_id: UUID, partner_id: str | None = None) -> Sent:
        """Send a signed ping now, or ask for a token. Returns what became of it.

        Raises ``NotFoundError`` unless there is such an endpoint (of this partner) to send to.
        """
        async with self.database.reading() as connection:
            row = await connection.fetchrow(statements.ACTIVE_ENDPOINT, endpoint_id, partner_id)
        if row is None or not self.channels[row["channel"]].proves:
            raise NotFoundError("endpoint")
        (endpoint,) = await self._endpoints([row])
        return await self.channels[row["channel"]].ping(endpoint)

    async def _endpoints(self, rows: Sequence[Any]) -> list[Endpoint]:
        ids = [row["endpoint_id"] for row in rows]
        async with self.database.reading() as connection:
            stored = await connection.fetch(statements.SECRETS_OF_ENDPOINTS, ids, self.clock())
        secrets = await Secrets.of(self.writer.vault.master, stored)
        known = secrets.of_endpoints(stored)
        return [
            Endpoint(i, row["partner_id"], row["url"], known.get(i, EndpointSecrets()))
            for i, row in zip(ids, rows, strict=True)
        ]

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
