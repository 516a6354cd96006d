"""What a person may ask for, and who looked: through the whole hub, on real databases."""

from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import orjson
import pytest

from contracts.public import PublicFacts
from contracts.tools.examples import envelope
from tests.support.whole import CANARY, Whole, until

PROFILE = "/intake/v1/persons/{}/profile"
SEED = Path(__file__).parents[3] / "services" / "partners" / "seed" / "petite-foret.json"
NAMES = {
    partner["structure"]["id"]: partner["structure"]["nom"]
    for partner in orjson.loads(SEED.read_bytes())["partners"]
}


async def ask(whole: Whole, person: UUID, right: str, method: str = "POST") -> None:
    path = f"/intake/v1/persons/{person}/{right}"
    answer = await whole.call("privacy", method, path, {} if method == "POST" else None)
    assert answer.status_code == 204, answer.text


async def confirm(whole: Whole, referral: dict[str, Any]) -> Any:
    path = f"/referrals/v1/referrals/{referral['referral_id']}/confirm"
    return await whole.call("adviser", "POST", path)


async def drafted(whole: Whole) -> tuple[UUID, dict[str, Any]]:
    """A person whose referral waits for an adviser."""
    person = await whole.comes(born="1985-05-17")
    referral = await whole.referral(person)
    await whole.quiet()
    return person, referral


async def messages(whole: Whole) -> list[str]:
    return [received.json["type"] for received in whole.sink.received]


async def events(whole: Whole, kind: str, person: UUID) -> list[dict[str, Any]]:
    query = "SELECT data::text AS data FROM audit.entries WHERE type LIKE $1 AND person_id = $2"
    rows = await whole.rows(f"{query} ORDER BY idx", f"%{kind}.v1", person)
    return [orjson.loads(row["data"]) for row in rows]


async def test_profile_is_shown_once_it_is_written_down_who_looks(whole: Whole):
    person = await whole.comes()
    body = {"reason": f"appel de {CANARY}"}
    shown = await whole.call("adviser", "POST", PROFILE.format(person), body)
    assert shown.json()["identity"]["family_name"] == CANARY
    assert shown.headers["cache-control"] == "no-store"
    await whole.quiet()
    (viewed,) = await events(whole, "intake.record.viewed", person)
    assert viewed["viewer"] == "adviser:adviser"
    assert viewed["view"] == "profile"
    assert {"family_name", "birth_date"} <= set(viewed["fields"])
    assert CANARY.encode() not in await whole.everything()


async def test_whoever_looks_at_a_proposal_is_written_down(whole: Whole):
    person, _ = await drafted(whole)
    answer = await whole.call("adviser", "GET", f"/referrals/v1/cases?person_id={person}")
    proposal = answer.json()["cases"][0]["proposal_id"]
    for path in (f"/proposals/{proposal}", f"/proposals/{proposal}/explanation"):
        assert (await whole.call("adviser", "GET", f"/referrals/v1{path}")).status_code == 200
    await whole.quiet()
    assert len(await events(whole, "referrals.record.viewed", person)) == 2


async def test_rectified_field_supersedes_and_the_history_says_which(whole: Whole):
    person = await whole.comes()
    change = {
        "identity": {"phone": "+33699999999"},
        "facts": {"situation": {"value": "in-training"}},
    }
    path = f"/intake/v1/persons/{person}/rectification"
    assert (await whole.call("adviser", "POST", path, change)).status_code == 204
    shown = (await whole.call("adviser", "POST", PROFILE.format(person), {})).json()
    assert shown["identity"]["phone"] == "+33699999999"
    assert shown["identity"]["family_name"] == CANARY
    assert shown["facts"]["situation"]["value"] == "in-training"
    await whole.quiet()
    (rectified,) = await events(whole, "person.rectified", person)
    assert rectified["fields"] == ["phone", "situation"]


async def test_rectification_counts_whatever_day_the_wrong_word_was_said_to_be_of(
    whole: Whole,
):
    ahead = (datetime.now(UTC) + timedelta(hours=20)).isoformat()
    person = await whole.comes()
    facts = {"situation": {"value": "in-school"}, "mobility": {"value": "none"}}
    said = {"person": {"person_id": str(person), "facts": facts}}
    await whole.emit(envelope(PublicFacts.TYPE, said, Random()) | {"time": ahead})
    change = {"facts": {"situation": {"value": "job-seeker", "as_of": "2020-01-01"}}}
    path = f"/intake/v1/persons/{person}/rectification"
    assert (await whole.call("adviser", "POST", path, change)).status_code == 204
    said["person"]["facts"] = {"mobility": {"value": "own-vehicle"}}
    await whole.emit(envelope(PublicFacts.TYPE, said, Random()))
    shown = (await whole.call("adviser", "POST", PROFILE.format(person), {})).json()
    assert shown["facts"]["situation"]["value"] == "job-seeker"
    assert shown["facts"]["mobility"]["value"] == "own-vehicle"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"identity": {"address": "2 69 05 49 588 157 80"}}, "identity.address"),
        ({"facts": {"commune": {"value": "59999"}}}, "facts.commune.value"),
        ({"identity": {"phone": "abc"}}, "identity.phone"),
    ],
)
async def test_rectification_that_cannot_be_names_the_field(
    whole: Whole, body: dict[str, Any], field: str
):
    person = await whole.comes()
    path = f"/intake/v1/persons/{person}/rectification"
    answer = await whole.call("adviser", "POST", path, body)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]


async def test_objection_closes_what_is_open_and_tells_the_partner(whole: Whole):
    person, referral = await drafted(whole)
    await confirm(whole, referral)
    await whole.sink.wait_for(1)
    await whole.quiet()
    await ask(whole, person, "objection")
    await whole.quiet()
    told = await messages(whole)
    assert told[0] == "referral.requested"
    assert set(told[1:]) == {"referral.cancelled", "agreement.withdrawn"}
    answer = await whole.call("adviser", "GET", f"/referrals/v1/cases?person_id={person}")
    assert answer.json()["cases"][0]["status"] == "revoked"


async def test_nothing_about_a_restricted_person_leaves_until_it_is_lifted(whole: Whole):
    person, referral = await drafted(whole)
    await ask(whole, person, "restriction")
    await whole.quiet()
    refused = await confirm(whole, referral)
    assert (refused.status_code, refused.json()["type"].rsplit("/")[-1]) == (
        409, "person-restricted",
    )  # fmt: skip
    hidden = await whole.call("adviser", "POST", PROFILE.format(person), {})
    assert hidden.status_code == 409
    await ask(whole, person, "restriction", "DELETE")
    await whole.quiet()
    assert (await confirm(whole, referral)).status_code == 200
    await whole.sink.wait_for(1)


async def test_message_on_its_way_waits_while_the_person_is_restricted(whole: Whole):
    await whole.rows("UPDATE partners.endpoints SET open_until = now() + interval '1 hour'")
    person = await whole.comes()

    async def state(wanted: str) -> bool:
        rows = await whole.rows("SELECT state FROM partners.deliveries")
        return [row["state"] for row in rows] == [wanted]

    await until(lambda: state("pending"))
    await ask(whole, person, "restriction")
    await until(lambda: state("held"))
    await whole.rows("UPDATE partners.endpoints SET open_until = NULL")
    await whole.quiet()
    assert await messages(whole) == []
    await ask(whole, person, "restriction", "DELETE")
    await whole.sink.wait_for(1)
    assert await messages(whole) == ["referral.requested"]


async def test_restricted_person_may_still_be_seen_by_who_answers_for_data(whole: Whole):
    person, _ = await drafted(whole)
    await ask(whole, person, "restriction")
    await whole.quiet()
    shown = await whole.call(
        "privacy", "POST", PROFILE.format(person), {"reason": "vérification"}
    )
    assert shown.json()["identity"]["family_name"] == CANARY


async def test_rights_of_the_unknown_are_not_found_and_of_the_erased_are_gone(
    whole: Whole,
):
    unknown = "00000000-0000-4000-8000-000000000000"
    for right in ("objection", "restriction"):
        path = f"/intake/v1/persons/{unknown}/{right}"
        assert (await whole.call("privacy", "POST", path, {})).status_code == 404
    person = await whole.comes()
    await whole.call("privacy", "POST", f"/intake/v1/persons/{person}/erasure", {})
    for right in ("objection", "restriction", "profile"):
        path = f"/intake/v1/persons/{person}/{right}"
        assert (await whole.call("privacy", "POST", path, {})).status_code == 410


async def test_auditor_unmasks_a_pathway_with_a_reason_that_is_kept(whole: Whole):
    person, _ = await drafted(whole)
    path = f"/audit/v1/persons/{person}"
    masked = await whole.call("auditor", "GET", f"{path}/pathway")
    assert CANARY not in masked.text
    refused = await whole.call("auditor", "POST", f"{path}/unmask", {})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "reason")
    body = {"reason": f"contrôle du dossier de {CANARY}"}
    unmasked = await whole.call("auditor", "POST", f"{path}/unmask", body)
    assert CANARY in unmasked.text
    assert unmasked.headers["cache-control"] == "no-store"
    await whole.quiet()
    (viewed,) = await events(whole, "audit.record.viewed", person)
    assert viewed["viewer"] == "auditor:auditor"
    assert CANARY.encode() not in await whole.everything()
    assert (await whole.call("adviser", "POST", f"{path}/unmask", body)).status_code == 403


async def test_person_is_given_all_that_is_held_as_json_and_as_a_page(whole: Whole):
    person, referral = await drafted(whole)
    await confirm(whole, referral)
    await whole.call("adviser", "POST", PROFILE.format(person), {"reason": "rappel"})
    await whole.quiet()
    path = f"/audit/v1/persons/{person}/access"
    found = (await whole.call("privacy", "POST", path, {})).json()
    assert found["known"]["family_name"] == CANARY
    assert found["known"]["situation"]["value"] == "job-seeker"
    assert found["proposals"][0]["candidates"]
    assert "phone" in found["disclosures"][0]["fields"]
    assert found["disclosures"][0]["partner"] == NAMES[referral["partner_id"]]
    assert all(referral["partner_id"] not in item["sentence"] for item in found["timeline"])
    assert [(view["by"], view["view"], view["reason"]) for view in found["views"]] == [
        ("accueil", "profile", "rappel")
    ]
    said = orjson.dumps(found).decode()
    for held in (f"note sur {CANARY}", f"besoin de {CANARY}", f"projet de {CANARY}"):
        assert held in said
    assert "adviser:" not in said  # a colleague's name is none of the person's data
    page = await whole.call("privacy", "POST", path, {}, accept="text/html")
    assert page.headers["content-type"].startswith("text/html")
    name = escape(NAMES[referral["partner_id"]])
    for shown in (CANARY, "17/05/1985", "Qui a consulté", f"note sur {CANARY}", name):
        assert shown in page.text
    assert (await whole.call("adviser", "POST", path, {})).status_code == 403


async def test_erased_person_is_told_that_nothing_is_left_but_states(whole: Whole):
    person, _ = await drafted(whole)
    await whole.call("privacy", "POST", f"/intake/v1/persons/{person}/erasure", {})

    async def over() -> bool:
        answer = await whole.call("privacy", "GET", f"/audit/v1/persons/{person}/erasure")
        return answer.status_code == 200

    await until(over)
    await whole.quiet()
    path = f"/audit/v1/persons/{person}"
    found = (await whole.call("privacy", "POST", f"{path}/access", {})).json()
    assert found["known"] == {}
    assert {state["status"] for state in found["referrals"].values()} == {"entered-in-error"}
    assert CANARY not in orjson.dumps(found).decode()
    refused = await whole.call("auditor", "POST", f"{path}/unmask", {"reason": "x"})
    assert refused.status_code == 410
    (receipt,) = (await whole.call("auditor", "GET", f"{path}/erasure")).json()["receipts"]
    proof = await whole.call(
        "auditor", "GET", f"/audit/v1/proofs/inclusion?event_id={receipt['event_id']}"
    )
    assert proof.json()["index"] == receipt["idx"]
