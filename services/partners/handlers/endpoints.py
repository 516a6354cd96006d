"""Addresses that partners give us, and the secrets that sign in both directions."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncssh
import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.base import Event
from contracts.partners import (
    DeliveryDeadLettered,
    DeliveryEvent,
    EndpointDisabled,
    EndpointRegistered,
    SecretRotated,
)
from contracts.values import Channel, PartnerKind
from infra.base.clock import Clock
from infra.base.missing import NotFoundError
from infra.delivery.mail import MAILBOX
from infra.delivery.sftp import Account
from infra.delivery.ssrf_guard import Guard, UnsafeUrlError, split_url
from infra.delivery.webhook.sender import ClientCertificate, client_context
from infra.delivery.webhook.signature import (
    format_public_key,
    format_secret,
    new_private_key,
    new_secret,
)
from infra.eventstore.events import EventMetadata
from infra.eventstore.store import ConcurrencyError
from infra.eventstore.writer import Pending, Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.partners.adapters.france_travail_clients import Application
from services.partners.handlers.applications import (
    InvalidEndpointError,
    check_application,
    check_bases,
)
from services.partners.handlers.secrets import keep_secret
from services.partners.model.delivery import taken_over
from services.partners.tables import channels, statements

OVERLAP = timedelta(hours=24)
"""How long the secret of a replaced endpoint still verifies answers."""
MOST_OVERLAP = timedelta(days=7)
MOST_SECRETS = 5
"""Of one endpoint at a time: each signs every message, and is tried on every answer."""
MOST_ENDPOINTS = 100
"""Of one partner: every answer is tried with the secrets of all of them."""
SIGNING = ["v1", "v1a"]
ALL_KINDS = [*SIGNING, "credentials", "client-certificate", "application"]
HUB = EventMetadata()
ATTEMPTS = 5
APPOINTMENTS_AT_ONCE = 4
"""Each is up to three calls, of the ten in a second that France Travail allows."""
MAILTO = "mailto:"


@dataclass(frozen=True, slots=True)
class Address:
    """Where and how a partner takes messages; no services: all that it has.

    ``rank``: the lowest is tried first. ``ordering``: ``pathway`` keeps what concerns one
    person in order. ``per_minute`` and ``concurrency``: what the partner's system can stand.
    """

    partner_id: str
    service_ids: list[str]
    url: str
    channel: Channel = Channel.WEBHOOK
    rank: int = 0
    ordering: str = "none"
    per_minute: int | None = None
    concurrency: int | None = None
    batch_minutes: int | None = None
    asymmetric: bool = False
    account: Account | None = None
    client: ClientCertificate | None = None
    application: Application | None = None

    def by_api(self) -> "Address":
        """As ``rest`` needs it: what concerns one person stays in order, few at once."""
        at_once = self.concurrency or APPOINTMENTS_AT_ONCE
        return replace(self, ordering="pathway", concurrency=at_once)


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint just registered, with its secret: the only time that it is shown."""

    endpoint_id: UUID
    secret: str = field(repr=False)
    public_key: str | None = None


class TooManySecretsError(Exception):
    """So many old secrets still count that no other is made beside them."""


@dataclass(frozen=True)
class Endpoints:
    """Registers endpoints, renews their secrets, and disables them."""

    database: Database
    writer: Writer
    guard: Guard
    clock: Clock
    mails: bool = False
    appoints: bool = False

    async def register(self, address: Address, meta: EventMetadata) -> NewEndpoint:
        """A new endpoint; one of the same partner at the same URL is replaced by it.

        Raises ``InvalidEndpointError`` for an unknown partner or service, and for a URL that we
        do not deliver to.
        """
        check_application(address.channel, address.application, self.appoints)
        await self._check_url(address)
        if address.batch_minutes and address.channel is not Channel.SFTP:
            raise InvalidEndpointError("batch_minutes", "goes with the channel sftp only")
        _check_client(address.client, self.clock())
        for _ in range(ATTEMPTS):
            try:
                return await self._register(address, meta)
            except ConcurrencyError:
                continue
        raise TimeoutError("others keep changing the partner")

    async def _check_url(self, address: Address) -> None:
        if address.channel is Channel.EMAIL and not self.mails:
            raise InvalidEndpointError("channel", "no mail server is set (smtp_url)")
        if address.channel is Channel.EMAIL:
            mailbox = address.url.removeprefix(MAILTO)
            if mailbox == address.url or not MAILBOX.fullmatch(mailbox):
                raise InvalidEndpointError("url", "give mailto: and one mailbox")
            return
        try:
            if address.channel is Channel.SFTP:
                await self._check_files(address)
            elif address.application:
                await check_bases(address.url, address.application, self.guard)
            else:
                await self.guard.check(address.url)
        except UnsafeUrlError as error:
            raise InvalidEndpointError("url", str(error)) from error

    async def _check_files(self, address: Address) -> None:
        parts = split_url(address.url)
        if parts.scheme != "sftp" or not parts.hostname or not parts.username or parts.password:
            raise InvalidEndpointError("url", "give sftp://user@host:port/directory")
        if address.account is None:
            raise InvalidEndpointError("credentials", "say how to log in, and the host key")
        try:
            asyncssh.import_public_key(address.account.host_key)
        except asyncssh.KeyImportError as error:
            raise InvalidEndpointError("credentials.host_key", "is no public key") from error
        try:
            if address.account.private_key:
                asyncssh.import_private_key(address.account.private_key)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            detail = "give a private key without a password, as OpenSSH writes it"
            raise InvalidEndpointError("credentials.private_key", detail) from error
        await self.guard.check_host(parts.hostname, parts.port or 22)

    async def _register(self, address: Address, meta: EventMetadata) -> NewEndpoint:
        endpoint_id, secret = uuid4(), new_secret()
        pair = new_private_key() if address.asymmetric else None
        async with self.database.transaction() as tx:
            await _check_known(tx, address)
            await self._store(tx, endpoint_id, address, secret)
            for kind, kept in _kept(address, pair):
                await self._keep(tx, endpoint_id, kind, kept)
            old = await self._supersede(tx, endpoint_id, address)
            events: list[Event] = [
                EndpointDisabled(
                    endpoint_id=i, partner_id=address.partner_id, reason="superseded"
                )
                for i in old
            ]
            events.append(_registered(endpoint_id, address))
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
        """A new secret of each kind that signs: the shared one, and the Ed25519 key where there
        is one. Until ``overlap`` has passed, messages are signed with the old ones as well, and
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
            await tx.execute(statements.EXPIRE_SECRETS, [endpoint_id], now, ALL_KINDS)
            await self.writer.write(tx, pending)

    async def _locked(self, tx: Transaction, endpoint_id: UUID, of_partner: str | None) -> str:
        partner_id: str | None = await tx.fetchval(statements.LOCK_ENDPOINT, endpoint_id)
        if partner_id is None or of_partner not in (None, partner_id):
            raise NotFoundError("endpoint")
        return partner_id

    async def _keep(self, tx: Transaction, endpoint_id: UUID, kind: str, secret: bytes) -> None:
        ring = self.writer.vault.master
        await keep_secret(tx, ring, endpoint_id, kind, secret, self.clock())

    async def _store(
        self, tx: Transaction, endpoint_id: UUID, address: Address, secret: bytes
    ) -> None:
        now = self.clock()
        # these have to show that they want our messages before they get the first real one
        proves = address.channel in (Channel.WEBHOOK, Channel.REST)
        verified = None if proves else now
        await tx.execute(
            statements.INSERT_ENDPOINT, endpoint_id, address.partner_id, address.service_ids,
            address.url, address.channel, address.rank, address.ordering, address.per_minute,
            address.concurrency, address.batch_minutes, verified, now,
        )  # fmt: skip
        await self._keep(tx, endpoint_id, "v1", secret)

    async def _supersede(
        self, tx: Transaction, endpoint_id: UUID, address: Address
    ) -> list[UUID]:
        rows = await tx.fetch(
            statements.SUPERSEDE_ENDPOINTS, address.partner_id, address.url, endpoint_id
        )
        old = [row["endpoint_id"] for row in rows]
        if old:
            until = self.clock() + OVERLAP
            await tx.execute(statements.EXPIRE_SECRETS, old, until, ALL_KINDS)
            await tx.execute(statements.MOVE_DELIVERIES, old, endpoint_id)
        return old


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


def _kept(address: Address, pair: Ed25519PrivateKey | None) -> Iterable[tuple[str, bytes]]:
    """(kind, bytes) of what is kept besides the shared secret."""
    if pair:
        yield "v1a", pair.private_bytes_raw()
    if address.client:
        shown = {name: pem.decode() for name, pem in asdict(address.client).items()}
        yield "client-certificate", orjson.dumps(shown)
    if address.account:
        yield "credentials", orjson.dumps(asdict(address.account))
    if address.application:
        yield "application", address.application.written()


def _registered(endpoint_id: UUID, address: Address) -> EndpointRegistered:
    return EndpointRegistered(
        endpoint_id=endpoint_id,
        partner_id=address.partner_id,
        service_ids=address.service_ids,
        channel=address.channel,
        rank=address.rank,
    )


async def _check_known(tx: Transaction, address: Address) -> None:
    kind = await tx.fetchval(statements.PARTNER_KIND, address.partner_id)
    if kind is None:
        raise InvalidEndpointError("partner_id", "no such partner in the directory")
    if address.channel is Channel.REST and kind != PartnerKind.FRANCE_TRAVAIL:
        raise InvalidEndpointError("channel", "rest is for partners of kind france-travail")
    if await tx.fetchval(statements.OTHER_ENDPOINTS, address.partner_id, address.url) >= (
        MOST_ENDPOINTS
    ):
        detail = f"the partner has {MOST_ENDPOINTS} addresses: disable one first"
        raise InvalidEndpointError("partner_id", detail)
    rows = await tx.fetch(statements.SERVICES_OF, address.partner_id)
    known = {row["service_id"] for row in rows}
    for number, service_id in enumerate(address.service_ids):
        if service_id not in known:
            raise InvalidEndpointError(
                f"service_ids.{number}", "no such service of this partner"
            )


async def disable(
    tx: Transaction,
    endpoints: Iterable[UUID],
    reason: str,
    now: datetime,
    meta: EventMetadata = HUB,
) -> list[Pending]:
    """Nothing more goes there; what waited takes the next channel, at last a human's.

    Their secrets verify answers for another ``OVERLAP``.
    """
    ids, error = list(endpoints), "endpoint-disabled"
    pending = [
        Pending(
            f"partner-{row['partner_id']}", [EndpointDisabled(**row, reason=reason)], None, meta
        )
        for row in await tx.fetch(statements.DISABLE_ENDPOINTS, ids, reason)
    ]
    await tx.execute(statements.EXPIRE_SECRETS, ids, now + OVERLAP, ALL_KINDS)
    for row in await tx.fetch(channels.MOVE_ON, ids, now):
        pending.append(_about(row, taken_over(dict(row), error)))
    for row in await tx.fetch(channels.BURY, ids, now):
        pending.append(_about(row, DeliveryDeadLettered(**row, error=error)))
    return pending


def _about(row: Any, event: DeliveryEvent) -> Pending:
    return Pending(f"delivery-{event.delivery_id}", [event], row["person_id"])
