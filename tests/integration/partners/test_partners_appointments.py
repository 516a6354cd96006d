"""An appointment that is moved or called off is told by whatever brought the old one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from contracts.referrals import (
    AppointmentAttended,
    AppointmentEvent,
    AppointmentExcused,
    AppointmentSet,
    ReferralRequested,
)
from contracts.values import Author
from tests.support.advisers import AtDesk
from tests.support.mailbox import mailbox
from tests.support.partners import Hub, Sink, call, platform_at, register
from tests.support.postgres import Databases
from tests.support.sftp import PASSWORD, sftp_server

AT = datetime(2027, 1, 11, 9, 30, tzinfo=UTC)
LATER = AT + timedelta(days=1)
CHANGES = """
SELECT message, state FROM deliveries WHERE message LIKE 'appointment.%' ORDER BY seq
"""


async def says(
    hub: Hub,
    referral: ReferralRequested,
    event: type[AppointmentEvent] = AppointmentSet,
    at: datetime = LATER,
    **given: Any,
) -> None:
    about = {"referral_id": referral.referral_id, "case_id": referral.case_id}
    said = event(**about | {"starts_at": at, "author": Author.ADVISER} | given)
    await hub.say(referral.person_id, said)
    await hub.hear()


async def sent(hub: Hub, **given: Any) -> ReferralRequested:
    referral = await hub.refer(appointment_at=AT, **given)
    await hub.hear()
    await hub.turn()
    return referral


async def changes(hub: Hub) -> list[tuple[str, str]]:
    return [(row["message"], row["state"]) for row in await hub.rows(CHANGES)]


async def test_moved_appointment_is_told_by_webhook_and_says_nothing_of_the_person(
    hub: Hub, sink: Sink
):
    endpoint = await register(hub, sink.url)
    referral = await sent(hub)
    await says(hub, referral)
    await hub.turn()
    message = (await sink.wait_for(2))[-1]
    Webhook(endpoint["secret"]).verify(message.body, message.headers)
    body = orjson.loads(message.body)
    assert body["type"] == "appointment.changed"
    assert datetime.fromisoformat(body["data"].pop("appointment_at")) == LATER
    assert body["data"].pop("answer_url").endswith("/v1/answers")
    assert body["data"] == {
        "referral_id": str(referral.referral_id),
        "partner_id": referral.partner_id,
        "service_id": referral.service_id,
    }


async def test_appointment_called_off_is_told_by_webhook(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    referral = await sent(hub)
    await says(hub, referral, AppointmentExcused, AT)
    await hub.turn()
    body = orjson.loads((await sink.wait_for(2))[-1].body)
    assert body["type"] == "appointment.cancelled"
    assert "appointment_at" not in body["data"]


@pytest.mark.parametrize("event", [AppointmentSet, AppointmentExcused])
async def test_what_the_partner_said_itself_is_not_told_back(
    hub: Hub, sink: Sink, event: type[AppointmentEvent]
):
    await register(hub, sink.url)
    referral = await sent(hub)
    await says(hub, referral, event, author=Author.PARTNER)
    await says(hub, referral, event, on_behalf_of=Author.PARTNER)
    assert await changes(hub) == []


async def test_who_came_is_told_to_no_mailbox_or_webhook(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    referral = await sent(hub)
    await says(hub, referral, AppointmentAttended, AT)
    assert await changes(hub) == []


async def test_only_the_last_word_is_told_of_an_appointment_moved_twice(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    referral = await sent(hub)
    await says(hub, referral)
    await says(hub, referral, at=LATER + timedelta(days=1))
    assert await changes(hub) == [
        ("appointment.changed", "cancelled"),
        ("appointment.changed", "pending"),
    ]
    await hub.turn()
    body = orjson.loads((await sink.wait_for(2))[-1].body)
    assert datetime.fromisoformat(body["data"]["appointment_at"]).day == 13


async def test_without_an_address_an_adviser_is_to_call_with_the_new_date(hub: Hub):
    referral = await sent(hub)
    advisers = await AtDesk.of(hub)
    assert (await advisers.handed_over(await advisers.only())).status_code == 200
    await says(hub, referral)
    delivery = await advisers.only()
    page = await advisers.page(delivery)
    assert "Rendez-vous déplacé : prévenir le partenaire" in page
    assert "le 12/01/2027 à 10 h 30" in page
    assert (await hub.events("delivery.manual"))[-1]["message"] == "appointment.changed"
    await says(hub, referral, AppointmentExcused)
    delivery = await advisers.only()
    assert "Rendez-vous annulé" in await advisers.page(delivery)
    assert (await advisers.handed_over(delivery)).status_code == 200
    assert await advisers.waiting() == []


async def test_sheet_not_handed_over_yet_shows_the_new_date_and_no_second_one(hub: Hub):
    referral = await sent(hub)
    await says(hub, referral)
    assert await changes(hub) == []
    advisers = await AtDesk.of(hub)
    assert "le 12/01/2027 à 10 h 30" in await advisers.page(await advisers.only())


async def test_address_that_refuses_the_change_leaves_it_to_an_adviser(hub: Hub, sink: Sink):
    await register(hub, sink.url)
    referral = await sent(hub)
    sink.replies.append(web.Response(status=410))
    await says(hub, referral)
    await hub.turn()
    assert await changes(hub) == [("appointment.changed", "manual")]


async def test_moved_appointment_is_told_by_mail_without_the_person(databases: Databases):
    async with mailbox() as box:
        hub = Hub(platform_at(databases, smtp_url=box.url))
        await hub.prepare()
        await register(hub, "mailto:accueil@partenaire.example", channel="email")
        referral = await sent(hub)
        await says(hub, referral)
        await hub.turn()
        message = box.messages[-1]
        assert message["subject"].startswith("Rendez-vous")
        text = box.text()
        assert f"{referral.referral_id} : le 12/01/2027 à 10 h 30." in text
        await hub.close()
        await hub.platform.close()


async def test_moved_appointment_is_told_by_file(hub: Hub, tmp_path: Path):
    async with sftp_server(tmp_path / "sftp") as server:
        login = {"host_key": server.host_key, "password": PASSWORD}
        await register(hub, server.url, channel="sftp", credentials=login)
        referral = await sent(hub)
        await says(hub, referral)
        await hub.turn()
        texts = [(server.root / name).read_text("utf-8-sig") for name in server.files()]
    (told,) = (text for text in texts if "rendez-vous déplacé" in text)
    assert "12/01/2027 10:30" in told


async def test_partner_that_was_away_finds_the_change_among_its_messages(hub: Hub):
    await register(hub, "http://127.0.0.1:9/x")
    referral = await hub.refer(appointment_at=AT)
    await hub.hear()
    await says(hub, referral)
    path = f"/v1/partners/{referral.partner_id}/keys"
    key = (await call(hub, "POST", path, json={"name": "own"})).json()["key"]
    headers = {"authorization": f"Bearer {key}"}
    page = (await call(hub, "GET", "/v1/partner/messages", headers=headers)).json()
    assert [m["type"] for m in page["messages"]] == [
        "referral.requested",
        "appointment.changed",
    ]
