"""Who may speak of a person: whoever brought them or was told of them, nobody by an id."""

from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.public import PublicAgreement, PublicContact, PublicFacts, PublicWithdrawal
from contracts.tools.examples import FRONT_DESK
from contracts.tools.examples import envelope as wrap
from tests.support.intake import STRUCTURED, Desk, contact, fault
from tests.support.platform import client

LIBRARY = "https://library.example/desk"
UNKNOWN = fault("unknown-person", "No such person", "data.person.person_id")
AGREEMENT = {"partner_kind": "plie", "fields": ["phone"], "until": "2027-12-31"}


def says(person: dict[str, Any], kind: str = PublicContact.TYPE, **data: Any) -> dict[str, Any]:
    """What the library says of a person."""
    mode = {"mode": "phone"} if kind == PublicContact.TYPE else {}
    return wrap(kind, {"person": person} | mode | data, Random(), LIBRARY)


async def brought(desk: Desk) -> UUID:
    """A person whom the front desk brought."""
    return (await desk.receipt(contact())).person_id


async def advise(desk: Desk, path: str, body: dict[str, Any]) -> int:
    async with await client(desk.service, "adviser") as http:
        return (await http.post(path, json=body)).status_code


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (PublicContact.TYPE, {}),
        (PublicFacts.TYPE, {}),
        (PublicAgreement.TYPE, {"agreement": AGREEMENT}),
        (PublicWithdrawal.TYPE, {}),
    ],
)
async def test_system_that_only_knows_an_id_can_say_nothing(
    intake_desk: Desk, kind: str, data: dict[str, Any]
):
    person = await brought(intake_desk)
    before = await intake_desk.all_rows()
    for named in ({"person_id": str(person)}, {"person_id": str(person), "ref": "l-1"}):
        answer = await intake_desk.send(says(named, kind, **data))
        assert (answer.status_code, answer.json()) == (422, UNKNOWN)
    nobody = await intake_desk.send(says({"person_id": str(uuid4())}, kind, **data))
    assert nobody.json() == UNKNOWN  # the same: an id tells nothing
    assert await intake_desk.all_rows() == before


async def test_system_that_brought_somebody_speaks_of_them_however_it_is_spelt(
    intake_desk: Desk,
):
    visitor = await intake_desk.receipt(contact(person=None))
    named = contact(person={"person_id": str(visitor.person_id)})
    spelt = FRONT_DESK.replace("https://", "HTTPS://").replace("/systems", ":443/x/../systems")
    assert spelt != FRONT_DESK
    again = await intake_desk.receipt(named | {"source": spelt})
    assert again.person_id == visitor.person_id
    repeated = await intake_desk.receipt(named)
    assert repeated.contact_id == again.contact_id  # one event: the same source and id


async def test_merge_lets_both_systems_speak_of_the_person(intake_desk: Desk):
    first = await brought(intake_desk)
    second = (await intake_desk.receipt(says({"ref": "l-1"}))).person_id
    assert await advise(intake_desk, f"/v1/persons/{second}/merge", {"into": str(first)}) == 200
    answer = await intake_desk.receipt(says({"person_id": str(first)}))
    assert answer.person_id == first
    assert await advise(intake_desk, f"/v1/persons/{second}/unmerge", {}) == 200
    answer = await intake_desk.send(says({"person_id": str(first)}))
    assert answer.json() == UNKNOWN


async def test_adviser_shares_a_person_with_another_system(intake_desk: Desk):
    person = await brought(intake_desk)
    share = {"source": LIBRARY.upper().replace("/DESK", "/desk"), "reason": "suivi commun"}
    for _ in range(2):
        assert await advise(intake_desk, f"/v1/persons/{person}/share", share) == 204
    assert (await intake_desk.types()).count("person.shared.v1") == 1
    answer = await intake_desk.receipt(says({"person_id": str(person), "ref": "l-1"}))
    assert answer.person_id == person
    assert (await intake_desk.receipt(says({"ref": "l-1"}))).person_id == person
    assert "library.example" not in "".join(await intake_desk.all_rows())


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 422), ({"source": ""}, 422), ({"source": "a\0b"}, 422), ({"source": LIBRARY}, 404)],
)
async def test_share_that_cannot_be_is_refused(
    intake_desk: Desk, body: dict[str, Any], status: int
):
    assert await advise(intake_desk, f"/v1/persons/{uuid4()}/share", body) == status


async def test_key_does_not_speak_for_what_its_scope_only_seems_to_hold(intake_desk: Desk):
    narrow = STRUCTURED | {"authorization": "Bearer narrow-key"}
    for source in (FRONT_DESK + "/../other", FRONT_DESK + "/%2e%2e/other"):
        answer = await intake_desk.send(contact() | {"source": source}, narrow)
        assert answer.json()["type"].endswith("/source-not-allowed")
    assert (await intake_desk.send(contact(), narrow)).status_code == 202
