"""Days and moments that cannot be are refused at the intake's every door, and written nowhere.

Structured, batch, binary, Kafka, what an adviser puts right: one value, one field.
"""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import orjson
import pytest

from contracts.days import local_day
from contracts.public import PublicContact, PublicFacts
from contracts.requesters import Requesters
from contracts.tools.examples import envelope as wrap
from infra.messaging.sources.base import ForeignRecord
from services.intake.handlers.arrivals import Intake
from services.intake.handlers.inbound import InboundValidator
from services.intake.handlers.reactions import PublicRecords
from tests.support.intake import BATCH, STRUCTURED, Desk, contact, with_data

SOON = datetime.now(UTC) + timedelta(days=2)
TIMES = [
    "0001-01-01T00:00:00Z",  # what some systems write for "never set"
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-12:00",
    "1970-01-01T00:00:00Z",
    "1999-12-31T22:59:59Z",
    "2026-11-29T23:59:60Z",  # no leap second there
    "2026-11-30T10:00Z",
    "1796040000",
    SOON.isoformat(timespec="seconds"),
]
TOMORROW = str(local_day(SOON - timedelta(days=1)))
BIRTHS = [
    TOMORROW,
    "2027-03-01",
    "0002-01-01",
    "1899-12-31",
    "631152000",
    631152000,
    "20060517",
]
UNTIL = ["9999-12-31", "0001-01-01", str(local_day(SOON + timedelta(days=12 * 366))), 20000]
AGREEMENT = {"partner_kind": "plie", "fields": ["family_name"], "evidence": "oral"}


def impossible() -> list[tuple[dict[str, Any], str]]:
    """Events with one value that cannot be, and the field that holds it."""
    said: list[tuple[dict[str, Any], str]] = [
        (contact() | {"time": time}, "time") for time in TIMES
    ]
    facts = "data.person.facts"
    for born in BIRTHS:
        person = {"ref": "u-1", "facts": {"birth_date": {"value": born}}}
        said.append((contact(person=person), f"{facts}.birth_date.value"))
        event = wrap(PublicFacts.TYPE, {"person": person}, Random())
        said.append((event, f"{facts}.birth_date.value"))
    for until in UNTIL:
        event = contact(agreements=[AGREEMENT | {"until": until}])
        said.append((event, "data.agreements.0.until"))
    said.append((contact(site="Marie.Durand-0612345678"), "data.site"))
    for name, other in (("notice", "version"), ("version", "notice")):
        given = {name: "Marie.Durand-0612345678", other: "accueil"}
        said.append((contact(information=given), f"data.information.{name}"))
    said.append((contact(note="a\0b"), "data.note"))
    said.append((with_data(contact(), "data.person.ref", "a\0b"), "data.person.ref"))
    return said


async def test_http_refuses_it_and_names_the_field(intake_desk: Desk) -> None:
    before = await intake_desk.all_rows()
    for event, field in impossible():
        answer = await intake_desk.send(event)
        assert answer.status_code == 422, (event, answer.text)
        problem = answer.json()
        assert problem["errors"][0]["field"] == field
        assert str(event.get("time")) not in answer.text
    assert await intake_desk.all_rows() == before


async def test_one_that_cannot_be_stops_no_other_of_its_batch(intake_desk: Desk) -> None:
    bad = impossible()
    good = contact(person={"ref": "good"})
    answer = await intake_desk.send([*(event for event, _ in bad), good], BATCH)
    results = answer.json()["results"]
    assert [r["status"] for r in results] == [422] * len(bad) + [202]
    assert [r["problem"]["errors"][0]["field"] for r in results[:-1]] == [f for _, f in bad]


async def test_headers_refuse_it_too(intake_desk: Desk) -> None:
    for time in TIMES:
        event = contact() | {"time": time}
        headers = {f"ce-{n}": event[n] for n in ("specversion", "id", "source", "type", "time")}
        body = orjson.dumps(event["data"])
        answer = await intake_desk.send(body, headers | {"content-type": "application/json"})
        assert answer.status_code == 422, time
        assert answer.json()["errors"][0]["field"] == "time"


async def test_kafka_keeps_it_back_with_the_field(intake_desk: Desk) -> None:
    platform, service = intake_desk.platform, intake_desk.service
    gate = InboundValidator(platform.vault.index, Requesters(), platform.clock)
    intake = Intake(service.database, platform.writer("intake"), platform.clock)
    records = PublicRecords(gate, intake, platform.vault.master, platform.clock)
    bad, kind = impossible(), (("content-type", STRUCTURED["content-type"].encode()),)
    events = [event for event, _ in bad] + [contact(person={"ref": "good"})]
    given = [
        ForeignRecord("public", 0, offset, orjson.dumps(event), kind)
        for offset, event in enumerate(events)
    ]
    async with service.database.transaction() as tx:
        await records.handle(given, tx)
    async with service.database.reading() as connection:
        rows = await connection.fetch('SELECT fields FROM refused_records ORDER BY "offset"')
    assert [row["fields"][0] for row in rows] == [field for _, field in bad]
    assert "contact.recorded.v1" in await intake_desk.types()


async def test_leap_second_is_taken_as_the_end_of_its_day(intake_desk: Desk) -> None:
    event = contact() | {"time": "2016-12-31T23:59:60Z"}
    assert (await intake_desk.send(event)).status_code == 202
    async with intake_desk.service.database.reading() as connection:
        (row,) = await connection.fetch(
            "SELECT occurred_at FROM events WHERE type LIKE '%contact.recorded%'"
        )
    assert row["occurred_at"] == datetime(2016, 12, 31, 23, 59, 59, 999999, UTC)


@pytest.mark.parametrize("born", BIRTHS)
async def test_adviser_cannot_put_right_what_cannot_be(intake_desk: Desk, born: Any) -> None:
    receipt = await intake_desk.receipt(contact())
    body = {"facts": {"birth_date": {"value": born}}}
    answer = await intake_desk.client.post(
        f"/v1/persons/{receipt.person_id}/rectification", json=body,
        headers={"authorization": "Bearer adviser-key"},
    )  # fmt: skip
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == "facts.birth_date.value"


async def test_facts_of_contact_at_the_edge_are_taken(intake_desk: Desk) -> None:
    edge = (SOON - timedelta(days=1, minutes=1)).isoformat(timespec="seconds")
    today = str(local_day(datetime.now(UTC)))
    person = {"ref": "edge", "facts": {"birth_date": {"value": today}}}
    event = contact(person=person, site="annexe-nord-2") | {"time": edge}
    assert event["type"] == PublicContact.TYPE
    assert (await intake_desk.send(event)).status_code == 202
