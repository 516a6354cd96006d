"""Access tokens of France Travail (OAuth2, client credentials, RFC 6749 §4.4): one at a time.

Two tokens asked for at once may invalidate each other (rdv-insertion takes a lock), so whoever
needs one while it is being asked for waits for that one, and shares its failure.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from infra.delivery.webhook.sender import Outcome, Sent
from services.partners.adapters.france_travail_http import (
    CallError,
    Http,
    Reply,
    Request,
    for_good,
    for_now,
    header_safe,
    refused,
)

PATH = "/connexion/oauth2/access_token"
MARGIN_SECONDS = 60
"""A token is not used in its last minute: it could run out on its way."""
MAX_LIFE_SECONDS = 86_400
DEFAULT_LIFE_SECONDS = 300
AGENT_SCOPES = (
    "api_rechercher-usagerv2 rechercheusager profil_accedant "
    "api_rendez-vous-partenairev1 gererRDV"
)
OFFER_SCOPES = "api_offresdemploiv2 o2dsoffre"


class Realm(StrEnum):
    """Whom a token speaks for: an application, or an application with a named agent."""

    PARTNER = "/partenaire"
    AGENT = "/agent"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An application as France Travail knows it (francetravail.io → my applications)."""

    auth_url: str
    api_url: str
    client_id: str
    client_secret: str = field(repr=False)

    def scope(self, realm: Realm, scopes: str) -> str:
        """Return the scope to ask for: the partners' realm wants the application's own too."""
        own = f"application_{self.client_id} " if realm is Realm.PARTNER else ""
        return own + scopes


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    good_until: datetime


class Tokens:
    """The tokens of one application in one realm."""

    def __init__(self, http: Http, credentials: Credentials, realm: Realm, scopes: str) -> None:
        self._http = http
        self._credentials = credentials
        self._realm = realm
        self._scopes = scopes
        self._token: _Token | None = None
        self._asking: asyncio.Task[_Token | CallError] | None = None

    async def get(self, refused: str | None = None) -> str:
        """Return a token that is good now, and not the one that was ``refused``.

        Raises ``CallError``.
        """
        kept = self._token
        if kept and kept.value != refused and self._http.clock() < kept.good_until:
            return kept.value
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        # whoever gives up waiting does not take it from the others
        got = await asyncio.shield(self._asking)
        if isinstance(got, CallError):
            raise CallError(got.sent)  # one each: an error that is raised twice grows
        return got.value

    async def call(self, request: Request) -> Reply:
        """Ask with a token; one that is refused is renewed once. Raises ``CallError``."""
        token = await self.get()
        reply = await self._http.call(request.bearing(token))
        if reply.status == 401:
            token = await self.get(refused=token)
            reply = await self._http.call(request.bearing(token))
        return reply

    async def prove(self) -> Sent:
        """Get a new token. Raises ``CallError`` with the reason why there is none."""
        await self.get(refused=self._token.value if self._token else None)
        return Sent(Outcome.OK)

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _asked(self, task: asyncio.Task[_Token | CallError]) -> None:
        self._asking = None
        if not task.cancelled() and isinstance(got := task.result(), _Token):
            self._token = got

    async def _ask(self) -> _Token | CallError:
        """Return a new token, or why there is none: perhaps nobody waits any more."""
        client = self._credentials
        try:
            async with asyncio.timeout(self._http.deadline_seconds):
                asked_at = self._http.clock()
                reply = await self._http.call(
                    Request(
                        "POST",
                        client.auth_url.rstrip("/") + PATH,
                        form={
                            "grant_type": "client_credentials",
                            "client_id": client.client_id,
                            "client_secret": client.client_secret,
                            "scope": client.scope(self._realm, self._scopes),
                        },
                        query={"realm": self._realm.value},
                    )
                )
        except CallError as error:
            return error
        except TimeoutError:
            return for_now("timeout")
        return _token(reply, asked_at) if reply.ok else _refusal(reply, asked_at)


def _token(reply: Reply, asked_at: datetime) -> _Token | CallError:
    fields = reply.object()
    value = header_safe(fields.get("access_token"))
    if value is None:
        return for_now("malformed-token", reply.status)
    # some servers write numbers as texts
    text = str(fields.get("expires_in"))
    seconds = int(text[:9]) if text.isascii() and text.isdigit() else DEFAULT_LIFE_SECONDS
    life = float(min(seconds, MAX_LIFE_SECONDS))
    good = life - min(MARGIN_SECONDS, life / 2)
    return _Token(value, asked_at + timedelta(seconds=good))


def _refusal(reply: Reply, now: datetime) -> CallError:
    """RFC 6749 §5.2: what is wrong with the application stays wrong until somebody mends it."""
    if reply.object().get("error") == "invalid_scope":
        return for_good("scope-refused", reply.status)
    if reply.status in (400, 401, 403):
        return for_good("credentials-refused", reply.status)
    if 300 <= reply.status < 400:
        return for_now(f"http-{reply.status}", reply.status)
    return refused(reply, now)
