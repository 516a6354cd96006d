"""Answers, headers, tokens and networks: what each comes to."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from infra.delivery.ssrf_guard import Guard
from infra.delivery.webhook.sender import Outcome
from services.partners.adapters.france_travail import (
    Agent,
    FranceTravail,
    LookUp,
)
from services.partners.adapters.france_travail_http import MAX_BODY, Http, Pace
from services.partners.adapters.france_travail_tokens import OFFER_SCOPES, Realm, Tokens
from tests.support.france_travail import (
    AGENT_HEADERS,
    CANARY,
    NUMBER,
    SECRET,
    Answer,
    FranceTravailSimulator,
    adapter,
    credentials,
    http,
    request,
    status,
)


@pytest.fixture
async def connections(simulator: FranceTravailSimulator) -> AsyncIterator[Http]:
    made = http(simulator)
    yield made
    await made.close()


def said(code: int, answer: str) -> Answer:
    return lambda: web.json_response({"codeRetour": answer, "nom": CANARY}, status=code)


async def test_person_found_comes_with_a_token_that_is_never_shown(travail: FranceTravail):
    person = await travail.look_up(NUMBER)
    assert (person.answer, person.certified) == (LookUp.FOUND, True)
    assert person.token is not None
    assert person.token not in repr(person)


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        (said(403, "R001"), Outcome.PERMANENT, "not-authorised"),
        (said(400, "R997"), Outcome.PERMANENT, "request-refused"),
        (said(500, "R998"), Outcome.RETRY, "service-failing"),
        (said(503, "R999"), Outcome.RETRY, "service-unavailable"),
        (said(200, "S009"), Outcome.RETRY, "malformed-answer"),
        (said(200, "S001"), Outcome.RETRY, "malformed-answer"),
        (status(200, "<!doctype html>"), Outcome.RETRY, "malformed-answer"),
        (status(404), Outcome.PERMANENT, "person-unknown"),
        (status(500, CANARY), Outcome.RETRY, "http-500"),
        (status(502, CANARY), Outcome.RETRY, "http-502"),
        (status(418, CANARY), Outcome.PERMANENT, "http-418"),
        (status(302, Location="/authentification"), Outcome.PERMANENT, "headers-missing"),
        (status(307, Location="/elsewhere"), Outcome.RETRY, "http-307"),
        (status(200, "x" * (MAX_BODY + 1)), Outcome.RETRY, "answer-too-long"),
    ],
)
async def test_each_answer_to_a_look_up_has_its_class(
    simulator: FranceTravailSimulator,
    travail: FranceTravail,
    answer: Answer,
    outcome: Outcome,
    error: str,
):
    simulator.fail("rechercher-usager", answer)
    sent = await travail.deliver(request())
    assert (sent.outcome, sent.error) == (outcome, error)
    assert CANARY not in repr(sent)
    assert simulator.count("rendez-vous") == 0


async def test_person_token_that_would_break_a_header_is_refused(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    broken = {"codeRetour": "S001", "jetonUsager": "a\r\nx-injected: 1"}
    simulator.fail("rechercher-usager", lambda: web.json_response(broken))
    assert (await travail.deliver(request())).error == "malformed-answer"


@pytest.mark.parametrize(("code", "asked", "wait"), [(429, "30", 30), (503, "999999", 36_000)])
async def test_wait_that_they_ask_for_is_reported_within_reason(
    simulator: FranceTravailSimulator, travail: FranceTravail, code: int, asked: str, wait: int
):
    simulator.fail("rendez-vous", status(code, **{"Retry-After": asked}))
    sent = await travail.deliver(request())
    assert (sent.outcome, sent.error, sent.retry_after) == (
        Outcome.RETRY, f"http-{code}", wait,
    )  # fmt: skip


@pytest.mark.parametrize("code", [500, 503])
async def test_failure_at_the_appointment_is_tried_again(
    simulator: FranceTravailSimulator, travail: FranceTravail, code: int
):
    simulator.fail("rendez-vous", status(code, CANARY))
    assert (await travail.deliver(request())).outcome is Outcome.RETRY
    assert (await travail.deliver(request())).outcome is Outcome.OK


async def test_agent_without_a_name_is_not_built():
    with pytest.raises(ValueError, match="both names"):
        Agent("BATCH", "", "Aiguillage").headers()
    assert Agent("BATCH", "Élodie\r\nx: 1", "Ève").headers()["pa-nom-agent"] == "Elodie x: 1"


async def test_simulator_redirects_whoever_leaves_the_headers_out(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    travail._agent = {"pa-identifiant-agent": "BATCH"}
    assert (await travail.deliver(request())).error == "headers-missing"
    travail._agent = dict.fromkeys(AGENT_HEADERS, " ")
    assert (await travail.deliver(request())).error == "token-refused"


async def test_token_is_asked_for_once_and_renewed_a_minute_before_its_end(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    await travail.look_up(NUMBER)
    simulator.later(simulator.token_seconds - 61)
    await travail.look_up(NUMBER)
    assert simulator.count("access_token") == 1
    simulator.later(2)
    await travail.look_up(NUMBER)
    assert simulator.count("access_token") == 2


async def test_short_token_is_used_for_half_its_life(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    simulator.token_seconds = 40
    await travail.look_up(NUMBER)
    simulator.later(19)
    await travail.look_up(NUMBER)
    assert simulator.count("access_token") == 1


async def test_fifty_who_need_a_token_at_once_ask_for_one(
    simulator: FranceTravailSimulator, connections: Http
):
    simulator.token_delay = 0.05
    tokens = Tokens(connections, credentials(simulator), Realm.PARTNER, OFFER_SCOPES)
    got = await asyncio.gather(*(tokens.get() for _ in range(50)))
    assert len(set(got)) == 1
    assert simulator.count("access_token") == 1
    renewed = await asyncio.gather(*(tokens.get(refused=got[0]) for _ in range(50)))
    assert set(renewed).isdisjoint(got)
    assert simulator.count("access_token") == 2


async def test_fifty_whose_token_fails_hear_of_one_failure(
    simulator: FranceTravailSimulator, connections: Http
):
    simulator.token_delay = 0.05
    known = credentials(simulator, client_secret="wrong")
    tokens = Tokens(connections, known, Realm.PARTNER, OFFER_SCOPES)
    got = await asyncio.gather(*(tokens.get() for _ in range(50)), return_exceptions=True)
    assert {str(error) for error in got} == {"credentials-refused"}
    assert simulator.count("access_token") == 1


async def test_who_gives_up_waiting_does_not_take_the_token_from_others(
    simulator: FranceTravailSimulator, connections: Http
):
    simulator.token_delay = 0.2
    tokens = Tokens(connections, credentials(simulator), Realm.PARTNER, OFFER_SCOPES)
    impatient, patient = (asyncio.create_task(tokens.get()) for _ in range(2))
    await asyncio.sleep(0.05)
    impatient.cancel()
    assert await patient
    assert simulator.count("access_token") == 1


async def test_token_that_is_refused_is_renewed_once(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    await travail.look_up(NUMBER)
    simulator.revoke()
    assert (await travail.deliver(request())).outcome is Outcome.OK
    assert simulator.count("access_token") == 2
    simulator.fail("rechercher-usager", status(401), times=5)
    sent = await travail.deliver(request())
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "token-refused")
    assert simulator.count("access_token") == 3


@pytest.mark.parametrize("code", [400, 401])
async def test_bad_credentials_are_final(simulator: FranceTravailSimulator, code: int):
    simulator.bad_client_status = code
    travail = adapter(simulator, client_secret="wrong")
    sent = await travail.deliver(request())
    await travail.close()
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "credentials-refused")
    assert simulator.count("usagers") == 0


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        (status(503, **{"Retry-After": "7"}), Outcome.RETRY, "http-503"),
        (status(302, Location="/maintenance"), Outcome.RETRY, "http-302"),
        (status(200, "{}"), Outcome.RETRY, "malformed-token"),
        (status(200, '{"access_token": "a b"}'), Outcome.RETRY, "malformed-token"),
        (status(400, '{"error": "invalid_scope"}'), Outcome.PERMANENT, "scope-refused"),
    ],
)
async def test_each_answer_of_the_token_server_has_its_class(
    simulator: FranceTravailSimulator,
    travail: FranceTravail,
    answer: Answer,
    outcome: Outcome,
    error: str,
):
    simulator.fail("access_token", answer)
    sent = await travail.deliver(request())
    assert (sent.outcome, sent.error) == (outcome, error)
    assert (await travail.deliver(request())).outcome is Outcome.OK


async def test_secret_is_never_shown(simulator: FranceTravailSimulator):
    assert SECRET not in repr(credentials(simulator))
    assert CANARY not in repr(request())


async def test_server_that_says_nothing_is_given_up_at_the_deadline(
    simulator: FranceTravailSimulator,
):
    simulator.token_delay = 5
    travail = adapter(simulator, seconds=0.3)
    async with asyncio.timeout(3):
        sent = await travail.deliver(request())
    await travail.close()
    assert (sent.outcome, sent.error) == (Outcome.RETRY, "timeout")


async def test_server_that_is_away_is_tried_again(simulator: FranceTravailSimulator):
    travail = adapter(simulator, auth_url="http://127.0.0.1:9")
    sent = await travail.deliver(request())
    await travail.close()
    assert (sent.outcome, sent.error) == (Outcome.RETRY, "connect")


async def test_address_that_leads_inside_is_not_dialled(simulator: FranceTravailSimulator):
    travail = adapter(simulator, guard=Guard())
    sent = await travail.deliver(request())
    await travail.close()
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "blocked-target")
    assert simulator.calls == []


async def test_no_more_calls_leave_in_a_second_than_are_allowed(
    monkeypatch: pytest.MonkeyPatch,
):
    moment, starts, pace = 0.0, [], Pace(5, window_seconds=1)

    async def sleep(seconds: float) -> None:
        nonlocal moment
        moment += seconds

    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: moment)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    for _ in range(16):
        await pace.turn()
        starts.append(moment)
    assert starts == sorted([0.0, 1.0, 2.0] * 5 + [3.0])
