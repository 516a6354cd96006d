"""API keys: random, given once, kept only as digests.

A key is 256 random bits, so a plain SHA-256 is enough: there is nothing to guess.
"""

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import HTTPConnection, Request

from contracts.sources import covers
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.web.problems import Forbidden, Problem, Unauthorized
from infra.web.throttle import Failures

PREFIX = "agk_"
CACHE_SECONDS = 30
CACHE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the key's name, its role, and for municipal systems the sources it may use."""

    name: str
    role: str
    scope: tuple[str, ...] = ()

    @property
    def actor(self) -> str:
        """How this caller is named in events."""
        return f"{self.role}:{self.name}"

    def may_emit(self, source: str) -> bool:
        """Whether the key may speak for a CloudEvents source (``*``, exact, or prefix/*)."""
        return any(covers(allowed, source) for allowed in self.scope)


def digest(key: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).digest()


async def create_key(
    tx: Transaction, name: str, role: str, scope: Sequence[str] = (), key: str | None = None
) -> str:
    """Store a new key (or the one given) under a name; answers it: it is shown only now."""
    key = key or PREFIX + secrets.token_urlsafe(32)
    await tx.execute(
        "INSERT INTO api_keys (digest, name, role, scope) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (name) DO UPDATE "
        "SET digest = $1, role = $3, scope = $4, revoked_at = NULL",
        digest(key), name, role, list(scope),
    )  # fmt: skip
    return key


class Authenticator:
    """Looks keys up in one service's table, remembering them for half a minute."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.failures = Failures()
        self._known: dict[bytes, tuple[float, Principal]] = {}

    async def principal(self, caller: HTTPConnection, *roles: str) -> Principal:
        """The caller of a request, of any role if none is given.

        Raises ``Problem`` 401 and 403, and 429 for one who has sent too many bad keys.
        """
        scheme, _, key = caller.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise _unauthorized("Send Authorization: Bearer KEY")
        address = caller.client.host if caller.client else None
        principal = await self._find(digest(key.strip()), address)
        if principal is None:
            self.failures.failed(address)
            raise _unauthorized("The key is not known, or was revoked")
        if roles and principal.role not in roles:
            raise Forbidden(f"A key of role {principal.role} may not do this")
        return principal

    async def _find(self, wanted: bytes, address: str | None) -> Principal | None:
        expires, principal = self._known.get(wanted, (0.0, None))
        if principal is not None and expires > time.monotonic():
            return principal
        async with self.failures.attempt(address), self._database.reading() as connection:
            row = await connection.fetchrow(
                "SELECT name, role, scope FROM api_keys "
                "WHERE digest = $1 AND revoked_at IS NULL",
                wanted,
            )
        if row is None:
            return None
        name, role, scope = row
        principal = Principal(name, role, tuple(scope))
        if len(self._known) >= CACHE_SIZE:
            self._known.clear()
        self._known[wanted] = (time.monotonic() + CACHE_SECONDS, principal)
        return principal


class RequireRole:
    """FastAPI dependency: the caller, who must have one of these roles."""

    def __init__(self, *roles: str) -> None:
        self.roles = roles

    async def __call__(self, request: Request) -> Principal:
        authenticator: Authenticator = request.app.state.authenticator
        return await authenticator.principal(request, *self.roles)


def _unauthorized(detail: str) -> Problem:
    return Unauthorized(detail, headers={"www-authenticate": "Bearer"})
