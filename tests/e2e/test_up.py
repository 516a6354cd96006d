"""`aiguillage up` as its users meet it: one process, one directory, stopped, killed, again."""

import stat
from typing import Any

import orjson
import pytest

from contracts.public import PUBLIC_TYPES, PublicWithdrawal
from contracts.tools.examples import example
from infra.postgres.embedded import EmbeddedPostgres
from services.hub.demo.processes import Hub
from tests.e2e.hubs import (
    STRUCTURED,
    Up,
    aiguillage,
    all_logged,
    cases,
    contact,
    emit,
    rows,
    with_referral,
)

REQUESTED = "requested"
READ_TABLES = (
    "SELECT to_jsonb(c) AS row FROM referrals.cases c UNION ALL "
    "SELECT to_jsonb(r) FROM referrals.referrals r"
)

CHANGE = (
    "UPDATE audit.entries SET data = replace(data::text, $1, $2)::json WHERE idx = "
    "(SELECT max(idx) FROM audit.entries WHERE type LIKE '%.contact.recorded.%')"
)


async def requested(hub: Hub, event: dict[str, Any]) -> tuple[Any, Any]:
    """Emit a contact and see its case through to the partner; answers receipt and case."""
    receipt = await emit(hub, event)
    referral = await with_referral(hub, receipt["person_id"])
    if referral["status"] == "draft":
        path = f"/v1/referrals/{referral['referral_id']}/confirm"
        status, _ = await hub.post("referrals", path, "adviser", {})
        assert status == 200
    (case,) = await cases(hub, receipt["person_id"])
    return receipt, case


async def verified(hub: Hub) -> tuple[int, str]:
    done = await aiguillage(
        "audit", "verify", "--url", hub.address["audit"], "--vkey", hub.address["vkey"],
        environment={"AIGUILLAGE_AUDIT_KEY": hub.address["keys"]["auditor"]},
    )  # fmt: skip
    return done.code, done.err


async def test_ready_line_has_exactly_the_documented_members(hub: Hub):
    assert set(hub.address) == {
        "intake", "referrals", "partners", "audit", "database_url", "vkey", "keys",
    }  # fmt: skip
    assert set(hub.address["keys"]) == {
        "municipal", "adviser", "partner_admin", "auditor", "privacy",
    }  # fmt: skip
    for name in ("intake", "referrals", "partners", "audit"):
        async with hub.session.get(hub.address[name] + "/readyz") as response:
            assert orjson.loads(await response.read())["ready"] is True


async def test_what_example_prints_is_accepted_and_its_case_requested(hub: Hub):
    printed = await aiguillage("example", "--seed", "7")
    _, case = await requested(hub, orjson.loads(printed.out))
    assert [r["status"] for r in case["referrals"]] == [REQUESTED]


async def test_every_listed_type_has_an_example_that_is_accepted(hub: Hub):
    listed = (await aiguillage("example", "--list")).out.decode().split()
    assert listed == list(PUBLIC_TYPES)
    for name in listed:
        event = example(name)
        if name == PublicWithdrawal.TYPE:  # of somebody who is known
            known = await emit(hub, contact("withdraws", 1))
            event["data"]["person"] = {"person_id": known["person_id"]}
        assert (await emit(hub, event))["type"] == name


@pytest.mark.parametrize(
    "source", ["https://elsewhere.example/desk/3", "urn:example:desk", "/desk", "desk#2"]
)
async def test_municipal_key_of_the_first_run_may_speak_for_any_source(hub: Hub, source: str):
    receipt = await emit(hub, contact("anywhere", 2, source))
    assert receipt["source"] == source


@pytest.mark.parametrize("ending", ["SIGTERM", "kill -9"])
async def test_directory_starts_again_with_everything_in_it(up: Up, hub: Hub, ending: str):
    event = contact(f"before {ending}", 93 if ending == "SIGTERM" else 94)
    receipt, case = await requested(hub, event)
    size = await all_logged(hub)
    if ending == "SIGTERM":
        assert await up.stop() == 0
        assert not EmbeddedPostgres(up.directory).running()
    else:
        await up.kill()
    again = await up.start()
    for name in ("keys", "vkey"):
        assert again.address[name] == hub.address[name]
    assert await cases(again, receipt["person_id"]) == [case]
    assert await emit(again, event) == receipt
    assert await all_logged(again) == size
    assert (await verified(again))[0] == 0


async def test_second_hub_on_the_same_directory_is_refused_with_the_repair(up: Up, hub: Hub):
    second = await up.run("up", "--port", "0", "--json")
    assert second.code == 1
    assert second.out == b""
    assert "another process runs on" in second.err
    assert "Repair: stop it first, or give another --data" in second.err
    assert "Traceback" not in second.err
    assert await emit(hub, contact("after", 4))


async def test_port_that_is_taken_is_one_line_with_the_repair(up: Up, hub: Hub):
    port = hub.address["intake"].rsplit(":", 1)[1].split("/")[0]
    elsewhere = str(up.directory.parent / "elsewhere")
    second = await aiguillage("up", "--data", elsewhere, "--port", port, "--json")
    assert second.code == 1
    assert second.out == b""
    assert "already in use" in second.err
    assert len(second.err.strip().splitlines()) == 2
    assert (
        "Repair: another program uses the port: stop it, or give another --port" in second.err
    )


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", ["keys.json", "master-1.key", "index.key", "log.key"])
async def test_secrets_on_disk_are_their_owners_alone(up: Up, name: str):
    assert stat.S_IMODE((up.directory / name).stat().st_mode) == 0o600


async def test_log_verifies_and_with_a_changed_entry_does_not(hub: Hub):
    await requested(hub, contact("logged", 5))
    await all_logged(hub)
    code, said = await verified(hub)
    assert (code, "intact" in said) == (0, True), said
    await rows(hub, CHANGE, "walk-in", "phone")
    code, said = await verified(hub)
    assert (code, "broken" in said) == (1, True), said
    await rows(hub, CHANGE, "phone", "walk-in")
    assert (await verified(hub))[0] == 0


async def test_doctor_finds_nothing_to_repair(up: Up, hub: Hub):
    done = await up.run("doctor", "--json")
    assert done.code == 0, done.err
    assert all(check["ok"] for check in orjson.loads(done.out))
    assert hub.address["vkey"]


async def test_status_lists_every_subscription_with_its_lag(up: Up, hub: Hub):
    await all_logged(hub)
    found = orjson.loads((await up.run("status", "--json")).out)
    names = {(row["service"], row["subscription"]) for row in found}
    assert {("referrals", "routing"), ("referrals", "answers"), ("referrals", "directory"),
            ("partners", "deliveries")} < names  # fmt: skip
    assert [(row["parked"], row["paused"]) for row in found] == [(0, False)] * len(found)


async def test_rebuilding_while_it_runs_gives_the_same_tables(up: Up, hub: Hub):
    await requested(hub, contact("rebuilt", 6))
    await all_logged(hub)
    before = sorted(row["row"] for row in await rows(hub, READ_TABLES))
    done = await up.run("rebuild", "referrals")
    assert done.code == 0, done.err
    assert before
    assert sorted(row["row"] for row in await rows(hub, READ_TABLES)) == before
    _, case = await requested(hub, contact("after the rebuild", 8))
    assert case["referrals"]


async def test_key_of_no_service_is_refused_by_the_running_hub(hub: Hub):
    headers = {"authorization": "Bearer agk_nobody", "content-type": STRUCTURED}
    url = hub.address["intake"] + "/v1/events"
    async with hub.session.post(url, headers=headers, data=b"{}") as response:
        assert response.status == 401
