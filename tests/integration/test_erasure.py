"""A person is erased everywhere, while everything that was proved stays proved."""

from typing import Any
from uuid import UUID

import orjson

from contracts.erasure import FORGOTTEN
from infra.erasures import LEDGER
from tests.support.whole import CANARY, Whole, until


async def erase(whole: Whole, person_id: UUID, **body: Any) -> dict[str, Any]:
    path = f"/intake/v1/persons/{person_id}/erasure"
    answer = await whole.call("privacy", "POST", path, body)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def erased(whole: Whole, person_id: UUID) -> dict[str, Any]:
    """Wait for the end of an erasure, and for what it still sets going."""

    async def over() -> Any:
        answer = await whole.call("privacy", "GET", f"/intake/v1/persons/{person_id}/erasure")
        found = answer.json()["erasures"]
        return found[0] if all(e["state"] == "erased" for e in found) else None

    found: dict[str, Any] = await until(over)
    await whole.quiet()
    return found


async def test_nothing_of_an_erased_person_is_left_and_the_log_stays_whole(whole: Whole):
    person = await whole.comes()
    other = await whole.comes("u-2", "Autre-Personne")
    await whole.referral(person)
    await whole.quiet()
    (before,) = await whole.rows(
        "SELECT root FROM audit.checkpoints ORDER BY size DESC LIMIT 1"
    )
    await erase(whole, person)
    end = await erased(whole, person)
    assert end["reason"] == "asked"
    for schema in ("intake", "referrals", "partners", "audit"):
        table = "entries" if schema == "audit" else "events"
        query = (
            f"SELECT count(*) FROM {schema}.{table} WHERE person_id = $1 AND sealed IS NOT NULL"
        )
        assert (await whole.rows(query, person))[0]["count"] == 0, schema
        assert (await whole.rows(query, other))[0]["count"] > 0 or schema == "partners"
    keys = await whole.rows("SELECT person_id FROM vault.person_keys", vault=True)
    assert [row["person_id"] for row in keys] == [other]
    assert before["root"]


async def test_each_service_says_that_it_has_forgotten_before_the_receipt(whole: Whole):
    person = await whole.comes()
    await whole.quiet()
    await erase(whole, person)
    await erased(whole, person)
    rows = await whole.rows(
        "SELECT type FROM audit.entries WHERE person_id = $1 ORDER BY idx", person
    )
    types = [row["type"] for row in rows]
    receipt = types.index("fr.aiguillage.audit.person.erased.v1")
    destroyed = types.index("fr.aiguillage.intake.person.keys-destroyed.v1")
    asked = types.index("fr.aiguillage.intake.person.erasure-requested.v1")
    forgotten = [types.index(event.type) for event in FORGOTTEN.values()]
    assert asked < destroyed < min(forgotten)
    assert max(forgotten) < receipt


async def test_partner_that_received_something_is_told_after_the_receipt(whole: Whole):
    person = await whole.comes()
    referral = await whole.referral(person)
    path = f"/referrals/v1/referrals/{referral['referral_id']}/confirm"
    await whole.call("adviser", "POST", path)
    await whole.sink.wait_for(1)
    await whole.quiet()
    await erase(whole, person)
    await erased(whole, person)
    told = [r.json for r in whole.sink.received if r.json["type"] != "endpoint.ping"]
    assert [m["type"] for m in told] == [
        "referral.requested", "referral.cancelled", "person.erased",
    ]  # fmt: skip
    assert told[-1]["data"]["referral_id"] == referral["referral_id"]
    assert CANARY not in orjson.dumps(told[1:]).decode()


async def test_second_request_changes_nothing(whole: Whole):
    person = await whole.comes()
    await whole.quiet()
    first = await erase(whole, person)
    again = await erase(whole, person, reason="retention")
    assert again == first
    end = await erased(whole, person)
    assert (await erase(whole, person))["erasures"] == [end]
    count = await whole.rows(
        "SELECT count(*) FROM audit.events WHERE type LIKE '%person.erased%'"
    )
    assert count[0]["count"] == 1


async def test_unknown_person_is_not_found_and_nobody_else_may_erase(whole: Whole):
    path = "/intake/v1/persons/00000000-0000-4000-8000-000000000000/erasure"
    assert (await whole.call("privacy", "POST", path, {})).status_code == 404
    assert (await whole.call("privacy", "GET", path)).status_code == 404
    assert (await whole.call("adviser", "POST", path, {})).status_code in (401, 403)


async def test_person_erased_may_come_again_as_somebody_new(whole: Whole):
    person = await whole.comes("u-1")
    await whole.quiet()
    await erase(whole, person)
    await erased(whole, person)
    again = await whole.comes("u-1", "Retour")
    assert again != person


async def test_event_about_an_erased_person_is_refused_and_creates_nothing(whole: Whole):
    person = await whole.comes("u-1")
    await whole.quiet()
    await erase(whole, person)
    await erased(whole, person)
    event = {
        "specversion": "1.0", "id": "e-9", "source": "https://front.example",
        "type": "fr.aiguillage.public.contact.recorded.v1",
        "data": {"mode": "phone", "person": {"person_id": str(person)}},
    }  # fmt: skip
    answer = await whole.send(event)
    assert answer.status_code == 410
    assert answer.json()["type"].endswith("/person-erased")


async def test_ledger_beside_the_databases_names_who_was_erased_and_nothing_else(whole: Whole):
    person = await whole.comes()
    await whole.quiet()
    await erase(whole, person, reason="not-served")
    (line,) = (whole.databases.directory / LEDGER).read_text().split()
    assert orjson.loads(line).keys() == {"person_id", "reason", "requested_at"}
    assert orjson.loads(line)["person_id"] == str(person)
