"""`POST /v1/events` on a real PostgreSQL: what is accepted, and what each bad input gets."""

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from uuid import UUID, uuid4

import httpx2
import orjson
import pytest
from httpx2 import ASGITransport, AsyncClient

from contracts.examples import envelope as wrap
from contracts.examples import example
from contracts.intake import (
    PUBLIC_TYPES,
    PublicAgreement,
    PublicContact,
    PublicFacts,
    PublicWithdrawal,
    Receipt,
    case_id_of,
)
from infra.database import driver
from infra.platform import Platform
from infra.settings import Settings
from infra.web.app import Service
from infra.web.auth import create_key
from services.intake.app import build
from tests.support.postgres import Databases

STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
SOURCE = "https://petite-foret.example/systems/front-desk"
NIR = "2 69 05 49 588 157 80"
TABLES = ("events", "inbox", "persons", "person_refs", "refused_records", "dead_letters")
PROBLEMS = "https://aiguillage.fr/problems/"


class Desk:
    """A municipal system that emits to the intake."""

    def __init__(self, client: AsyncClient, service: Service, platform: Platform) -> None:
        self.client = client
        self.service = service
        self.platform = platform

    async def send(self, body: Any, headers: dict[str, str] = STRUCTURED) -> httpx2.Response:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return await self.client.post("/v1/events", content=content, headers=headers)

    async def receipt(self, event: Any) -> Receipt:
        answer = await self.send(event)
        assert answer.status_code == 202, answer.text
        return Receipt.model_validate_json(answer.content)

    async def rows(self, table: str) -> list[str]:
        async with self.service.database.reading() as connection:
            raw = await driver(connection)
            found = await raw.fetch(f"SELECT t::text AS row FROM {table} t ORDER BY 1")
        return [row["row"] for row in found]

    async def types(self) -> list[str]:
        async with self.service.database.reading() as connection:
            raw = await driver(connection)
            rows = await raw.fetch("SELECT type FROM events ORDER BY position")
        return [row["type"].removeprefix("fr.aiguillage.intake.") for row in rows]

    async def all_rows(self) -> list[str]:
        return [row for table in TABLES for row in await self.rows(table)]


@pytest.fixture
async def desk(databases: Databases) -> AsyncIterator[Desk]:
    settings = Settings(data=databases.directory)
    platform = Platform(settings, databases.url, databases.vault_url)
    async with build(platform).running() as service:
        async with service.database.transaction() as tx:
            await create_key(tx, "front-desk", "municipal", ["*"], "desk-key")
            await create_key(tx, "narrow", "municipal", [SOURCE], "narrow-key")
            await create_key(tx, "anne", "adviser", (), "adviser-key")
        transport = ASGITransport(app=service.app)
        headers = {"authorization": "Bearer desk-key"}
        async with AsyncClient(
            transport=transport, base_url="http://intake", headers=headers
        ) as client:
            yield Desk(client, service, platform)
    await platform.close()


def contact(**data: Any) -> dict[str, Any]:
    given = {"mode": "walk-in", "person": {"ref": "u-1"}} | data
    return wrap(PublicContact.TYPE, {k: v for k, v in given.items() if v is not None}, Random())


def with_data(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    event = json.loads(json.dumps(event))
    *parents, last = path.split(".")
    target = event
    for name in parents:
        target = target.setdefault(name, {})
    target[last] = value
    return event


def problem(slug: str, status: int, title: str, **rest: Any) -> dict[str, Any]:
    return {"type": PROBLEMS + slug, "title": title, "status": status, **rest}


def fault(slug: str, title: str, field: str, status: int = 422) -> dict[str, Any]:
    return problem(slug, status, title, errors=[{"field": field, "detail": title}])


# What is accepted


@pytest.mark.parametrize("event_type", sorted(PUBLIC_TYPES))
async def test_an_example_of_every_public_type_is_accepted(desk: Desk, event_type: str):
    event = example(event_type)
    receipt = await desk.receipt(event)
    assert (receipt.id, receipt.source, receipt.type) == (
        event["id"], event["source"], event_type,
    )  # fmt: skip
    assert (await desk.types())[0] == "person.registered.v1"


async def test_contact_tells_everything_in_order_needs_last(desk: Desk):
    thematique = "se-former--trouver-sa-formation"
    event = contact(
        person={"ref": "u-1", "identity": {"family_name": "Benali"},
                "facts": {"commune": {"value": "59459"}}},
        needs=[{"thematique": thematique}, {"thematique": thematique, "urgent": True}],
        information={"notice": "accueil", "version": "2026-01"},
        agreements=[{"partner_kind": "plie", "fields": ["phone"], "until": "2027-01-31"}],
        activities=[{"activity": "workshop", "label": "Atelier CV"}],
    )  # fmt: skip
    receipt = await desk.receipt(event)
    assert await desk.types() == [
        "person.registered.v1", "contact.recorded.v1", "information.given.v1",
        "agreement.given.v1", "facts.stated.v1", "activity.attended.v1",
        "need.expressed.v1", "need.expressed.v1",
    ]  # fmt: skip
    assert [n.case_id for n in receipt.needs] == [case_id_of(n.need_id) for n in receipt.needs]
    assert len({n.need_id for n in receipt.needs}) == 2
    assert len(receipt.agreements) == 1


async def test_binary_mode_is_read_with_its_percent_encoding(desk: Desk):
    headers = {
        "content-type": "application/json", "ce-specversion": "1.0", "ce-id": "caf%C3%A9-1",
        "ce-source": SOURCE, "ce-type": PublicContact.TYPE, "ce-time": "2026-11-23T10:00:00Z",
    }  # fmt: skip
    answer = await desk.send({"mode": "phone"}, headers)
    assert answer.status_code == 202
    assert answer.json()["id"] == "café-1"


async def test_person_is_found_again_by_the_systems_own_reference(desk: Desk):
    first, second = await desk.receipt(contact()), await desk.receipt(contact())
    other = await desk.receipt(contact() | {"source": "https://elsewhere.example"})
    assert first.person_id == second.person_id
    assert other.person_id != first.person_id
    assert (await desk.types()).count("person.registered.v1") == 2


async def test_person_is_found_by_the_id_we_gave(desk: Desk):
    first = await desk.receipt(contact(person=None))
    named = {"person_id": str(first.person_id), "ref": "u-9"}
    again = await desk.receipt(contact(person=named))
    by_ref = await desk.receipt(contact(person={"ref": "u-9"}))
    assert first.person_id == again.person_id == by_ref.person_id


async def test_anonymous_contacts_are_different_persons(desk: Desk):
    persons = {(await desk.receipt(contact(person=None))).person_id for _ in range(3)}
    assert len(persons) == 3


async def test_streams_of_one_person_have_no_gaps(desk: Desk):
    await asyncio.gather(*[desk.receipt(contact(note="x")) for _ in range(30)])
    await desk.receipt(contact())
    async with desk.service.database.reading() as connection:
        raw = await driver(connection)
        rows = await raw.fetch("SELECT stream, version FROM events ORDER BY stream, version")
    assert len({row["stream"] for row in rows}) == 1
    assert [row["version"] for row in rows] == list(range(1, 33))


async def test_trace_and_actor_of_the_caller_are_kept(desk: Desk):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await desk.send(contact(), STRUCTURED | {"traceparent": trace})
    await desk.send(contact() | {"traceparent": trace.replace("7", "8")})
    async with desk.service.database.reading() as connection:
        raw = await driver(connection)
        rows = await raw.fetch("SELECT meta::text FROM events ORDER BY position")
    metas = [json.loads(row["meta"]) for row in rows]
    assert {m["actor"] for m in metas} == {"municipal:front-desk"}
    assert [m["traceparent"] for m in metas] == [trace, trace, trace.replace("7", "8")]


async def test_withdrawal_of_a_given_agreement_is_recorded(desk: Desk):
    given = await desk.receipt(example(PublicAgreement.TYPE))
    (agreement_id,) = given.agreements
    data = {"person": {"person_id": str(given.person_id)}, "agreement_id": str(agreement_id)}
    await desk.receipt(wrap(PublicWithdrawal.TYPE, data, Random()))
    assert (await desk.types())[-1] == "agreement.withdrawn.v1"


async def test_facts_without_a_day_get_the_day_they_were_stated(desk: Desk):
    data = {"person": {"ref": "u-1", "facts": {"mobility": {"value": "none"}}}}
    event = wrap(PublicFacts.TYPE, data, Random()) | {"time": "2026-03-01T23:30:00+01:00"}
    await desk.receipt(event)
    store = desk.platform.writer("intake").store
    async with desk.service.database.reading() as tx:
        events = await store.read(tx, 0, 10)
    clear = await desk.platform.vault.unseal(events)
    assert json.loads(clear[events[-1].event_id]) == {
        "facts": {"mobility": {"value": "none", "source": "declared", "as_of": "2026-03-01"}}
    }


# Repeats


async def test_repeat_gets_the_same_bytes_and_writes_nothing(desk: Desk):
    event = example()
    first = await desk.send(event)
    before = await desk.all_rows()
    again = await desk.send(event)
    reordered = await desk.send(dict(reversed(event.items())))
    assert first.status_code == again.status_code == 202
    assert first.content == again.content == reordered.content
    assert await desk.all_rows() == before


async def test_two_hundred_concurrent_identical_posts_create_one(desk: Desk):
    event = example()
    answers = await asyncio.gather(*[desk.send(event) for _ in range(200)])
    assert {a.status_code for a in answers} == {202}
    assert len({a.content for a in answers}) == 1
    assert (await desk.types()).count("contact.recorded.v1") == 1
    assert len(await desk.rows("inbox")) == 1


async def test_two_processes_that_receive_the_same_create_one(desk: Desk):
    other = build(desk.platform)
    events = [contact(person={"ref": f"u-{n % 7}"}) for n in range(60)]
    async with (
        other.running(),
        AsyncClient(transport=ASGITransport(app=other.app), base_url="http://other",
                    headers=desk.client.headers) as client,
    ):  # fmt: skip
        there = Desk(client, other, desk.platform)
        pairs = [(desk.send(e), there.send(e)) for e in events]
        answers = await asyncio.gather(*[call for pair in pairs for call in pair])
    assert {a.status_code for a in answers} == {202}
    assert len({a.content for a in answers}) == 60
    assert len(await desk.rows("persons")) == 7
    assert (await desk.types()).count("contact.recorded.v1") == 60


# Bad input: the exact problem document, and nothing written


MALFORMED = "not JSON at line 1, column 2"
INVALID = "The content does not fit its schema"
NO_ENVELOPE = "This is not a CloudEvent"
NO_NIR = "A NIR (social security number) is never taken"
NO_COMMUNE = "There is no commune of this INSEE code"
NO_MEDIA = problem(
    "unsupported-media-type", 415, "The content type is not read here",
    detail="send application/cloudevents+json, application/cloudevents-batch+json, "
    "or ce- headers with application/json",
)  # fmt: skip


def invalid(field: str, detail: str, title: str = INVALID) -> dict[str, Any]:
    return problem("invalid", 422, title, errors=[{"field": field, "detail": detail}])


BAD_EVENTS = {
    "unknown type": (
        contact() | {"type": "fr.aiguillage.public.rumour.heard.v1"},
        fault("unknown-type", "Nobody knows this type of event", "type"),
    ),
    "an event of ours": (
        contact() | {"type": "fr.aiguillage.intake.contact.recorded.v1"},
        fault("unknown-type", "Nobody knows this type of event", "type"),
    ),
    "no data": (
        {k: v for k, v in contact().items() if k != "data"},
        invalid("data", "Input should be an object"),
    ),
    "missing field": (
        with_data(contact(), "data", {}),
        invalid("data.mode", "Field required"),
    ),
    "unknown field": (
        contact(nome="x"),
        invalid("data.nome", "Extra inputs are not permitted"),
    ),
    "a yes that is no boolean": (
        contact(do_not_contact="yes"),
        invalid("data.do_not_contact", "Input should be a valid boolean"),
    ),
    "person without a name": (
        contact(person={}),
        invalid(
            "data.person", "give ref (your own id of the person) or person_id (ours)"
        ),
    ),
    "commune that is no code": (
        contact(person={"ref": "u", "facts": {"commune": {"value": "Lille"}}}),
        invalid(
            "data.person.facts.commune.value",
            "String should match pattern '^([0-9]{2}|2[AB])[0-9]{3}$'",
        ),
    ),
    "commune that does not exist": (
        contact(person={"ref": "u", "facts": {"commune": {"value": "59999"}}}),
        fault("invalid", NO_COMMUNE, "data.person.facts.commune.value"),
    ),
    "unknown person": (
        contact(person={"person_id": str(UUID(int=7, version=4))}),
        fault("unknown-person", "No such person", "data.person.person_id"),
    ),
    "agreement never given": (
        wrap(PublicWithdrawal.TYPE,
             {"person": {"ref": "u"}, "agreement_id": str(uuid4())}, Random()),
        fault("unknown-agreement", "The person never gave this agreement",
              "data.agreement_id"),
    ),
    "another version of CloudEvents": (
        contact() | {"specversion": "0.3"},
        invalid("specversion", "must be 1.0", NO_ENVELOPE),
    ),
    "no id": (
        {k: v for k, v in contact().items() if k != "id"},
        invalid("id", "is missing", NO_ENVELOPE),
    ),
    "time that is no time": (
        contact() | {"time": "yesterday"},
        invalid("time", "must be an RFC 3339 date and time with its offset", NO_ENVELOPE),
    ),
    "a list": ([1], invalid("event", "must be a JSON object", NO_ENVELOPE)),
    "NIR in a name": (
        contact(person={"ref": "u", "identity": {"family_name": f"Benali {NIR}"}}),
        fault("nir-refused", NO_NIR, "data.person.identity.family_name"),
    ),
    "NIR as the person's reference": (
        contact(person={"ref": NIR.replace(" ", "")}),
        fault("nir-refused", NO_NIR, "data.person.ref"),
    ),
    "NIR in a note": (
        contact(note=f"sécu {NIR[:-3]}."), fault("nir-refused", NO_NIR, "data.note"),
    ),
    "NIR in an unknown field": (
        contact(foo=[{"bar": NIR}]), fault("nir-refused", NO_NIR, "data.foo.0.bar"),
    ),
    "NIR as a number": (
        contact(foo=2690549588157), fault("nir-refused", NO_NIR, "data.foo"),
    ),
    "NIR as the name of a field": (
        contact(**{NIR: 1}), fault("nir-refused", NO_NIR, "data.*"),
    ),
    "NIR as the id": (
        contact() | {"id": NIR.replace(" ", ".")}, fault("nir-refused", NO_NIR, "id"),
    ),
    "NIR in the source": (
        contact() | {"source": "urn:person:" + NIR.replace(" ", "")},
        fault("nir-refused", NO_NIR, "source"),
    ),
    "NIR as the subject": (
        contact() | {"subject": "1-85-03-2A-606-123-45"},
        fault("nir-refused", NO_NIR, "subject"),
    ),
    "NIR in an extension": (
        contact() | {"nir": 269054958815780}, fault("nir-refused", NO_NIR, "nir"),
    ),
}  # fmt: skip


async def test_bad_event_gets_its_problem_and_leaves_nothing(desk: Desk, subtests):
    for name, (event, expected) in BAD_EVENTS.items():
        with subtests.test(name):
            answer = await desk.send(event)
            assert answer.json() == expected
            assert answer.status_code == expected["status"]
            assert answer.headers["content-type"] == "application/problem+json"
            assert await desk.all_rows() == []


async def test_invalid_thematique_is_named_by_its_place(desk: Desk):
    answer = await desk.send(contact(needs=[{"thematique": "trouver-la-lune"}]))
    document = answer.json()
    (error,) = document.pop("errors")
    assert document == problem("invalid", 422, INVALID)
    assert error["field"] == "data.needs.0.thematique"
    assert error["detail"].startswith("Input should be 'choisir-un-metier--")
    assert "lune" not in answer.text
    assert await desk.all_rows() == []


BAD_REQUESTS: dict[str, tuple[bytes, dict[str, str], dict[str, Any]]] = {
    "malformed JSON": (
        b"{", STRUCTURED,
        problem("malformed", 400, "This is not JSON", detail=MALFORMED),
    ),
    "malformed batch": (
        b"{}", BATCH,
        problem("malformed", 400, "This is not JSON",
                detail="a batch is a JSON array of events"),
    ),
    "plain JSON": (b"{}", {"content-type": "application/json"}, NO_MEDIA),
    "a form": (b"a=1", {"content-type": "application/x-www-form-urlencoded"}, NO_MEDIA),
    "XML": (b"<a/>", {"content-type": "application/cloudevents+xml"}, NO_MEDIA),
    "no content type": (b"{}", {}, NO_MEDIA),
    "Latin-1": (
        b"{}", {"content-type": "application/cloudevents+json; charset=iso-8859-1"},
        problem("unsupported-media-type", 415, "The content type is not read here",
                detail="JSON is UTF-8"),
    ),
    "binary without an id": (
        b"{}", {"content-type": "application/json", "ce-specversion": "1.0"},
        problem("invalid", 422, NO_ENVELOPE,
                errors=[{"field": "id", "detail": "is missing"}]),
    ),
    "NIR in a binary header": (
        b"{}", {"content-type": "application/json", "ce-specversion": "1.0", "ce-id": "1",
                "ce-source": "/s", "ce-type": PublicContact.TYPE,
                "ce-subject": NIR.replace(" ", "%20")},
        fault("nir-refused", NO_NIR, "subject"),
    ),
    "over 256 KiB": (
        b" " * (256 * 1024 + 1), STRUCTURED,
        problem("too-large", 413, "The body is too large",
                detail="A body has at most 262144 bytes"),
    ),
    "over 500 events": (
        orjson.dumps([{}] * 501), BATCH,
        problem("too-many-events", 413, "A batch has at most 500 events"),
    ),
    "wrong key": (
        b"{}", STRUCTURED | {"authorization": "Bearer nonsense"},
        problem("unauthorized", 401, "No valid key",
                detail="The key is not known, or was revoked"),
    ),
    "no key": (
        b"{}", STRUCTURED | {"authorization": ""},
        problem("unauthorized", 401, "No valid key", detail="Send Authorization: Bearer KEY"),
    ),
    "a key of another role": (
        b"{}", STRUCTURED | {"authorization": "Bearer adviser-key"},
        problem("forbidden", 403, "A key of role adviser may not do this"),
    ),
    "a source outside the key's scope": (
        orjson.dumps(contact() | {"source": "https://elsewhere.example"}),
        STRUCTURED | {"authorization": "Bearer narrow-key"},
        fault("source-not-allowed", "The key may not speak for this source", "source", 403),
    ),
}  # fmt: skip


async def test_bad_request_gets_its_problem_and_leaves_nothing(desk: Desk, subtests):
    for name, (body, headers, expected) in BAD_REQUESTS.items():
        with subtests.test(name):
            answer = await desk.send(body, headers)
            assert answer.json() == expected
            assert answer.status_code == expected["status"]
            assert await desk.all_rows() == []


async def test_body_is_not_read_beyond_its_bound(desk: Desk):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 64 * 1024
            yield b" " * 64 * 1024

    answer = await desk.client.post("/v1/events", content=endless(), headers=STRUCTURED)
    assert answer.status_code == 413
    assert sent <= 6 * 64 * 1024


async def test_same_id_with_other_content_is_refused_and_changes_nothing(desk: Desk):
    event = contact()
    await desk.send(event)
    before = await desk.all_rows()
    for other in (
        with_data(event, "data.mode", "phone"),
        with_data(event, "data.person.ref", "u-2"),
        event | {"time": "2020-01-01T00:00:00Z"},
        event | {"type": PublicFacts.TYPE, "data": {"person": {"ref": "u-1"}}},
    ):
        answer = await desk.send(other)
        title = "An event of this source and id came before, with other content"
        assert answer.json() == fault("duplicate-id", title, "id", 409)
    assert await desk.all_rows() == before


async def test_reference_of_another_person_is_refused(desk: Desk):
    first = await desk.receipt(contact(person={"ref": "u-1"}))
    await desk.receipt(contact(person={"ref": "u-2"}))
    before = await desk.all_rows()
    answer = await desk.send(contact(person={"ref": "u-2", "person_id": str(first.person_id)}))
    assert answer.json() == fault(
        "invalid", "Another person has this reference", "data.person.ref"
    )
    assert await desk.all_rows() == before


async def test_bad_event_in_a_batch_stops_no_other(desk: Desk):
    good = [contact(person={"ref": f"u-{n}"}) for n in range(3)]
    clash = with_data(good[0], "data.mode", "phone")
    batch = [good[0], {"id": "1"}, good[1], good[0], clash, contact(note=NIR), good[2]]
    answer = await desk.send(batch, BATCH)
    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [r["status"] for r in results] == [202, 422, 202, 202, 409, 422, 202]
    assert results[0] == results[3]
    assert results[1]["problem"] == invalid("specversion", "is missing", NO_ENVELOPE)
    assert results[5]["problem"] == fault("nir-refused", NO_NIR, "data.note")
    for result, event in zip((results[0], results[2], results[6]), good, strict=True):
        assert Receipt.model_validate(result["receipt"]).id == event["id"]
    assert len(await desk.rows("inbox")) == len(await desk.rows("persons")) == 3
    assert (await desk.send(batch, BATCH)).content == answer.content


async def test_batch_of_five_hundred_is_taken_in_order(desk: Desk):
    batch = [contact(person={"ref": f"u-{n % 50}"}) for n in range(500)]
    results = (await desk.send(batch, BATCH)).json()["results"]
    assert [r["receipt"]["id"] for r in results] == [e["id"] for e in batch]
    assert len(await desk.rows("persons")) == 50
    assert (await desk.types()).count("contact.recorded.v1") == 500


async def test_empty_batch_is_nothing(desk: Desk):
    answer = await desk.send([], BATCH)
    assert (answer.status_code, answer.json()) == (202, {"results": []})


# Erasure, outages, secrecy


async def test_nothing_is_recorded_about_an_erased_person(desk: Desk):
    receipt = await desk.receipt(contact(note="x"))
    vault = desk.platform.vault
    async with vault._database.transaction() as tx:
        raw = await driver(tx)
        await raw.execute(
            "INSERT INTO vault.erasures (person_id) VALUES ($1)", receipt.person_id
        )
        await raw.execute(
            "DELETE FROM vault.person_keys WHERE person_id = $1", receipt.person_id
        )
    vault._cache.clear()
    before = await desk.all_rows()
    sends = [desk.send(contact()), desk.send(contact(person={"ref": "other"}))]
    refused, accepted = await asyncio.gather(*sends)
    assert refused.json() == problem("person-erased", 410, "The person was erased")
    assert accepted.status_code == 202
    assert not [r for r in await desk.all_rows() if r not in before and "u-1" in r]
    assert (await desk.types()).count("contact.recorded.v1") == 2


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
            assert answer.json() == problem(
                "unavailable", 503, "The event could not be stored now"
            )
            assert answer.headers["retry-after"] == "5"
            assert service.stuck() == []
            await _rename(postgres_url, databases.url, absent)
            async with service.database.transaction() as tx:
                await create_key(tx, "front-desk", "municipal", ["*"], "desk-key")
            assert (await down.send(contact())).status_code == 202
    await platform.close()
    await _rename(postgres_url, absent, databases.url)


async def _rename(server: str, old: str, new: str) -> None:
    import asyncpg
    from sqlalchemy.engine import make_url

    connection = await asyncpg.connect(server)
    old_name, new_name = make_url(old).database, make_url(new).database
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", old_name
    )
    await connection.execute(f'ALTER DATABASE "{old_name}" RENAME TO "{new_name}"')
    await connection.close()


async def test_names_and_texts_are_in_no_table_in_clear(desk: Desk, capfd):
    canary = "Zyxwanary"
    person = {
        "ref": f"{canary}-1",
        "identity": {"family_name": canary, "given_name": canary, "phone": "0612345678",
                     "email": f"{canary}@example.org", "address": f"1 rue {canary}",
                     "france_travail_number": "4242424242"},
        "facts": {"project": {"value": canary}},
    }  # fmt: skip
    event = contact(
        person=person,
        note=canary,
        activities=[{"activity": "workshop", "label": canary}],
        needs=[{"thematique": "se-former--trouver-sa-formation", "note": canary}],
    )
    event |= {"id": f"{canary}-2", "source": f"urn:{canary}", "subject": canary, "ext": canary}
    assert (await desk.send(event)).status_code == 202
    assert (await desk.send(event | {"type": canary})).status_code == 422
    assert (await desk.send(with_data(event, f"data.{canary}", canary))).status_code == 422
    assert (await desk.send(with_data(event, "data.note", "other"))).status_code == 409
    dump = "\n".join(await desk.all_rows())
    assert len(dump) > 1000
    for secret in (canary, "0612345678", "4242424242"):
        for text in (dump, *capfd.readouterr()):
            assert secret.lower() not in text.lower()
            assert secret.encode().hex() not in text.lower()


async def test_openapi_describes_the_route_and_resolves(desk: Desk):
    document = (await desk.client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/events"]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "application/cloudevents+json", "application/cloudevents-batch+json",
        "application/json",
    }  # fmt: skip
    schemas = document["components"]["schemas"]
    references = set(_references(document))
    assert references
    assert references <= {f"#/components/schemas/{name}" for name in schemas}
    assert await desk.receipt(example())


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [r for child in node.values() for r in _references(child)]
    return [r for child in node for r in _references(child)] if isinstance(node, list) else []
