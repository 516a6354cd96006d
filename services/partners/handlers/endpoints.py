"""Addresses that partners give us, and the secrets that sign in both directions."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from cryptography import x509

from contracts.base import Event
from contracts.partners import (
    DeliveryDeadLettered,
    DeliveryEvent,
    EndpointDisabled,
    EndpointRegistered,
    SecretRotated,
)
from infra.base.clock import Clock
from infra.base.missing import NotFoundError
from infra.delivery.ssrf_guard import UnsafeUrlError
from infra.delivery.webhook.sender import ClientCertificate, client_context
from infra.delivery.webhook.signature import (
    format_public_key,
    format_secret,
    new_private_key,
    new_secret,
)
from infra.eventstore.events import EventMetadata
from infra.eventstore.retrying import retrying
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.partners.channels.base import Address, InvalidEndpointError
from services.partners.channels.registry import Channels, published_where
from services.partners.handlers.secrets import SIGNING, EndpointSecrets, keep_secret
from services.partners.model.delivery import taken_over
from services.partners.tables import channels, statements

OVERLAP = timedelta(hours=24)
"""How long the secret of a replaced endpoint still verifies answers."""
MOST_OVERLAP = timedelta(days=7)
MOST_SECRETS = 5
"""Of one endpoint at a time: each signs every message, and is tried on every answer."""
MOST_ENDPOINTS = 100
"""Of one partner: every answer is tried with the secrets of all of them."""
HUB = EventMetadata()
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint just registered, with its secret: the only time that it is shown."""

    endpoint_id: UUID
    secret: str = field(repr=False)
    public_key: str | None = None


class TooManySecretsError(Exception):
    """So many old secrets still count that no other is made beside them."""


class _Inserted(NamedTuple):
    """The columns of ``INSERT_ENDPOINT``, in its order."""

    endpoint_id: UUID
    partner_id: str
    service_ids: list[str]
    url: str
    channel: str
    rank: int
    ordering: str
    per_minute: int | None
    concurrency: int | None
    batch_minutes: int | None
    keeps_appointments: bool
    verified_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class Endpoints:
    """Registers endpoints, renews their secrets, and disables them."""

    database: Database
    writer: Writer
    clock: Clock
    channels: Channels

    def complete(self, address: Address) -> Address:
        """Return an address with what its channel needs where nothing else was asked for."""
        return self.channels[address.channel].complete(address)

    async def register(self, address: Address, meta: EventMetadata) -> NewEndpoint:
        """Register an endpoint; one of the same partner at the same URL is replaced by it.

        Raises ``InvalidEndpointError`` for an unknown partner or service, and for a URL that we
        do not deliver to.
        """
        channel = self.channels[address.channel]
        for part in ("application", "settings"):
            if getattr(address, part) and part not in channel.carries:
                fitting = published_where("carries", part)
                detail = f"the channel {fitting}" if fitting else "no channel of this hub"
                raise InvalidEndpointError(part, f"goes with {detail}")
        try:
            await channel.check(address)
        except UnsafeUrlError as error:
            raise InvalidEndpointError("url", str(error)) from error
        if address.batch_minutes and not channel.batches:
            detail = f"goes with the channel {published_where('batches')} only"
            raise InvalidEndpointError("batch_minutes", detail)
        _check_client(address.client, self.clock())
        return await retrying(
            self.database, lambda tx: self._register(tx, address, meta), ATTEMPTS
        )

    async def _register(
        self, tx: Transaction, address: Address, meta: EventMetadata
    ) -> NewEndpoint:
        endpoint_id, secret, now = uuid4(), new_secret(), self.clock()
        pair = new_private_key() if address.asymmetric else None
        channel = self.channels[address.channel]
        secrets = EndpointSecrets(
            keys=[pair] if pair else [],
            account=address.account,
            client=address.client,
            application=address.application,
            settings=address.settings,
        )
        await self._check_known(tx, address)
        new = _Inserted(
            endpoint_id=endpoint_id,
            partner_id=address.partner_id,
            service_ids=address.service_ids,
            url=address.url,
            channel=address.channel,
            rank=address.rank,
            ordering=address.ordering,
            per_minute=address.per_minute,
            concurrency=address.concurrency,
            batch_minutes=address.batch_minutes,
            keeps_appointments=channel.keeps_appointments,
            verified_at=None if channel.proves else now,
            created_at=now,
        )
        await tx.execute(statements.INSERT_ENDPOINT, *new)
        for kind, kept in (("v1", secret), *secrets.kept()):
            await self._keep(tx, endpoint_id, kind, kept)

        same_url = address.partner_id, address.url, endpoint_id
        old = [i for (i,) in await tx.fetch(statements.SUPERSEDE_ENDPOINTS, *same_url)]
        if old:
            await tx.execute(statements.EXPIRE_ALL_SECRETS, old, now + OVERLAP)
            await tx.execute(statements.MOVE_DELIVERIES, old, endpoint_id)

        events: list[Event] = [
            EndpointDisabled(endpoint_id=i, partner_id=address.partner_id, reason="superseded")
            for i in old
        ]
        events.append(
            EndpointRegistered(
                endpoint_id=endpoint_id,
                partner_id=address.partner_id,
                service_ids=address.service_ids,
                channel=address.channel,
                rank=address.rank,
            )
        )
        pending = Pending(f"partner-{address.partner_id}", events, None, meta)
        await self.writer.write(tx, [pending])
        public = format_public_key(pair) if pair else None
        return NewEndpoint(endpoint_id, format_secret(secret), public)

    async def rotate(
        self,
        endpoint_id: UUID,
        meta: EventMetadata,
        overlap: timedelta = OVERLAP,
        of_partner: str | None = None,
    ) -> NewEndpoint:
        """Renew each kind of secret that signs: the shared one, and Ed25519 where there is one.

        Until ``overlap`` has passed, messages are signed with the old ones as well, and
        answers signed with those are taken; with none, they are worth nothing from now on.

        Raises ``NotFoundError`` for an endpoint that is not there, and ``TooManySecretsError``.
        """
        secret, now = new_secret(), self.clock()
        async with self.database.transaction() as tx:
            partner_id = await self._locked(tx, endpoint_id, of_partner)
            await tx.execute(statements.DROP_EXPIRED_SECRETS, endpoint_id, now)
            rows = await tx.fetch(statements.SECRETS_OF_ENDPOINTS, [endpoint_id], now)
            signing = [row["kind"] for row in rows if row["kind"] in SIGNING]
            if overlap and signing.count("v1") >= MOST_SECRETS:
                raise TooManySecretsError
            await tx.execute(statements.EXPIRE_SECRETS, [endpoint_id], now + overlap, SIGNING)
            pair = new_private_key() if "v1a" in signing else None
            await self._keep(tx, endpoint_id, "v1", secret)
            if pair:
                await self._keep(tx, endpoint_id, "v1a", pair.private_bytes_raw())
            rotated = SecretRotated(
                endpoint_id=endpoint_id, partner_id=partner_id, old_until=now + overlap
            )
            await self.writer.write(
                tx, [Pending(f"partner-{partner_id}", [rotated], None, meta)]
            )
        public = format_public_key(pair) if pair else None
        return NewEndpoint(endpoint_id, format_secret(secret), public)

    async def disable(
        self, endpoint_id: UUID, reason: str, meta: EventMetadata, of_partner: str | None = None
    ) -> None:
        """Send nothing there any more, and take nothing that its secrets sign, from now on.

        Raises ``NotFoundError`` for an endpoint that is not there, or is disabled already.
        """
        async with self.database.transaction() as tx:
            now = self.clock()
            await self._locked(tx, endpoint_id, of_partner)
            pending = await disable(tx, [endpoint_id], reason, now, meta)
            await tx.execute(statements.EXPIRE_ALL_SECRETS, [endpoint_id], now)
            await self.writer.write(tx, pending)

    async def _locked(self, tx: Transaction, endpoint_id: UUID, of_partner: str | None) -> str:
        partner_id: str | None = await tx.fetchval(statements.LOCK_ENDPOINT, endpoint_id)
        if partner_id is None or of_partner not in (None, partner_id):
            raise NotFoundError("endpoint")
        return partner_id

    async def _keep(self, tx: Transaction, endpoint_id: UUID, kind: str, secret: bytes) -> None:
        ring = self.writer.vault.master
        await keep_secret(tx, ring, endpoint_id, kind, secret, now=self.clock())

    async def _check_known(self, tx: Transaction, address: Address) -> None:
        kind = await tx.fetchval(statements.PARTNER_KIND, address.partner_id)
        if kind is None:
            raise InvalidEndpointError("partner_id", "no such partner in the directory")
        kinds = self.channels[address.channel].kinds
        if kinds is not None and kind not in kinds:
            detail = f"{address.channel} is for partners of kind {', '.join(sorted(kinds))}"
            raise InvalidEndpointError("channel", detail)
        others = await tx.fetchval(statements.OTHER_ENDPOINTS, address.partner_id, address.url)
        if others >= MOST_ENDPOINTS:
            detail = f"the partner has {MOST_ENDPOINTS} addresses: disable one first"
            raise InvalidEndpointError("partner_id", detail)
        services = {
            service_id
            for (service_id,) in await tx.fetch(statements.SERVICES_OF, address.partner_id)
        }
        for number, service_id in enumerate(address.service_ids):
            if service_id not in services:
                raise InvalidEndpointError(
                    f"service_ids.{number}", "no such service of this partner"
                )


def _check_client(client: ClientCertificate | None, now: datetime) -> None:
    if client is None:
        return
    try:
        client_context(client)
        ends = x509.load_pem_x509_certificate(client.certificate).not_valid_after_utc
    except ValueError as error:
        detail = "give a certificate and its private key, without a password, in PEM"
        raise InvalidEndpointError("client_certificate", detail) from error
    if ends <= now:
        raise InvalidEndpointError("client_certificate", "has expired")


async def disable(
    tx: Transaction,
    endpoints: Iterable[UUID],
    reason: str,
    now: datetime,
    meta: EventMetadata = HUB,
) -> list[Pending]:
    """Disable endpoints; what waited takes the next channel, at last a human's.

    Their secrets verify answers for another ``OVERLAP``.
    """
    ids, error = list(endpoints), "endpoint-disabled"
    pending = [
        Pending(
            f"partner-{row['partner_id']}", [EndpointDisabled(**row, reason=reason)], None, meta
        )
        for row in await tx.fetch(statements.DISABLE_ENDPOINTS, ids, reason)
    ]
    await tx.execute(statements.EXPIRE_ALL_SECRETS, ids, now + OVERLAP)
    for row in await tx.fetch(channels.MOVE_ON, ids, now):
        pending.append(_about(row, taken_over(dict(row), error)))
    for row in await tx.fetch(channels.BURY, ids, now):
        pending.append(_about(row, DeliveryDeadLettered(**row, error=error)))
    return pending


def _about(row: Any, event: DeliveryEvent) -> Pending:
    return Pending(f"delivery-{event.delivery_id}", [event], row["person_id"])
