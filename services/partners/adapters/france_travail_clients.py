"""Applications of France Travail: one client for each keeps its tokens, pace, connections.

Who sends, who proves credentials and who searches offers share it: France Travail counts calls
by application, and a new token may make the old one useless.
"""

import asyncio
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from infra.base.clock import Clock, system_clock
from infra.delivery.ssrf_guard import Guard
from infra.delivery.webhook.sender import Outcome, Sent
from services.partners.adapters.france_travail import (
    Agent,
    AppointmentStatus,
    Desk,
    FranceTravail,
    OutgoingReferral,
)
from services.partners.adapters.france_travail_http import Http
from services.partners.adapters.france_travail_offers import Found, Offers, OfferSearch
from services.partners.adapters.france_travail_tokens import Credentials

MOST = 20
"""Applications whose clients are kept at the same time."""
SEARCHES = 3
"""Searches of one application at the same time: each waits its turn among what is sent."""


@dataclass(frozen=True, slots=True)
class Application:
    """An application of francetravail.io: its credentials, and who calls with them."""

    credentials: Credentials
    agent: Agent

    def written(self) -> bytes:
        """Return the bytes that are sealed."""
        return orjson.dumps(asdict(self))

    @classmethod
    def read(cls, kept: bytes) -> "Application":
        """Undo ``written``."""
        fields: dict[str, Any] = orjson.loads(kept)
        return cls(Credentials(**fields["credentials"]), Agent(**fields["agent"]))


@dataclass(frozen=True, slots=True)
class OutgoingAppointment:
    """A message of ours as France Travail takes it.

    ``status``: what became of an appointment that it has; none: it is made, or taken away.
    """

    application: Application
    referral: OutgoingReferral
    status: AppointmentStatus | None = None


class TooManySearchesError(Exception):
    """As many searches as may be are under way."""


class _Client:
    """The two realms of one application, over the same connections."""

    def __init__(self, application: Application, desk: Desk | None, http: Http) -> None:
        credentials, agent = application.credentials, application.agent
        self.offers = Offers(credentials, http)
        self.searches = asyncio.Semaphore(SEARCHES)
        self.travail = FranceTravail(credentials, desk, agent, http) if desk else None

    async def close(self) -> None:
        """Close every connection; the next call opens one again."""
        await self.offers.close()
        if self.travail:
            await self.travail.close()


class Clients:
    """A client for each application that is used; ``desk``: none where it is not set."""

    def __init__(self, guard: Guard, desk: Desk | None, clock: Clock = system_clock) -> None:
        self._guard = guard
        self._desk = desk
        self._clock = clock
        self._kept: OrderedDict[Application, _Client] = OrderedDict()

    async def send(self, message: OutgoingAppointment) -> Sent:
        """Send once; never raises for what others do."""
        travail = (await self._client(message.application)).travail
        if travail is None:
            return Sent(Outcome.PERMANENT, "no-desk")
        if message.status is None:
            return await travail.deliver(message.referral)
        return await travail.update(message.referral, message.status)

    async def prove(self, application: Application) -> Sent:
        """Ask for a token with which appointments may be made."""
        travail = (await self._client(application)).travail
        return await travail.prove() if travail else Sent(Outcome.PERMANENT, "no-desk")

    async def prove_offers(self, application: Application) -> Sent:
        """Ask for a token with which offers may be searched."""
        return await (await self._client(application)).offers.prove()

    async def search(self, application: Application, wanted: OfferSearch) -> Found:
        """Search offers. Raises ``TooManySearchesError``, and what ``Offers.search`` does."""
        client = await self._client(application)
        if client.searches.locked():
            raise TooManySearchesError
        async with client.searches:
            return await client.offers.search(wanted)

    async def close(self) -> None:
        """Close every connection; the next call opens one again."""
        for client in list(self._kept.values()):
            await client.close()

    async def _client(self, application: Application) -> _Client:
        while application not in self._kept and len(self._kept) >= MOST:
            _, oldest = self._kept.popitem(last=False)
            await oldest.close()
        if application not in self._kept:
            http = Http(self._guard, clock=self._clock)
            self._kept[application] = _Client(application, self._desk, http)
        self._kept.move_to_end(application)
        return self._kept[application]
