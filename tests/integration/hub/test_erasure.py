"""A person is erased everywhere, while everything that was proved stays proved."""

import re
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import orjson

from contracts.erasure import FORGOTTEN
from infra.base.data_directory import LEDGER
from infra.messaging.subscription import Subscription, set_paused
from infra.postgres.database import Database
from infra.tlog.checks import LoggedEntry, Outcome, Verdict, verify_log
from infra.tlog.export.layout import Selection
from infra.tlog.export.writer import Export, Wanted
from services.audit.handlers.export import StoredExport
from tests.support.exports import both
from tests.support.intake import contact, with_data
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
        salts = f"SELECT count(sealed_salt) FROM {schema}.{table} WHERE person_id = $1"
        assert (await whole.rows(salts, person))[0]["count"] == 0, schema
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
    await until(lambda: _told_all(whole))
    first, *others = told_by(whole)
    assert first["type"] == "referral.requested"
    assert sorted(m["type"] for m in others) == ["person.erased", "referral.cancelled"]
    assert {m["data"]["referral_id"] for m in others} == {referral["referral_id"]}
    assert CANARY not in orjson.dumps(others).decode()


def told_by(whole: Whole) -> list[Any]:
    """What the partner received, but for pings."""
    return [r.json for r in whole.sink.received if r.json["type"] != "endpoint.ping"]


async def _told_all(whole: Whole) -> bool:
    return len(told_by(whole)) >= 3


def asked_for(shown: dict[str, Any]) -> list[Any]:
    """Without how far it is: that goes on meanwhile."""
    return [(e["person_id"], e["reason"], e["requested_at"]) for e in shown["erasures"]]


async def test_second_request_changes_nothing(whole: Whole):
    person = await whole.comes()
    await whole.quiet()
    first = await erase(whole, person)
    again = await erase(whole, person, reason="retention")
    assert asked_for(again) == asked_for(first)
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


async def test_event_that_came_leads_to_nobody_once_the_person_is_erased(whole: Whole):
    event = contact(person={"ref": "u-1"})
    person = await whole.emit(event)
    assert await whole.rows("SELECT FROM intake.inbox WHERE person_id = $1", person)
    await whole.quiet()
    await erase(whole, person)
    await erased(whole, person)
    for again in (event, with_data(event, "data.note", "autre chose")):
        answer = await whole.send(again)
        assert answer.status_code == 410
        assert answer.json()["type"].endswith("/person-erased")
    (row,) = await whole.rows("SELECT * FROM intake.inbox")
    assert [row[name] for name in ("person_id", "digest", "created")] == [None] * 3
    key = row["key"].hex()
    told = await whole.rows("SELECT data::text AS data FROM intake.events")
    derived = {str(uuid5(person, text)) for text in (key, key.upper())}
    assert not [row for row in told if key in row["data"] or derived & set(_ids(row["data"]))]


def _ids(text: str) -> list[str]:
    return re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)


async def test_ledger_beside_the_databases_names_who_was_erased_and_nothing_else(whole: Whole):
    person = await whole.comes()
    await whole.quiet()
    await erase(whole, person, reason="not-served")
    (line,) = (whole.databases.directory / LEDGER).read_text().split()
    assert orjson.loads(line).keys() == {"person_id", "reason", "requested_at"}
    assert orjson.loads(line)["person_id"] == str(person)


async def paused(whole: Whole, service: str, subscription: str, held: bool) -> None:
    database = Database(whole.databases.url, service, pool_size=1)
    async with database.transaction() as tx:
        await set_paused(tx, subscription, held)
    await database.close()


async def test_messages_under_way_bring_nothing_back_and_the_log_is_whole(whole: Whole):
    """Partners and the log hear of the referral after everybody has forgotten the person."""
    late = (("partners", "deliveries"), ("audit", "log-referrals"), ("audit", "log-intake"))
    for service, subscription in late:
        await paused(whole, service, subscription, True)
    person = await whole.comes()
    await whole.referral(person)
    await erase(whole, person)

    async def forgotten() -> bool:
        tables = ("intake", "referrals", "partners", "audit")
        found = [await whole.rows(f"SELECT FROM {t}.forgotten") for t in tables]
        return all(found)

    await until(forgotten)
    for service, subscription in late:
        await paused(whole, service, subscription, False)
    await erased(whole, person)
    assert (
        await whole.rows("SELECT FROM partners.deliveries WHERE person_id = $1", person) == []
    )
    query = "SELECT FROM audit.entries WHERE person_id = $1 AND sealed IS NOT NULL"
    assert await whole.rows(query, person) == []
    assert (await verdict(whole)).exit_code == 0


async def test_what_was_parked_of_a_person_goes_but_enters_the_log_without_them(whole: Whole):
    await whole.quiet()
    await whole.rows(
        "ALTER TABLE audit.entries ADD CONSTRAINT poison "
        "CHECK (actor <> 'municipal:municipal') NOT VALID"
    )
    person = await whole.comes()
    await whole.referral(person)

    async def parked() -> Any:
        return await whole.rows("SELECT record FROM audit.dead_letters")

    rows = await until(parked)
    assert any(b'"sealed":' in row["record"] for row in rows)
    await erase(whole, person)

    async def stripped() -> bool:
        rows = await whole.rows("SELECT record FROM audit.dead_letters")
        return bool(rows) and not any(
            b'"sealed":' in row["record"] or b'"sealedsalt":' in row["record"] for row in rows
        )

    await until(stripped)
    await whole.rows("ALTER TABLE audit.entries DROP CONSTRAINT poison")
    audit = next(s for s in whole.running.services if s.name == "audit")
    logs = [w for w in audit.workers if isinstance(w, Subscription) and "log-" in w.name]
    for subscription in logs:
        assert await subscription.replay() == 0
    await erased(whole, person)
    assert (await verdict(whole)).exit_code == 0


async def test_an_export_after_an_erasure_is_intact_for_both_verifiers(
    whole: Whole, tmp_path: Path
):
    """Entries are what they were; of the sealed parts nothing is left that shows them."""
    person = await whole.comes()
    await whole.quiet()
    before = await whole.rows("SELECT entry FROM audit.entries ORDER BY idx")
    await erase(whole, person)
    await erased(whole, person)
    after = await whole.rows("SELECT entry FROM audit.entries ORDER BY idx")
    assert after[: len(before)] == before
    audit = next(s for s in whole.running.services if s.name == "audit")
    vkey = whole.running.address["vkey"]

    async def everything(size: int) -> Selection:
        return Selection(size, stop=size)

    source = StoredExport(audit.database, vkey.split("+")[0])
    said = await Export(source, tmp_path / "export", Wanted({}, everything)).run([vkey])
    assert said.erased > 0
    assert both(tmp_path / "export", vkey).outcome is Outcome.INTACT


async def verdict(whole: Whole) -> Verdict:
    """What an auditor finds who recomputes the log."""
    entries, start = [], 0
    while True:
        path = f"/audit/v1/entries?from={start}&limit=1000"
        page = (await whole.call("auditor", "GET", path)).json()["entries"]
        entries += [LoggedEntry.parse(item) for item in page]
        if not page:
            break
        start += len(page)
    note = (await whole.call("auditor", "GET", "/audit/checkpoint")).content
    return verify_log(entries, note, [whole.running.address["vkey"]])
