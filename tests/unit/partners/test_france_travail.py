"""Referrals to France Travail, against a simulator as strict as its public clients say."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from infra.delivery.webhook.sender import Outcome, Sent
from services.partners.adapters.france_travail import (
    AppointmentStatus,
    FranceTravail,
)
from tests.support.france_travail import (
    AGENT_HEADERS,
    CANARY,
    NUMBER,
    PHONE,
    STRANGER,
    TWINS,
    FranceTravailSimulator,
    adapter,
    cancellation,
    request,
    status,
)


async def test_person_who_is_known_gets_an_appointment(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    sent = await travail.deliver(request())
    ((identifier, made),) = simulator.appointments.items()
    assert sent == Sent(Outcome.OK, status=201, external_id=identifier)
    assert made == {
        "id": identifier,
        "adresse": "1 place Saint-Martin 59494 Petite-Forêt",
        "date": "2026-12-03T10:30:00+01:00",
        "duree": 30,
        "initiateur": "PARTENAIRE",
        "libelleAdresse": "Espace Emploi et Numérique",
        "modaliteContact": "PHYSIQUE",
        "motif": "ORI",
        "organisme": {"code": "IND", "libelleStructure": "Espace Emploi et Numérique"},
        "statut": "PRIS",
        "telephoneContactUsager": PHONE,
        "theme": "Trouver un emploi",
        "typeReception": "IND",
    }


async def test_every_call_names_the_agent_and_the_person_only_by_number_and_token(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    await travail.deliver(request())
    asked, look_up, made = simulator.calls
    assert asked.query == {"realm": "/agent"}
    assert json.loads(look_up.body) == {"numeroFranceTravail": NUMBER}
    assert made.headers["ft-jeton-usager"].startswith("usager.")
    for call in (look_up, made):
        assert [call.headers[name] for name in AGENT_HEADERS] == [
            "BATCH", "Aiguillage", "Aiguillage",
        ]  # fmt: skip
    for call in simulator.calls:
        assert NUMBER not in call.path
        assert "nir" not in call.path
        assert CANARY not in call.body


async def test_person_who_must_not_be_called_keeps_their_number(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    await travail.deliver(request(do_not_contact=True))
    (made,) = simulator.appointments.values()
    assert "telephoneContactUsager" not in made


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"number": STRANGER}, "person-unknown"),
        ({"number": TWINS}, "person-ambiguous"),
        ({"number": None}, "no-identifier"),
        ({"number": "1234567890"}, "identifier-malformed"),
        ({"number": "269054958815780"}, "identifier-malformed"),
        ({"appointment_at": None}, "no-appointment"),
        ({"message": "referral.reminded"}, "message-not-spoken"),
    ],
)
async def test_what_france_travail_cannot_take_goes_to_the_next_channel(
    simulator: FranceTravailSimulator,
    travail: FranceTravail,
    given: dict[str, Any],
    error: str,
):
    sent = await travail.deliver(request(**given))
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, error)
    assert simulator.appointments == {}


async def test_delivery_repeated_after_a_crash_makes_no_second_appointment(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    first = await travail.deliver(request())
    again = adapter(simulator)
    second = await again.deliver(request())
    await again.close()
    assert second == replace(first, status=409)
    assert len(simulator.appointments) == 1


async def test_refusal_that_says_it_exists_already_is_a_receipt(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    simulator.fail("rendez-vous", status(400, "Ce rendez-vous existe déjà"))
    assert (await travail.deliver(request())).outcome is Outcome.OK


async def test_id_that_they_give_instead_of_ours_is_reported(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    simulator.own_ids = True
    sent = await travail.deliver(request())
    assert [sent.external_id] == list(simulator.appointments)
    await travail.deliver(cancellation(external_id=sent.external_id))
    assert simulator.appointments == {}


async def test_cancelled_referral_takes_its_appointment_away(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    await travail.deliver(request())
    sent = await travail.deliver(cancellation())
    assert (sent.outcome, sent.status) == (Outcome.OK, 204)
    assert simulator.appointments == {}


@pytest.mark.parametrize("code", [404, 410])
async def test_appointment_that_is_gone_needs_no_cancelling(
    simulator: FranceTravailSimulator, travail: FranceTravail, code: int
):
    simulator.fail("rendez-vous", status(code))
    assert (await travail.deliver(cancellation())).outcome is Outcome.OK


async def test_appointment_that_is_closed_needs_no_cancelling(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    simulator.closed = {request().appointment_id}
    sent = await travail.deliver(cancellation())
    assert (sent.outcome, sent.status) == (Outcome.OK, 400)


async def test_cancelling_that_is_refused_is_not_taken_for_done(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    simulator.fail("rendez-vous", status(400, "Annulation impossible : date passée"))
    sent = await travail.deliver(cancellation())
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "http-400")


@pytest.mark.parametrize("outside", ["../../usagers", "a b", "", "é"])
async def test_odd_id_of_theirs_never_gets_into_a_path(outside: str):
    given = cancellation(external_id=outside)
    assert given.appointment_id == request().appointment_id


async def test_appointment_may_be_moved_and_closed(
    simulator: FranceTravailSimulator, travail: FranceTravail
):
    await travail.deliver(request())
    moved = request(appointment_at=datetime(2026, 12, 4, 8, tzinfo=UTC))
    assert (await travail.update(moved, AppointmentStatus.CHANGED)).outcome is Outcome.OK
    (made,) = simulator.appointments.values()
    assert (made["statut"], made["date"]) == ("MODIFIE", "2026-12-04T09:00:00+01:00")
    unknown = request(referral_id=uuid4())
    sent = await travail.update(unknown, AppointmentStatus.MISSED)
    assert (sent.outcome, sent.error) == (Outcome.PERMANENT, "http-404")
