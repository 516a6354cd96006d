"""Offers of employment, against the simulator."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from services.partners.adapters.france_travail_http import CallError, Http
from services.partners.adapters.france_travail_offers import Found, Offers, OfferSearch
from tests.support.france_travail import (
    CANARY,
    OPEN,
    Answer,
    FranceTravailSimulator,
    credentials,
    france_travail_simulator,
    http,
    offer,
    status,
)


@pytest.fixture
async def simulator() -> AsyncIterator[FranceTravailSimulator]:
    async with france_travail_simulator() as simulator:
        yield simulator


@pytest.fixture
async def offers(simulator: FranceTravailSimulator) -> AsyncIterator[Offers]:
    made = Offers(credentials(simulator), http(simulator), search_seconds=4)
    yield made
    await made.close()


async def test_offers_near_a_commune_are_read(
    simulator: FranceTravailSimulator, offers: Offers
):
    simulator.offers = [offer(1), offer(2, romeCode="K2204")]
    found = await offers.search(OfferSearch("59459", 20, ["M1602"]))
    assert (found.total, found.complete, len(found.offers)) == (1, True, 1)
    (read,) = found.offers
    assert (read.id, read.rome, read.commune) == ("0000001", "M1602", "59459")
    assert (read.employer, read.contract, read.positions) == ("Mairie", "CDD - 6 Mois", 1)
    assert read.created_at == datetime(2026, 11, 20, 14, 1, 33, tzinfo=UTC)
    asked = simulator.calls[-1]
    assert asked.query == {
        "commune": "59459", "distance": "20", "codeROME": "M1602", "range": "0-149",
    }  # fmt: skip
    assert simulator.calls[0].query == {"realm": "/partenaire"}


async def test_no_offers_are_an_empty_answer(offers: Offers):
    assert await offers.search(OfferSearch("59459")) == Found((), 0, True)


@pytest.mark.parametrize(
    ("there", "pages", "got", "complete"),
    [(150, 3, 150, True), (151, 3, 151, True), (353, 3, 353, True), (700, 3, 450, False)],
)
async def test_pages_are_followed_up_to_a_stated_number(
    simulator: FranceTravailSimulator,
    offers: Offers,
    there: int,
    pages: int,
    got: int,
    complete: bool,
):
    simulator.offers = [offer(n) for n in range(there)]
    found = await offers.search(OfferSearch("59459", max_pages=pages))
    assert (len(found.offers), found.total, found.complete) == (got, there, complete)


async def test_search_never_asks_beyond_the_last_offer_that_can_be_had(
    simulator: FranceTravailSimulator, offers: Offers
):
    simulator.offers = [{"id": str(n), "intitule": "x"} for n in range(4000)]
    simulator.per_second = 100
    found = await offers.search(OfferSearch("59459", max_pages=99))
    assert (len(found.offers), found.total, found.complete) == (3150, 4000, False)
    assert simulator.calls[-1].query["range"] == "3000-3149"


async def test_too_many_calls_are_waited_out(simulator: FranceTravailSimulator, offers: Offers):
    simulator.offers = [offer(1)]
    simulator.fail("offres/search", status(429, **{"Retry-After": "0"}), times=2)
    assert len((await offers.search(OfferSearch("59459"))).offers) == 1


async def test_long_search_keeps_to_the_pace_that_they_allow(simulator: FranceTravailSimulator):
    simulator.offers = [{"id": str(n), "intitule": "x"} for n in range(1650)]
    connections = Http(OPEN, clock=simulator.clock)
    offers = Offers(credentials(simulator), connections)
    started = asyncio.get_running_loop().time()
    found = await offers.search(OfferSearch("59459", max_pages=11))
    await offers.close()
    assert (len(found.offers), found.complete) == (1650, True)
    assert asyncio.get_running_loop().time() - started > 1


@pytest.mark.parametrize(
    ("answer", "error", "wait"),
    [
        (status(429, **{"Retry-After": "60"}), "http-429", 60),
        (status(429, **{"Retry-After": "0"}), "http-429", 0),
        (status(500, CANARY), "http-500", None),
        (status(200, CANARY), "malformed-answer", None),
        (status(200, "[1]"), "malformed-answer", None),
        (status(400, CANARY), "http-400", None),
    ],
)
async def test_search_that_fails_says_which_class(
    simulator: FranceTravailSimulator,
    offers: Offers,
    answer: Answer,
    error: str,
    wait: float | None,
):
    simulator.fail("offres/search", answer, times=9)
    with pytest.raises(CallError) as failed:
        await offers.search(OfferSearch("59459"))
    assert (failed.value.sent.error, failed.value.sent.retry_after) == (error, wait)
    assert simulator.count("offres/search") <= 4


async def test_search_that_takes_too_long_is_given_up(simulator: FranceTravailSimulator):
    simulator.token_delay = 5
    offers = Offers(credentials(simulator), http(simulator), search_seconds=0.2)
    with pytest.raises(CallError, match="timeout"):
        await offers.search(OfferSearch("59459"))
    await offers.close()


async def test_odd_offers_are_read_as_far_as_they_go(
    simulator: FranceTravailSimulator, offers: Offers
):
    simulator.offers = [
        {"id": "1", "intitule": "  Maçon \n", "new": {}, "entreprise": None},
        offer(2, dateCreation="hier", nombrePostes="3", lieuTravail=[], origineOffre="x"),
        offer(3, origineOffre={"urlOrigine": "javascript:alert(1)"}),
        {"id": "4"}, {"intitule": "x"}, "text", None,
    ]  # fmt: skip
    first, second, third = (await offers.search(OfferSearch("59459"))).offers
    assert (first.title, first.employer, first.url) == ("Maçon", None, None)
    assert (second.created_at, second.positions, second.place, second.url) == (None,) * 4
    assert third.url is None


@pytest.mark.parametrize(
    "wrong",
    [
        OfferSearch("59 459"), OfferSearch("Petite-Forêt"), OfferSearch("59459", -1),
        OfferSearch("59459", 10, ["M1602&x=1"]), OfferSearch("59459", max_pages=0),
    ],
)  # fmt: skip
async def test_what_is_no_search_is_refused(
    simulator: FranceTravailSimulator, offers: Offers, wrong: OfferSearch
):
    with pytest.raises(ValueError, match=r"give|kilometres"):
        await offers.search(wrong)
    assert simulator.calls == []
