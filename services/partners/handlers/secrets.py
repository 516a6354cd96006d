"""Secrets of endpoints, each under a master key: what signs, logs in, or says who we are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.delivery.sftp import Account
from infra.delivery.webhook.sender import ClientCertificate
from infra.delivery.webhook.signature import SigningKey
from infra.keys.key_ring import KeyRing, MasterKeys
from infra.keys.master_key import CannotUnsealError
from infra.keys.rewrap import EncryptedColumn
from infra.postgres.transaction import Transaction
from services.partners.adapters.france_travail_clients import Application
from services.partners.tables import statements

log = structlog.get_logger()
SIGNING = ("v1", "v1a")
"""Kinds of secrets that sign: the shared one, and Ed25519."""


@dataclass(frozen=True, slots=True)
class EndpointSecrets:
    """Secrets of one endpoint: keys that sign, and what its channel was registered with.

    ``settings``: of channels that an installation added, whatever they need.
    """

    keys: list[SigningKey] = field(default_factory=list, repr=False)
    account: Account | None = None
    client: ClientCertificate | None = None
    application: Application | None = None
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    def kept(self) -> Iterable[tuple[str, bytes]]:
        """(kind, bytes) of everything but the shared secret, as it is stored."""
        for key in self.keys:
            if isinstance(key, Ed25519PrivateKey):
                yield "v1a", key.private_bytes_raw()
        if self.client:
            shown = {name: pem.decode() for name, pem in asdict(self.client).items()}
            yield "client-certificate", orjson.dumps(shown)
        if self.account:
            yield "credentials", orjson.dumps(asdict(self.account))
        if self.application:
            yield "application", self.application.written()
        if self.settings:
            yield "settings", orjson.dumps(dict(self.settings))


NO_SECRETS = EndpointSecrets()


def _bound(row: Any) -> bytes:
    secret_id, endpoint_id = row["secret_id"], row["endpoint_id"]
    return bytes(secret_id.bytes + endpoint_id.bytes)


SECRETS = EncryptedColumn("partners", "endpoint_secrets", ("secret_id",), "wrapped", _bound)


class Secrets:
    """Secrets under a master key, each bound to its endpoint."""

    def __init__(self, master: MasterKeys) -> None:
        self._master = master

    @classmethod
    async def of(cls, master: KeyRing, rows: Iterable[Any]) -> "Secrets":
        """Return what opens rows of ``endpoint_secrets``, whatever their epochs are."""
        return cls(await master.keys(row["wrapped"] for row in rows))

    def wrap(self, secret: bytes, secret_id: UUID, endpoint_id: UUID) -> bytes:
        """Return a secret as it is stored."""
        return self._master.wrap(secret, secret_id.bytes + endpoint_id.bytes)

    def open(self, rows: Iterable[Any], kind: str = "v1") -> dict[UUID, list[bytes]]:
        """Return secrets of a kind by endpoint, from rows of ``endpoint_secrets``."""
        opened: dict[UUID, list[bytes]] = {}
        for row in rows:
            if row["kind"] != kind:
                continue
            try:
                secret = self._master.unwrap(row["wrapped"], _bound(row))
            except CannotUnsealError:  # of a copy from before a rotation: others go on
                log.error("secret does not open", endpoint_id=row["endpoint_id"])
                continue
            opened.setdefault(row["endpoint_id"], []).append(secret)
        return opened

    def of_endpoints(self, rows: Sequence[Any]) -> dict[UUID, EndpointSecrets]:
        """Return all that is known of each endpoint, from rows of ``endpoint_secrets``."""
        keys, clients, accounts = self.signing(rows), self.clients(rows), self.accounts(rows)
        applications, settings = self.applications(rows), self.open(rows, "settings")
        return {
            i: EndpointSecrets(
                keys=keys.get(i, []),
                account=accounts.get(i),
                client=clients.get(i),
                application=applications.get(i),
                settings=orjson.loads(settings[i][0]) if i in settings else {},
            )
            for i in {row["endpoint_id"] for row in rows}
        }

    def signing(self, rows: Sequence[Any]) -> dict[UUID, list[SigningKey]]:
        """Return, by endpoint, every key that signs what is sent to it."""
        keys: dict[UUID, list[SigningKey]] = {i: [*k] for i, k in self.open(rows).items()}
        for endpoint_id, seeds in self.open(rows, "v1a").items():
            pairs = map(Ed25519PrivateKey.from_private_bytes, seeds)
            keys.setdefault(endpoint_id, []).extend(pairs)
        return keys

    def clients(self, rows: Iterable[Any]) -> dict[UUID, ClientCertificate]:
        """Return, by endpoint, our certificate for mutual TLS."""
        stored = self.open(rows, "client-certificate")
        pems = {i: orjson.loads(newest) for i, (newest, *_) in stored.items()}
        return {
            i: ClientCertificate(pem["certificate"].encode(), pem["private_key"].encode())
            for i, pem in pems.items()
        }

    def accounts(self, rows: Iterable[Any]) -> dict[UUID, Account]:
        """Return, by endpoint, how to reach its file server."""
        stored = self.open(rows, "credentials")
        return {i: Account(**orjson.loads(newest)) for i, (newest, *_) in stored.items()}

    def applications(self, rows: Iterable[Any]) -> dict[UUID, Application]:
        """Return, by endpoint, our application at France Travail."""
        stored = self.open(rows, "application")
        return {i: Application.read(newest) for i, (newest, *_) in stored.items()}


async def keep_secret(
    tx: Transaction,
    ring: KeyRing,
    endpoint_id: UUID,
    kind: str,
    secret: bytes,
    *,
    now: datetime,
) -> None:
    """Store one secret of an endpoint, wrapped."""
    secret_id = uuid4()
    master = await ring.keys()
    wrapped = Secrets(master).wrap(secret, secret_id, endpoint_id)
    row = secret_id, endpoint_id, kind, wrapped, now
    await tx.execute(statements.INSERT_SECRET, *row)
    master.check()
