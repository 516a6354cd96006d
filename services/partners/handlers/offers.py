"""Offers of employment for advisers: asked of France Travail, and remembered for minutes.

A search names a place and trades. It says nothing of a person, and nothing of it is stored.
"""

from collections import OrderedDict
from datetime import UTC, datetime, timedelta

from contracts.values import Channel
from infra.base.clock import Clock
from infra.keys.key_ring import KeyRing
from infra.postgres.database import Database
from services.partners.adapters.france_travail_clients import Application, Clients
from services.partners.adapters.france_travail_offers import Found, OfferSearch
from services.partners.handlers.secrets import Secrets
from services.partners.tables import appointments, statements

FRESH = timedelta(minutes=5)
REMEMBERED = 20
_Key = tuple[Application, OfferSearch]
_LONG_AGO = datetime.min.replace(tzinfo=UTC), None


class NoCredentialsError(Exception):
    """Nobody registered how France Travail knows us."""


class OfferSearches:
    """Searches; the same one again is answered from memory for some minutes."""

    def __init__(
        self, database: Database, master: KeyRing, clients: Clients, clock: Clock
    ) -> None:
        self._database = database
        self._master = master
        self._clients = clients
        self._clock = clock
        self._known: OrderedDict[_Key, tuple[datetime, Found]] = OrderedDict()

    async def search(self, wanted: OfferSearch) -> Found:
        """Return offers. Raises ``NoCredentialsError``, and what ``Clients.search`` does."""
        key = await self._application(), wanted
        asked_at, known = self._known.get(key, _LONG_AGO)
        if known is not None and self._clock() - asked_at < FRESH:
            return known
        offers = await self._clients.search(*key)
        self._known[key] = self._clock(), offers
        self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return offers

    async def _application(self) -> Application:
        async with self._database.reading() as connection:
            endpoint_id = await connection.fetchval(appointments.OFFERS, Channel.FRANCE_TRAVAIL)
            endpoints = [endpoint_id]
            rows = await connection.fetch(
                statements.SECRETS_OF_ENDPOINTS, endpoints, self._clock()
            )
        applications = (await Secrets.of(self._master, rows)).applications(rows)
        if endpoint_id not in applications:
            raise NoCredentialsError
        return applications[endpoint_id]
