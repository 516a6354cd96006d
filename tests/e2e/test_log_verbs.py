"""Keys and reconciliation of the log as an operator meets them: on the command line."""

import orjson

from services.hub.demo.processes import Hub
from tests.e2e.hubs import Up, aiguillage, all_logged, contact, emit, rows


async def test_a_key_is_changed_under_a_running_hub(up: Up, hub: Hub):
    await all_logged(hub)
    done = await up.run("audit", "rotate-key", "--overlap-days", "3")
    assert done.code == 0, done.err
    keys = (await hub.get("audit", "/v1/log", "auditor"))["keys"]
    assert [key["vkey"] for key in keys] == [
        line.split(" ")[0] for line in done.out.decode().splitlines()
    ]
    assert [key["until"] is None for key in keys] == [False, True]
    for key in keys:  # whichever an auditor has
        verified = await aiguillage(
            "audit", "verify", "--url", hub.address["audit"], "--vkey", key["vkey"],
            environment={"AIGUILLAGE_AUDIT_KEY": hub.address["keys"]["auditor"]},
        )  # fmt: skip
        assert verified.code == 0, (key, verified.err)


async def test_what_was_changed_is_found_by_reconciling_a_running_hub(up: Up, hub: Hub):
    await emit(hub, contact("reconciled", 15))
    await all_logged(hub)
    agrees = await up.run("audit", "reconcile", "--json")
    assert agrees.code == 0, agrees.err
    parts = [orjson.loads(line)["part"] for line in agrees.out.splitlines()]
    assert {"intake.events", "audit.entries", "referrals.cases", "partners.services"} < set(
        parts
    )
    change = "UPDATE referrals.cases SET thematique = reverse(thematique)"
    await rows(hub, change)
    differs = await up.run("audit", "reconcile")
    assert (differs.code, differs.out) == (1, b"")
    assert "changed row: case_id=" in differs.err
    assert "not as the events say: thematique" in differs.err
    await rows(hub, change)
    assert (await up.run("audit", "reconcile")).code == 0
