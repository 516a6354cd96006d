"""Offers of employment near a commune, for advisers."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import StringConstraints

from infra.delivery.webhook.sender import Outcome
from infra.web.auth import Principal, RequireRole
from infra.web.problems import raises
from services.partners.adapters.france_travail_clients import TooManySearchesError
from services.partners.adapters.france_travail_http import CallError
from services.partners.adapters.france_travail_offers import OfferSearch
from services.partners.handlers.offers import NoCredentialsError, OfferSearches
from services.partners.problems import (
    FranceTravailAway,
    FranceTravailRefuses,
    NoCredentials,
    TooManySearches,
)
from services.partners.routes.models import JobOffers

Adviser = Annotated[Principal, Depends(RequireRole("adviser"))]
Commune = Annotated[str, Query(pattern=r"^(?:[0-9]{2}|2[AB])[0-9]{3}$")]
Trade = Annotated[str, StringConstraints(pattern=r"^[A-N][0-9]{4}$")]
WAIT_SECONDS = 5


def offers_router(searches: OfferSearches) -> APIRouter:
    """Return the route."""
    routes = APIRouter(prefix="/v1", tags=["offers"])

    @routes.get("/offers")
    @raises(FranceTravailAway, FranceTravailRefuses, NoCredentials, TooManySearches)
    async def list_offers(
        adviser: Adviser,
        commune: Commune,
        kilometres: Annotated[int, Query(ge=0, le=200)] = 10,
        rome: Annotated[tuple[Trade, ...], Query(max_length=10)] = (),
    ) -> JobOffers:
        """France Travail's offers around a commune (INSEE code), of some trades (ROME) or all.

        At most 450; ``total`` says how many there are.
        """
        wanted = OfferSearch(commune, kilometres, tuple(sorted(set(rome))))
        try:
            return JobOffers(**asdict(await searches.search(wanted)))
        except NoCredentialsError as error:
            raise NoCredentials from error
        except TooManySearchesError as error:
            raise TooManySearches(headers={"retry-after": str(WAIT_SECONDS)}) from error
        except CallError as error:
            # a class of errors and no other word of theirs
            sent = error.sent
            if sent.outcome is Outcome.PERMANENT:
                raise FranceTravailRefuses(sent.error) from error
            wait = WAIT_SECONDS if sent.retry_after is None else round(sent.retry_after)
            later = {"retry-after": str(wait)}
            if sent.status == 429:
                raise TooManySearches(headers=later) from error
            raise FranceTravailAway(sent.error, headers=later) from error

    return routes
