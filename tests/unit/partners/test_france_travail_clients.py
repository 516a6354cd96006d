"""One client for each application: shared, bounded, closed, and what is sealed of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from infra.delivery.webhook.sender import Outcome
from services.partners.adapters.france_travail import Agent, AppointmentStatus
from services.partners.adapters.france_travail_clients import (
    MOST,
    SEARCHES,
    Application,
    Clients,
    OutgoingAppointment,
    TooManySearchesError,
)
from services.partners.adapters.france_travail_offers import OfferSearch
from tests.support.france_travail import (
    AT,
    DESK,
    OPEN,
    SECRET,
    FranceTravailSimulator,
    cancellation,
    credentials,
    offer,
    request,
    status,
)

NEARBY = OfferSearch("59459")


def application(simulator: FranceTravailSimulator, **given: Any) -> Application:
    return Application(credentials(simulator, **given), Agent())


@pytest.fixture
async def clients(simulator: FranceTravailSimulator) -> AsyncIterator[Clients]:
    made = Clients(OPEN, DESK, simulator.clock)
    yield made
    await made.close()


async def test_each_message_takes_its_call(simulator: FranceTravailSimulator, clients: Clients):
    known = application(simulator)
    for message, happened in [
        (OutgoingAppointment(known, request()), "POST"),
        (OutgoingAppointment(known, request(), AppointmentStatus.MISSED), "PUT"),
        (OutgoingAppointment(known, cancellation()), "DELETE"),
    ]:
        assert (await clients.send(message)).outcome is Outcome.OK
        assert simulator.calls[-1].method == happened


async def test_clients_of_one_application_share_tokens_and_others_do_not(
    simulator: FranceTravailSimulator, clients: Clients
):
    known = application(simulator)
    for referral in (request(), request(appointment_at=AT.replace(hour=11))):
        await clients.send(OutgoingAppointment(application(simulator), referral))
    assert simulator.count("access_token") == 1
    other = replace(known, agent=Agent("A1", "Durand", "Anne"))
    await clients.send(OutgoingAppointment(other, request()))
    assert simulator.count("access_token") == 2


async def test_closed_clients_may_be_used_again(
    simulator: FranceTravailSimulator, clients: Clients
):
    message = OutgoingAppointment(application(simulator), request())
    await clients.send(message)
    await clients.close()
    assert (await clients.send(message)).outcome is Outcome.OK
    assert simulator.count("access_token") == 1


async def test_no_more_clients_are_kept_than_may_be(
    simulator: FranceTravailSimulator, clients: Clients
):
    for number in range(MOST + 5):
        known = application(simulator, client_secret=f"wrong-{number}")
        await clients.prove(known)
    assert len(clients._kept) == MOST
    await clients.prove(application(simulator, client_secret=f"wrong-{MOST + 4}"))
    assert len(clients._kept) == MOST


async def test_without_a_desk_nothing_is_made_and_offers_are_searched(
    simulator: FranceTravailSimulator,
):
    clients = Clients(OPEN, None, simulator.clock)
    known, simulator.offers = application(simulator), [offer(1)]
    sent = await clients.send(OutgoingAppointment(known, request()))
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "no-desk")
    assert (await clients.prove(known)).error == "no-desk"
    assert (await clients.prove_offers(known)).outcome is Outcome.OK
    assert (await clients.search(known, NEARBY)).total == 1
    await clients.close()


@pytest.mark.parametrize("realm", ["prove", "prove_offers"])
async def test_proof_is_a_new_token_and_a_refusal_says_why(
    simulator: FranceTravailSimulator, clients: Clients, realm: str
):
    known, prove = application(simulator), getattr(clients, realm)
    for _ in range(2):
        assert (await prove(known)).outcome is Outcome.OK
    assert simulator.count("access_token") == 2
    simulator.fail("access_token", status(401))
    sent = await prove(known)
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "credentials-refused")


async def test_searches_at_once_are_bounded_and_none_waits_for_ever(
    simulator: FranceTravailSimulator, clients: Clients
):
    known, simulator.token_delay = application(simulator), 0.1
    found = await asyncio.gather(
        *(clients.search(known, NEARBY) for _ in range(SEARCHES + 2)), return_exceptions=True
    )
    refused = [one for one in found if isinstance(one, TooManySearchesError)]
    assert len(refused) == 2
    assert (await clients.search(known, NEARBY)).total == 0


def test_application_is_sealed_whole_and_never_shown() -> None:
    known = Application(_credentials(), Agent("A1", "Durand", "Anne"))
    assert Application.read(known.written()) == known
    assert SECRET not in repr(known)


def _credentials() -> Any:
    return credentials(FranceTravailSimulator(url="https://api.example"))
