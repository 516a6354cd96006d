"""Requests become appointments at France Travail, once; what it cannot take goes elsewhere."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from services.partners.handlers.delivery_queue import LEASE
from tests.support.bureau import ROOM, SERVICE, TRAVAIL, Bureau, bureau_of
from tests.support.france_travail import (
    CANARY,
    NUMBER,
    PHONE,
    STRANGER,
    TWINS,
    FranceTravailSimulator,
    status,
)
from tests.support.mailbox import TO, Mailbox, mailbox
from tests.support.partners import Sink, call, register
from tests.support.postgres import Databases

DELIVERIES = "SELECT message, state, attempts, last_error, external_id FROM deliveries"
MADE = {"message": "referral.requested", "state": "succeeded", "attempts": 1}


@pytest.fixture
async def box() -> AsyncIterator[Mailbox]:
    async with mailbox() as box:
        yield box


@pytest.fixture
async def mailing(
    databases: Databases, simulator: FranceTravailSimulator, box: Mailbox
) -> AsyncIterator[Bureau]:
    """France Travail has a mailbox beside its API."""
    async with bureau_of(databases, simulator, smtp_url=box.url) as bureau:
        await bureau.connect()
        await register(
            bureau, f"mailto:{TO}", partner_id=TRAVAIL, service_ids=[], channel="email", rank=1
        )
        yield bureau


async def state(bureau: Bureau) -> dict[str, Any]:
    (found,) = await bureau.rows(DELIVERIES)
    return found


# --- the way of a request -----------------------------------------------------------------


async def test_request_with_an_appointment_is_made_there_and_its_id_is_kept(bureau: Bureau):
    await bureau.connect()
    bureau.travail.calls.clear()
    await bureau.asks()
    await bureau.turn()
    look_up, made = bureau.travail.calls
    assert json.loads(look_up.body) == {"numeroFranceTravail": NUMBER}
    ((identifier, appointment),) = bureau.travail.appointments.items()
    assert (appointment["statut"], appointment["motif"]) == ("PRIS", "ORI")
    assert appointment["date"] == "2026-12-03T10:30:00+01:00"
    assert appointment["theme"] == "Trouver sa formation"
    assert appointment["telephoneContactUsager"] == PHONE
    assert appointment["organisme"] == {
        "code": "IND",
        "emailContact": "accueil@petite-foret.example",
        "idStructure": "59459",
        "libelleStructure": "Espace Emploi et Numérique",
        "telephoneContact": "+33327000000",
    }
    assert CANARY not in made.body
    expected = MADE | {"last_error": None, "external_id": identifier}
    assert await state(bureau) == expected
    (succeeded,) = await bureau.events("delivery.succeeded")
    assert succeeded["attempts"] == 1


async def test_id_of_their_own_is_kept_and_used_for_what_follows(bureau: Bureau):
    await bureau.connect()
    bureau.travail.own_ids = True
    referral = await bureau.made()
    (theirs,) = bureau.travail.appointments
    assert (await state(bureau))["external_id"] == theirs
    await bureau.says(referral)
    await bureau.round()
    assert bureau.travail.appointments[theirs]["statut"] == "MODIFIE"
    await bureau.cancels(referral)
    await bureau.round()
    assert bureau.travail.appointments == {}
    assert bureau.travail.calls[-1].path.endswith(f"/rendez-vous/{theirs}")


async def test_many_requests_ask_for_one_token(bureau: Bureau):
    await bureau.connect()
    for _ in range(3):
        await bureau.asks()
    await bureau.turn()
    assert len(bureau.travail.appointments) == 3
    assert bureau.travail.count("access_token") == 1


async def test_token_that_is_no_good_any_more_is_renewed(bureau: Bureau):
    await bureau.connect()
    await bureau.made()
    bureau.travail.revoke()
    await bureau.asks()
    await bureau.round()
    assert len(bureau.travail.appointments) == 2
    assert bureau.travail.count("access_token") == 2
    rows = await bureau.rows("SELECT outcome FROM delivery_attempts")
    assert [row["outcome"] for row in rows] == ["ok", "ok"]


async def test_nothing_changes_where_no_credentials_are_registered(bureau: Bureau, sink: Sink):
    await register(bureau, sink.url, partner_id=TRAVAIL, service_ids=[SERVICE])
    await bureau.asks()
    await bureau.turn()
    (received,) = sink.received
    assert received.json["data"]["appointment_at"] == "2026-12-03T09:30:00Z"
    assert received.json["data"]["person"]["family_name"] == CANARY
    assert bureau.travail.calls == []


# --- what it cannot take ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"fields": {"france_travail_number": STRANGER}}, "person-unknown"),
        ({"fields": {"france_travail_number": TWINS}}, "person-ambiguous"),
        ({"fields": {"france_travail_number": None}}, "no-identifier"),
        ({"at": None}, "no-appointment"),
    ],
)
async def test_request_that_it_cannot_take_goes_by_mail_and_the_pathway_says_so(
    mailing: Bureau, box: Mailbox, given: dict[str, Any], error: str
):
    await mailing.asks(**given)
    await mailing.turn()
    assert await mailing.moved_on() == [("rest", "email", error)]
    assert mailing.travail.appointments == {}
    await mailing.round()
    assert box.recipients == [TO]
    proposed = "Rendez-vous proposé : le 03/12/2026 à 10 h 30." in box.text()
    assert proposed == ("at" not in given)
    assert CANARY not in box.text()
    (succeeded,) = await mailing.events("delivery.succeeded")
    assert succeeded["attempts"] == 2


async def test_request_that_is_ambiguous_goes_by_webhook_with_its_appointment(
    bureau: Bureau, sink: Sink
):
    await bureau.connect()
    await bureau.beside(sink)
    await bureau.asks(fields={"france_travail_number": TWINS})
    await bureau.turn()
    await bureau.round()
    assert await bureau.moved_on() == [("rest", "webhook", "person-ambiguous")]
    (received,) = sink.received
    assert received.json["data"]["appointment_at"] == "2026-12-03T09:30:00Z"


async def test_request_that_no_other_channel_could_take_is_left_to_an_adviser(bureau: Bureau):
    await bureau.connect()
    await bureau.asks(fields={"france_travail_number": STRANGER})
    await bureau.turn()
    (manual,) = await bureau.events("delivery.manual")
    assert (manual["from_channel"], manual["error"]) == ("rest", "person-unknown")


async def test_credentials_that_are_refused_now_leave_the_request_to_the_next_channel(
    mailing: Bureau, box: Mailbox
):
    mailing.travail.revoke()
    mailing.travail.fail("access_token", status(401, '{"error": "invalid_client"}'))
    await mailing.asks()
    await mailing.turn()
    await mailing.round()
    assert await mailing.moved_on() == [("rest", "email", "credentials-refused")]
    assert len(box.messages) == 1


async def test_what_may_go_better_later_keeps_to_the_schedule(mailing: Bureau, box: Mailbox):
    mailing.travail.fail("rendez-vous", status(503, CANARY, **{"Retry-After": "60"}))
    await mailing.asks()
    await mailing.turn()
    rows = await mailing.rows("SELECT state, last_error, next_attempt_at FROM deliveries")
    assert rows == [
        {
            "state": "pending",
            "last_error": "http-503",
            "next_attempt_at": mailing.now + timedelta(seconds=60),
        }
    ]
    await mailing.round(59)
    assert mailing.did() == ["POST"]
    await mailing.round(2)
    assert len(mailing.travail.appointments) == 1
    assert box.messages == []


async def test_agreement_that_ended_lets_nothing_leave(bureau: Bureau):
    await bureau.connect()
    await bureau.asks(agreed_until=bureau.now.date())
    bureau.now += timedelta(days=2)
    await bureau.turn()
    (dead,) = await bureau.events("delivery.dead-lettered")
    assert dead["error"] == "agreement-expired"
    assert bureau.travail.count("usagers") == 0


# --- crashes, repeats, hanging ------------------------------------------------------------


async def test_crash_between_send_and_record_leaves_one_appointment(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.asks()
    (job,) = await bureau.worker._queue.record_and_claim([], ROOM)
    sent = await bureau.worker._sender.send(job.message)
    assert sent.outcome == "ok"  # and then the process dies
    assert (await state(bureau))["state"] == "pending"
    bureau.now += LEASE + timedelta(seconds=1)
    await bureau.turn()
    assert bureau.did() == ["POST", "POST"]
    (identifier,) = bureau.travail.appointments
    expected = MADE | {"attempts": 2, "last_error": None, "external_id": identifier}
    assert await state(bureau) == expected
    await bureau.cancels(referral)
    await bureau.round()
    assert bureau.travail.appointments == {}


@pytest.mark.parametrize("own_ids", [False, True])
async def test_request_sent_again_by_hand_makes_no_second_appointment(
    bureau: Bureau, own_ids: bool
):
    await bureau.connect()
    bureau.travail.own_ids = own_ids
    await bureau.made()
    (row,) = await bureau.rows("SELECT delivery_id FROM deliveries")
    path = f"/v1/deliveries/{row['delivery_id']}/redeliver"
    answer = await call(bureau, "POST", path, json={"reason": "à refaire"})
    assert answer.status_code in (200, 201, 202), answer.text
    await bureau.round()
    assert bureau.did() == ["POST", "PUT"]
    assert len(bureau.travail.appointments) == 1
    assert (await state(bureau))["state"] == "succeeded"


async def test_hung_france_travail_harms_no_other_partner(bureau: Bureau, sink: Sink):
    await bureau.connect()
    await register(bureau, sink.url)
    bureau.travail.revoke()
    bureau.travail.token_delay = 60
    for _ in range(8):
        await bureau.asks()
    async with bureau.service.running():
        async with asyncio.timeout(10):  # France Travail would hold a send for longer
            while not bureau.worker._sending:
                await asyncio.sleep(0.01)
            assert len(bureau.worker._sending) <= 4
            for _ in range(20):
                await bureau.refer()
            await sink.wait_for(20)
        assert bureau.travail.appointments == {}


async def test_service_stops_in_order_while_they_hang(bureau: Bureau):
    await bureau.connect()
    bureau.travail.revoke()
    bureau.travail.token_delay = 60
    await bureau.asks()
    bureau.worker._drain_seconds = 0.1
    async with asyncio.timeout(15), bureau.service.running():
        while not bureau.worker._sending:
            await asyncio.sleep(0.01)
    assert bureau.worker._sending == {}


# --- nothing in clear ---------------------------------------------------------------------


async def test_nothing_of_the_person_stays_in_clear_whatever_they_answer(
    mailing: Bureau, capfd: pytest.CaptureFixture[str]
):
    said = f"{CANARY} {NUMBER} {PHONE}"
    for where in ("access_token", "usagers", "rendez-vous"):
        mailing.travail.revoke()
        mailing.travail.fail(where, status(400, said))
        await mailing.asks()
        await mailing.round()
    tables = "deliveries", "delivery_attempts", "events", "referral_states", "endpoints"
    for table in tables:
        for row in await mailing.rows(f"SELECT t::text FROM {table} t"):
            assert not any(word in row["t"] for word in (CANARY, NUMBER, PHONE[1:]))
    out, err = capfd.readouterr()
    assert "delivery failed" in out + err
    assert not any(word in out + err for word in (CANARY, NUMBER, PHONE))
