"""Endpoints prove that they want our messages before they get the first real one.

How, their channel says (``DeliveryChannel.prove``). What is due waits for it, and uses up no
attempts.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from contracts.partners import EndpointVerified
from infra.base.clock import Clock
from infra.base.missing import NotFoundError
from infra.delivery.webhook.sender import Consent, Sent
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import columns
from services.partners.channels.base import Endpoint
from services.partners.channels.registry import Channels
from services.partners.handlers.endpoints import disable
from services.partners.handlers.secrets import NO_SECRETS, Secrets
from services.partners.model.delivery import Health, pause
from services.partners.tables import statements

LEASE = timedelta(seconds=60)
"""Longer than a handshake and a ping: another process does not ask meanwhile."""


class Asked(NamedTuple):
    """An address that is asked whether it wants messages, and how it fared before."""

    endpoint_id: UUID
    partner_id: str
    channel: str
    url: str
    failures: int
    failing_since: datetime | None


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
            asked = [
                Asked(*row) for row in await tx.fetch(statements.UNVERIFIED, now, now + LEASE)
            ]
        if asked:
            endpoints = await self._endpoints(asked)
            proofs = [self.channels[a.channel].prove(endpoints[a.endpoint_id]) for a in asked]
            for address, consent in zip(asked, await asyncio.gather(*proofs), strict=True):
                await self._keep(address, consent)
        return len(asked)

    async def ping(self, endpoint_id: UUID, partner_id: str | None = None) -> Sent:
        """Send a signed ping now, or ask for a token. Returns what became of it.

        Raises ``NotFoundError`` unless there is such an endpoint (of this partner) to send to.
        """
        async with self.database.reading() as connection:
            row = await connection.fetchrow(statements.ACTIVE_ENDPOINT, endpoint_id, partner_id)
        address = Asked(*row) if row else None
        if address is None or not self.channels[address.channel].proves:
            raise NotFoundError("endpoint")
        endpoints = await self._endpoints([address])
        return await self.channels[address.channel].ping(endpoints[endpoint_id])

    async def _endpoints(self, addresses: Sequence[Asked]) -> dict[UUID, Endpoint]:
        ids = [address.endpoint_id for address in addresses]
        async with self.database.reading() as connection:
            stored = await connection.fetch(statements.SECRETS_OF_ENDPOINTS, ids, self.clock())
        secrets = await Secrets.of(self.writer.vault.master, stored)
        known = secrets.of_endpoints(stored)
        return {
            a.endpoint_id: Endpoint(
                endpoint_id=a.endpoint_id,
                partner_id=a.partner_id,
                url=a.url,
                secrets=known.get(a.endpoint_id, NO_SECRETS),
            )
            for a in addresses
        }

    async def _keep(self, address: Asked, consent: Consent) -> None:
        async with self.database.transaction() as tx:
            now = self.clock()
            endpoint_id, partner_id = address.endpoint_id, address.partner_id
            if not consent.given:
                failures, since = address.failures + 1, address.failing_since or now
                rest_until = now + pause(address.failures)
                health = [(endpoint_id, failures, since, rest_until)]
                await tx.execute(statements.KEEP_HEALTH, *columns(health))
                if Health(failures, since).hopeless(now):
                    pending = await disable(tx, [endpoint_id], "unverified", now)
                    await self.writer.write(tx, pending)
            elif await tx.fetchval(statements.VERIFY, endpoint_id, now, consent.per_minute):
                # else it was disabled or replaced meanwhile
                verified = EndpointVerified(endpoint_id=endpoint_id, partner_id=partner_id)
                pending = [Pending(f"partner-{partner_id}", [verified], None, EventMetadata())]
                await self.writer.write(tx, pending)
