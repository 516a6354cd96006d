"""Bad input to `POST /v1/events`: the exact problem document, and nothing written."""

from base64 import b64encode
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from uuid import UUID, uuid4

import orjson

from contracts.public import PublicContact, PublicFacts, PublicWithdrawal
from contracts.receipts import Receipt
from contracts.tools.examples import envelope as wrap
from infra.eventstore.sealed import unseal
from tests.support.intake import (
    BATCH,
    NIR,
    STRUCTURED,
    Desk,
    contact,
    fault,
    problem,
    with_data,
)

MALFORMED = "not JSON at line 1, column 2"
INVALID = "The request is not valid"
NO_ENVELOPE = "This is not a CloudEvent"
NO_NIR = "A NIR (social security number) is never taken"
NO_COMMUNE = "There is no commune of this INSEE code"
NO_MEDIA = problem(
    "unsupported-media-type", 415, "The content type is not read here",
    detail="send application/cloudevents+json, application/cloudevents-batch+json, "
    "or ce- headers with application/json",
)  # fmt: skip


def invalid(field: str, wrong: str, detail: str | None = None) -> dict[str, Any]:
    more = {"detail": detail} if detail else {}
    return problem("invalid", 422, INVALID, errors=[{"field": field, "detail": wrong}], **more)


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
        invalid("data.person.facts.commune.value", NO_COMMUNE),
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
        contact() | {"subject": "1-85-03-2A-606-123-06"},
        fault("nir-refused", NO_NIR, "subject"),
    ),
    "NIR in an extension": (
        contact() | {"nir": 269054958815780}, fault("nir-refused", NO_NIR, "nir"),
    ),
    "NIR in data that are coded": (
        {k: v for k, v in contact().items() if k != "data"}
        | {"data_base64": b64encode(orjson.dumps({"mode": "phone", "note": NIR})).decode()},
        fault("nir-refused", NO_NIR, "data.note"),
    ),
}  # fmt: skip


async def test_bad_event_gets_its_problem_and_leaves_nothing(intake_desk: Desk, subtests):
    for name, (event, expected) in BAD_EVENTS.items():
        with subtests.test(name):
            answer = await intake_desk.send(event)
            assert answer.json() == expected
            assert answer.status_code == expected["status"]
            assert answer.headers["content-type"] == "application/problem+json"
            assert await intake_desk.all_rows() == []


IDS = ("1769900400000", "r663f7f4fdbd841969920027605aaa043", "269054958815781")


async def test_ids_that_only_look_like_a_nir_are_taken(intake_desk: Desk):
    """Clocks of milliseconds, hexadecimal, and 15 digits without the key of a NIR."""
    for number in IDS:
        receipt = await intake_desk.receipt(contact(person={"ref": number}) | {"id": number})
        assert receipt.id == number


async def test_field_names_of_any_length_and_number_get_a_short_answer(intake_desk: Desk):
    nested: dict[str, Any] = {"note": "x"}
    for _ in range(20):
        nested = {"n" * 3000: nested}
    names = {f"{n:x}": 0 for n in range(20_000)}
    for data in ({"n" * 200_000: NIR}, nested | {"nir": NIR}, nested, names):
        answer = await intake_desk.send(contact() | {"data": {"mode": "phone"} | data})
        assert answer.status_code == 422
        assert len(answer.content) < 16 * 1024
        assert answer.json()["errors"]


BADLY_WRITTEN = {"phone": "le soir", "email": "ines", "france_travail_number": "12",
                 "address": 5}  # fmt: skip
LEFT_OUT = [
    {"field": "data.person.identity.address", "reason": "Input should be a valid string"},
    {"field": "data.person.identity.email",
     "reason": "String should match pattern '^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$'"},
    {"field": "data.person.identity.france_travail_number",
     "reason": "must be 7 digits and a digit or letter, or 11 digits"},
    {"field": "data.person.identity.phone", "reason": "must be a telephone number"},
]  # fmt: skip


async def test_visit_is_not_lost_for_a_badly_written_field_of_identity(intake_desk: Desk):
    identity = {"family_name": "Nowak"} | BADLY_WRITTEN
    event = contact(person={"ref": "u-1", "identity": identity})
    answer = await intake_desk.send(event)
    assert answer.status_code == 202
    left_out = sorted(answer.json()["left_out"], key=lambda left: str(left["field"]))
    assert left_out == LEFT_OUT
    assert (await intake_desk.send(event)).content == answer.content
    assert (await intake_desk.types())[:2] == ["person.registered.v1", "contact.recorded.v1"]
    store = intake_desk.platform.writer("intake").store
    async with intake_desk.service.database.reading() as tx:
        (registered, _) = await store.read(tx, 0, 10)
    clear = await unseal(intake_desk.platform.vault, [registered])
    assert orjson.loads(clear[registered.event_id]) == {"identity": {"family_name": "Nowak"}}


async def test_fact_that_is_the_point_is_refused_where_it_is_badly_written(intake_desk: Desk):
    person = {"ref": "u-1", "identity": {"phone": "le soir"}}
    for event, field in (
        (wrap(PublicFacts.TYPE, {"person": person}, Random()), "data.person.identity.phone"),
        (contact(person={"ref": "u", "identity": {"fone": "1", "phone": "x"}}),
         "data.person.identity.fone"),
        (contact(person={"identity": {"phone": "x"}}), "data.person"),
    ):  # fmt: skip
        answer = await intake_desk.send(event)
        assert answer.status_code == 422
        assert field in [error["field"] for error in answer.json()["errors"]]
    assert await intake_desk.all_rows() == []


async def test_invalid_thematique_is_named_by_its_place(intake_desk: Desk):
    answer = await intake_desk.send(contact(needs=[{"thematique": "trouver-la-lune"}]))
    document = answer.json()
    (error,) = document.pop("errors")
    assert document == problem("invalid", 422, INVALID)
    assert error["field"] == "data.needs.0.thematique"
    assert error["detail"].startswith("Input should be 'choisir-un-metier--")
    assert "lune" not in answer.text
    assert await intake_desk.all_rows() == []


BAD_REQUESTS: dict[str, tuple[bytes, dict[str, str], dict[str, Any]]] = {
    "malformed JSON": (
        b"{", STRUCTURED,
        problem("malformed", 400, "The request cannot be read", detail=MALFORMED),
    ),
    "malformed batch": (
        b"{}", BATCH,
        problem("malformed", 400, "The request cannot be read",
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
        invalid("id", "is missing", NO_ENVELOPE),
    ),
    "NIR in a binary header": (
        b"{}", {"content-type": "application/json", "ce-specversion": "1.0", "ce-id": "1",
                "ce-source": "/s", "ce-type": PublicContact.TYPE,
                "ce-subject": NIR.replace(" ", "%20")},
        fault("nir-refused", NO_NIR, "subject"),
    ),
    "over 256 KiB": (
        b" " * (256 * 1024 + 1), STRUCTURED,
        problem("too-large", 413, "The content is too large",
                detail="A body has at most 262144 bytes here"),
    ),
    "over 500 events": (
        orjson.dumps([{}] * 501), BATCH,
        problem("too-many-events", 413, "There are too many events in the batch",
                detail="A batch has at most 500 events"),
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
        problem("forbidden", 403, "The key may not do this",
                detail="A key of role adviser may not do this"),
    ),
    "a source outside the key's scope": (
        orjson.dumps(contact() | {"source": "https://elsewhere.example"}),
        STRUCTURED | {"authorization": "Bearer narrow-key"},
        fault("source-not-allowed", "The key may not speak for this source", "source", 403),
    ),
}  # fmt: skip


async def test_bad_request_gets_its_problem_and_leaves_nothing(intake_desk: Desk, subtests):
    for name, (body, headers, expected) in BAD_REQUESTS.items():
        with subtests.test(name):
            answer = await intake_desk.send(body, headers)
            assert answer.json() == expected
            assert answer.status_code == expected["status"]
            assert await intake_desk.all_rows() == []


async def test_body_is_not_read_beyond_its_bound(intake_desk: Desk):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 64 * 1024
            yield b" " * 64 * 1024

    answer = await intake_desk.client.post("/v1/events", content=endless(), headers=STRUCTURED)
    assert answer.status_code == 413
    assert sent <= 6 * 64 * 1024


async def test_same_id_with_other_content_is_refused_and_changes_nothing(intake_desk: Desk):
    event = contact()
    await intake_desk.send(event)
    before = await intake_desk.all_rows()
    for other in (
        with_data(event, "data.mode", "phone"),
        with_data(event, "data.person.ref", "u-2"),
        event | {"time": "2020-01-01T00:00:00Z"},
        event | {"type": PublicFacts.TYPE, "data": {"person": {"ref": "u-1"}}},
    ):
        answer = await intake_desk.send(other)
        title = "An event of this source and id came before, with other content"
        assert answer.json() == fault("duplicate-id", title, "id", 409)
    assert await intake_desk.all_rows() == before


async def test_reference_of_another_person_is_refused(intake_desk: Desk):
    first = await intake_desk.receipt(contact(person={"ref": "u-1"}))
    await intake_desk.receipt(contact(person={"ref": "u-2"}))
    before = await intake_desk.all_rows()
    answer = await intake_desk.send(
        contact(person={"ref": "u-2", "person_id": str(first.person_id)})
    )
    assert answer.json() == invalid("data.person.ref", "Another person has this reference")
    assert await intake_desk.all_rows() == before


async def test_bad_event_in_a_batch_stops_no_other(intake_desk: Desk):
    good = [contact(person={"ref": f"u-{n}"}) for n in range(3)]
    clash = with_data(good[0], "data.mode", "phone")
    batch = [good[0], {"id": "1"}, good[1], good[0], clash, contact(note=NIR), good[2]]
    answer = await intake_desk.send(batch, BATCH)
    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [r["status"] for r in results] == [202, 422, 202, 202, 409, 422, 202]
    assert results[0] == results[3]
    assert results[1]["problem"] == invalid("specversion", "is missing", NO_ENVELOPE)
    assert results[5]["problem"] == fault("nir-refused", NO_NIR, "data.note")
    for result, event in zip((results[0], results[2], results[6]), good, strict=True):
        assert Receipt.model_validate(result["receipt"]).id == event["id"]
    assert len(await intake_desk.rows("inbox")) == len(await intake_desk.rows("persons")) == 3
    assert (await intake_desk.send(batch, BATCH)).content == answer.content
