"""Witness, proof, key and reconciliation as their users meet them: on the command line."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest

from services.processes import Child, Hub, cli
from tests.e2e.hubs import Up, aiguillage, all_logged, contact, emit, rows

POLICY = "AIGUILLAGE_LOG_POLICY"


class Town:
    """`aiguillage witness` as a process of its own."""

    def __init__(self, directory: Path, vkey: str) -> None:
        arguments = cli(
            "witness", "--data", str(directory), "--log", vkey, "--port", "0", "--json"
        )
        self.child = Child("witness", arguments, directory.with_suffix(".log"), {})

    async def start(self) -> dict[str, Any]:
        said: dict[str, Any] = orjson.loads(await self.child.start())
        return said


@pytest.fixture(scope="module")
async def up() -> AsyncIterator[Up]:
    with TemporaryDirectory(prefix="aiguillage-log-") as directory:
        made = Up(Path(directory) / "data")
        await made.start()
        yield made
        await made.stop()


@pytest.fixture
def hub(up: Up) -> Hub:
    assert up.hub is not None
    return up.hub


async def cosigned(hub: Hub, size: int) -> dict[str, Any]:
    """Wait until the witness has cosigned so much."""
    async with asyncio.timeout(30):
        while True:
            (witness,) = (await hub.get("audit", "/v1/log", "auditor"))["witnesses"]
            if (witness["size"] or 0) >= size:
                return dict(witness)
            await asyncio.sleep(0.05)


async def test_a_witness_cosigns_a_running_hub_and_a_proof_says_so(up: Up, hub: Hub):
    town = Town(up.directory.parent / "town", hub.address["vkey"])
    witness = await town.start()
    policy = up.directory.parent / "policy"
    policy.write_text(
        f"log {hub.address['vkey']}\n"
        f"witness town {witness['vkeys'][0]} {witness['url']}\nquorum town\n"
    )
    await up.stop()
    up.environment = {**up.environment, POLICY: str(policy)}
    hub = await up.start()
    receipt = await emit(hub, contact("witnessed", 11))
    size = await all_logged(hub)
    await cosigned(hub, size)

    event = (await rows(hub, "SELECT event_id FROM audit.entries WHERE idx = 5"))[0]["event_id"]
    file = str(up.directory.parent / "event.tlog-proof")
    fetched = await aiguillage(
        "audit", "proof", str(event), "--url", hub.address["audit"], "--output", file
    )
    assert fetched.code == 0, fetched.err
    checked = await aiguillage("audit", "check-proof", file, "--policy", str(policy), "--json")
    assert checked.code == 0, checked.err
    assert "cosigned by town" in orjson.loads(checked.out)["reason"]
    assert orjson.loads(checked.out)["entry"]["id"] == str(event)
    strangers = await aiguillage("audit", "check-proof", file, "--vkey", witness["vkeys"][0])
    assert (strangers.code, "not of the kind" in strangers.err) == (2, True)
    unknown = await aiguillage(
        "audit", "proof", receipt["person_id"], "--url", hub.address["audit"]
    )
    assert (unknown.code, "answered 404" in unknown.err) == (1, True)

    await town.child.kill()
    await emit(hub, contact("unwitnessed", 12))
    size = await all_logged(hub)
    again = Town(up.directory.parent / "town", hub.address["vkey"])
    restarted = await again.start()
    assert restarted["vkeys"] == witness["vkeys"]
    policy.write_text(policy.read_text().replace(witness["url"], restarted["url"]))
    await up.stop()
    hub = await up.start()
    await cosigned(hub, size)
    second = await aiguillage(
        "witness", "--data", str(up.directory.parent / "town"), "--log", hub.address["vkey"]
    )
    assert (second.code, "another process runs on" in second.err) == (1, True)
    await again.child.stop()


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
            "audit", "verify", "--url", hub.address["audit"], "--vkey", keys[0]["vkey"],
            environment={"AIGUILLAGE_AUDIT_KEY": hub.address["keys"]["auditor"]},
        )  # fmt: skip
        assert verified.code == 0, (key, verified.err)


async def test_what_was_changed_is_found_by_reconciling_a_running_hub(up: Up, hub: Hub):
    await emit(hub, contact("reconciled", 13))
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
