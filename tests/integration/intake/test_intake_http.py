"""`POST /v1/events` on a real PostgreSQL: what is accepted, repeated, batched, kept secret."""

import asyncio
import json
from random import Random
from typing import Any

import asyncpg
import pytest
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy.engine import make_url

from contracts.erasure import ErasureReason
from contracts.intake import case_id_of
from contracts.public import (
    PUBLIC_TYPES,
    PublicAgreement,
    PublicContact,
    PublicFacts,
    PublicWithdrawal,
)
from contracts.tools.examples import FRONT_DESK, example
from contracts.tools.examples import envelope as wrap
from infra.base.settings import Settings
from infra.eventstore.sealed import unseal
from infra.platform import Platform
from infra.privacy.erasure_ledger import Erasure
from infra.web.auth import create_key
from services.intake.app import build
from tests.support.intake import BATCH, STRUCTURED, Desk, contact, problem, with_data
from tests.support.postgres import Databases

# What is accepted


@pytest.mark.parametrize("event_type", sorted(PUBLIC_TYPES))
async def test_an_example_of_every_public_type_is_accepted(intake_desk: Desk, event_type: str):
    event = example(event_type)
    receipt = await intake_desk.receipt(event)
    assert (receipt.id, receipt.source, receipt.type) == (
        event["id"], event["source"], event_type,
    )  # fmt: skip
    assert (await intake_desk.types())[0] == "person.registered.v1"


async def test_contact_tells_everything_in_order_needs_last(intake_desk: Desk):
    thematique = "se-former--trouver-sa-formation"
    event = contact(
        person={"ref": "u-1", "identity": {"family_name": "Benali"},
                "facts": {"commune": {"value": "59459"}}},
        needs=[{"thematique": thematique}, {"thematique": thematique, "urgent": True}],
        information={"notice": "accueil", "version": "2026-01"},
        agreements=[{"partner_kind": "plie", "fields": ["phone"], "until": "2027-01-31"}],
        activities=[{"activity": "workshop", "label": "Atelier CV"}],
    )  # fmt: skip
    receipt = await intake_desk.receipt(event)
    assert await intake_desk.types() == [
        "person.registered.v1", "contact.recorded.v1", "information.given.v1",
        "agreement.given.v1", "facts.stated.v1", "activity.attended.v1",
        "need.expressed.v1", "need.expressed.v1",
    ]  # fmt: skip
    assert [n.case_id for n in receipt.needs] == [case_id_of(n.need_id) for n in receipt.needs]
    assert len({n.need_id for n in receipt.needs}) == 2
    assert len(receipt.agreements) == 1


async def test_binary_mode_is_read_with_its_percent_encoding(intake_desk: Desk):
    headers = {
        "content-type": "application/json", "ce-specversion": "1.0", "ce-id": "caf%C3%A9-1",
        "ce-source": FRONT_DESK, "ce-type": PublicContact.TYPE,
        "ce-time": "2026-11-23T10:00:00Z",
    }  # fmt: skip
    answer = await intake_desk.send({"mode": "phone"}, headers)
    assert answer.status_code == 202
    assert answer.json()["id"] == "café-1"


async def test_person_is_found_again_by_the_systems_own_reference(intake_desk: Desk):
    first, second = await intake_desk.receipt(contact()), await intake_desk.receipt(contact())
    other = await intake_desk.receipt(contact() | {"source": "https://elsewhere.example"})
    assert first.person_id == second.person_id
    assert other.person_id != first.person_id
    assert (await intake_desk.types()).count("person.registered.v1") == 2


async def test_person_is_found_by_the_id_we_gave(intake_desk: Desk):
    first = await intake_desk.receipt(contact(person=None))
    named = {"person_id": str(first.person_id), "ref": "u-9"}
    again = await intake_desk.receipt(contact(person=named))
    by_ref = await intake_desk.receipt(contact(person={"ref": "u-9"}))
    assert first.person_id == again.person_id == by_ref.person_id


async def test_anonymous_contacts_are_different_persons(intake_desk: Desk):
    persons = {(await intake_desk.receipt(contact(person=None))).person_id for _ in range(3)}
    assert len(persons) == 3


async def test_streams_of_one_person_have_no_gaps(intake_desk: Desk):
    await asyncio.gather(*[intake_desk.receipt(contact(note="x")) for _ in range(30)])
    await intake_desk.receipt(contact())
    async with intake_desk.service.database.reading() as connection:
        rows = await connection.fetch(
            "SELECT stream, version FROM events ORDER BY stream, version"
        )
    assert len({row["stream"] for row in rows}) == 1
    assert [row["version"] for row in rows] == list(range(1, 33))


async def test_trace_and_actor_of_the_caller_are_kept(intake_desk: Desk):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await intake_desk.send(contact(), STRUCTURED | {"traceparent": trace})
    await intake_desk.send(contact() | {"traceparent": trace.replace("7", "8")})
    async with intake_desk.service.database.reading() as connection:
        rows = await connection.fetch("SELECT meta::text FROM events ORDER BY position")
    metas = [json.loads(row["meta"]) for row in rows]
    assert {m["actor"] for m in metas} == {"municipal:front-desk"}
    assert [m["traceparent"] for m in metas] == [trace, trace, trace.replace("7", "8")]


async def test_withdrawal_of_a_given_agreement_is_recorded(intake_desk: Desk):
    given = await intake_desk.receipt(example(PublicAgreement.TYPE))
    (agreement_id,) = given.agreements
    data = {"person": {"person_id": str(given.person_id)}, "agreement_id": str(agreement_id)}
    await intake_desk.receipt(wrap(PublicWithdrawal.TYPE, data, Random()))
    assert (await intake_desk.types())[-1] == "agreement.withdrawn.v1"


async def test_facts_without_a_day_get_the_day_they_were_stated(intake_desk: Desk):
    data = {"person": {"ref": "u-1", "facts": {"mobility": {"value": "none"}}}}
    event = wrap(PublicFacts.TYPE, data, Random()) | {"time": "2026-03-01T23:30:00+01:00"}
    await intake_desk.receipt(event)
    store = intake_desk.platform.writer("intake").store
    async with intake_desk.service.database.reading() as tx:
        events = await store.read(tx, 0, 10)
    clear = await unseal(intake_desk.platform.vault, events)
    assert json.loads(clear[events[-1].event_id]) == {
        "facts": {"mobility": {"value": "none", "source": "declared", "as_of": "2026-03-01"}}
    }


# Repeats


async def test_repeat_gets_the_same_bytes_and_writes_nothing(intake_desk: Desk):
    event = example()
    first = await intake_desk.send(event)
    before = await intake_desk.all_rows()
    again = await intake_desk.send(event)
    reordered = await intake_desk.send(dict(reversed(event.items())))
    assert first.status_code == again.status_code == 202
    assert first.content == again.content == reordered.content
    assert await intake_desk.all_rows() == before


async def test_two_hundred_concurrent_identical_posts_create_one(intake_desk: Desk):
    event = example()
    answers = await asyncio.gather(*[intake_desk.send(event) for _ in range(200)])
    assert {a.status_code for a in answers} == {202}
    assert len({a.content for a in answers}) == 1
    assert (await intake_desk.types()).count("contact.recorded.v1") == 1
    assert len(await intake_desk.rows("inbox")) == 1


async def test_two_processes_that_receive_the_same_create_one(intake_desk: Desk):
    other = build(intake_desk.platform)
    events = [contact(person={"ref": f"u-{n % 7}"}) for n in range(60)]
    async with (
        other.running(),
        AsyncClient(transport=ASGITransport(app=other.app), base_url="http://other",
                    headers=intake_desk.client.headers) as client,
    ):  # fmt: skip
        there = Desk(client, other, intake_desk.platform)
        pairs = [(intake_desk.send(e), there.send(e)) for e in events]
        answers = await asyncio.gather(*[call for pair in pairs for call in pair])
    assert {a.status_code for a in answers} == {202}
    assert len({a.content for a in answers}) == 60
    assert len(await intake_desk.rows("persons")) == 7
    assert (await intake_desk.types()).count("contact.recorded.v1") == 60


# Batches


async def test_batch_of_five_hundred_is_taken_in_order(intake_desk: Desk):
    batch = [contact(person={"ref": f"u-{n % 50}"}) for n in range(500)]
    results = (await intake_desk.send(batch, BATCH)).json()["results"]
    assert [r["receipt"]["id"] for r in results] == [e["id"] for e in batch]
    assert len(await intake_desk.rows("persons")) == 50
    assert (await intake_desk.types()).count("contact.recorded.v1") == 500


async def test_batches_have_an_address_of_their_own_which_takes_nothing_else(
    intake_desk: Desk,
):
    event = contact()
    path, batch = "/v1/events/batch", [event, {"no": "event"}]
    answer = await intake_desk.client.post(path, content=json.dumps(batch), headers=BATCH)
    first, second = answer.json()["results"]
    assert (answer.status_code, first["status"], second["status"]) == (202, 202, 422)
    assert (await intake_desk.send(event)).json() == first["receipt"]
    single = await intake_desk.client.post(path, content=json.dumps(event), headers=STRUCTURED)
    assert single.json() == problem(
        "unsupported-media-type", 415, "The content type is not read here",
        detail="send application/cloudevents-batch+json",
    )  # fmt: skip


async def test_empty_batch_is_nothing(intake_desk: Desk):
    answer = await intake_desk.send([], BATCH)
    assert (answer.status_code, answer.json()) == (202, {"results": []})


# Erasure, outages, secrecy


async def test_nothing_is_recorded_about_an_erased_person(intake_desk: Desk):
    receipt = await intake_desk.receipt(contact(note="x"))
    now = intake_desk.platform.clock()
    asked = Erasure(receipt.person_id, ErasureReason.ASKED, now)
    await intake_desk.platform.erasures.fence([asked])
    intake_desk.platform.vault.drop([receipt.person_id])
    before = await intake_desk.all_rows()
    sends = [intake_desk.send(contact()), intake_desk.send(contact(person={"ref": "other"}))]
    refused, accepted = await asyncio.gather(*sends)
    assert refused.json() == problem("person-erased", 410, "The person was erased")
    assert accepted.status_code == 202
    assert not [r for r in await intake_desk.all_rows() if r not in before and "u-1" in r]
    assert (await intake_desk.types()).count("contact.recorded.v1") == 2


async def test_intake_starts_without_a_database_and_recovers(
    databases: Databases, postgres_url: str
):
    settings = Settings(data=databases.directory)
    absent = databases.url.replace("test_", "absent_")
    platform = Platform(settings, absent, databases.vault_url)
    service = build(platform)
    async with service.running():
        transport = ASGITransport(app=service.app)
        headers = {"authorization": "Bearer desk-key"}
        async with AsyncClient(
            transport=transport, base_url="http://i", headers=headers
        ) as client:
            down = Desk(client, service, platform)
            answer = await down.send(contact())
            assert answer.json() == problem("unavailable", 503, "Try again in a moment")
            assert answer.headers["retry-after"] == "5"
            assert service.stuck() == []
            await _rename(postgres_url, databases.url, absent)
            async with service.database.transaction() as tx:
                await create_key(tx, "front-desk", "municipal", ["*"], "desk-key")
            assert (await down.send(contact())).status_code == 202
    await platform.close()
    await _rename(postgres_url, absent, databases.url)


async def test_connections_cut_under_load_lose_and_double_nothing(
    intake_desk: Desk, postgres_url: str
):
    events = [contact(person={"ref": f"u-{n % 9}"}) for n in range(150)]

    async def insist(event: dict[str, Any]) -> None:
        async with asyncio.timeout(60):
            while (answer := await intake_desk.send(event)).status_code != 202:
                assert answer.status_code == 503, answer.text
                await asyncio.sleep(0.02)

    sending = asyncio.gather(*[insist(event) for event in events])
    cutter = await asyncpg.connect(postgres_url)
    for _ in range(8):
        await asyncio.sleep(0.03)
        await cutter.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
            make_url(intake_desk.platform.database_url).database,
        )
    await cutter.close()
    await sending
    assert (await intake_desk.types()).count("contact.recorded.v1") == 150
    assert len(await intake_desk.rows("inbox")) == 150
    assert len(await intake_desk.rows("persons")) == 9


async def test_stopping_intake_asks_to_come_back(intake_desk: Desk):
    for worker in intake_desk.service.workers:
        worker.stop()
    answer = await intake_desk.send(contact())
    assert answer.json() == problem("overloaded", 503, "Too much is waiting already")
    assert answer.headers["retry-after"] == "1"


async def _rename(server: str, old: str, new: str) -> None:
    connection = await asyncpg.connect(server)
    old_name, new_name = make_url(old).database, make_url(new).database
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", old_name
    )
    await connection.execute(f'ALTER DATABASE "{old_name}" RENAME TO "{new_name}"')
    await connection.close()


async def test_names_and_texts_are_in_no_table_in_clear(intake_desk: Desk, capfd):
    canary = "Zyxwanary"
    person = {
        "ref": f"{canary}-1",
        "identity": {"family_name": canary, "given_name": canary, "phone": "0612345678",
                     "email": f"{canary}@example.org", "address": f"1 rue {canary}",
                     "france_travail_number": "42424242424"},
        "facts": {"project": {"value": canary}},
    }  # fmt: skip
    event = contact(
        person=person,
        note=canary,
        activities=[{"activity": "workshop", "label": canary}],
        needs=[{"thematique": "se-former--trouver-sa-formation", "note": canary}],
    )
    event |= {"id": f"{canary}-2", "source": f"urn:{canary}", "subject": canary, "ext": canary}
    assert (await intake_desk.send(event)).status_code == 202
    assert (await intake_desk.send(event | {"type": canary})).status_code == 422
    assert (
        await intake_desk.send(with_data(event, f"data.{canary}", canary))
    ).status_code == 422
    assert (await intake_desk.send(with_data(event, "data.note", "other"))).status_code == 409
    dump = "\n".join(await intake_desk.all_rows())
    assert len(dump) > 1000
    for secret in (canary, "0612345678", "4242424242"):
        for text in (dump, *capfd.readouterr()):
            assert secret.lower() not in text.lower()
            assert secret.encode().hex() not in text.lower()


async def test_openapi_describes_the_route_and_resolves(intake_desk: Desk):
    document = (await intake_desk.client.get("/openapi.json")).json()
    one, batch = (document["paths"][p]["post"] for p in ("/v1/events", "/v1/events/batch"))
    assert set(one["requestBody"]["content"]) == {
        "application/cloudevents+json", "application/json",
    }  # fmt: skip
    assert set(batch["requestBody"]["content"]) == {"application/cloudevents-batch+json"}
    schemas = document["components"]["schemas"]
    references = set(_references(document))
    assert references
    assert references <= {f"#/components/schemas/{name}" for name in schemas}
    assert await intake_desk.receipt(example())


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [r for child in node.values() for r in _references(child)]
    return [r for child in node for r in _references(child)] if isinstance(node, list) else []
