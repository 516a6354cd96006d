"""Witness, proof, key and reconciliation as their users meet them: on the command line."""

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import orjson
import pytest

from services.processes import Child, Hub, cli
from tests.e2e.hubs import Up, aiguillage, all_logged, contact, emit, rows, until

POLICY = "AIGUILLAGE_LOG_POLICY"


class Town:
    """`aiguillage witness` as a process of its own, each time on the same port."""

    def __init__(self, directory: Path, vkey: str) -> None:
        self.directory = directory
        self.vkey = vkey
        self.url = "http://127.0.0.1:0"
        self.said: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self.directory.name

    async def start(self) -> None:
        port = self.url.rpartition(":")[2]
        arguments = ("--data", str(self.directory), "--log", self.vkey, "--port", port)
        name = f"{self.name}.example/witness"
        command = cli("witness", *arguments, "--name", name, "--json")
        self.child = Child(self.name, command, self.directory.with_suffix(".log"), {})
        self.said = orjson.loads(await self.child.start())
        self.url = self.said["url"]

    @property
    def line(self) -> str:
        """The witness's line of a policy."""
        return f"witness {self.name} {self.said['vkeys'][0]} {self.url}\n"


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


@pytest.fixture
async def towns(up: Up, hub: Hub) -> AsyncIterator[list[Town]]:
    places = [up.directory.parent / name for name in ("nord", "clap", "valenciennes")]
    made = [Town(place, hub.address["vkey"]) for place in places]
    for town in made:
        await town.start()
    yield made
    for town in made:
        await town.child.kill()


async def cosigned(hub: Hub, size: int, *names: str) -> None:
    """Wait until these witnesses have cosigned so much."""

    async def all_have() -> bool:
        described = await hub.get("audit", "/v1/log", "auditor")
        sizes = {w["name"]: w["size"] or 0 for w in described["witnesses"]}
        return all(sizes[name] >= size for name in names)

    await until(all_have)


async def proof_of_last(hub: Hub, file: Path) -> str:
    """Fetch the proof of the newest entry; answers its event's id."""
    query = "SELECT event_id FROM audit.entries ORDER BY idx DESC LIMIT 1"
    event = str((await rows(hub, query))[0]["event_id"])
    address = hub.address["audit"]
    made = await aiguillage("audit", "proof", event, "--url", address, "--output", str(file))
    assert made.code == 0, made.err
    return event


async def checked(file: Path, *trusted: str) -> tuple[int, dict[str, Any]]:
    """What `check-proof` says, offline."""
    found = await aiguillage("audit", "check-proof", str(file), *trusted, "--json")
    return found.code, orjson.loads(found.out)


async def test_two_of_three_witnesses_make_a_proof_count(up: Up, hub: Hub, towns: list[Town]):
    nord, clap, valenciennes = towns
    place = up.directory.parent
    policy, strict, file = place / "policy", place / "strict", place / "event.tlog-proof"
    known = f"log {hub.address['vkey']}\n" + "".join(town.line for town in towns)
    names = " ".join(town.name for town in towns)
    policy.write_text(f"{known}group two-of-three 2 {names}\nquorum two-of-three\n")
    strict.write_text(f"{known}group everybody all {names}\nquorum everybody\n")
    await up.stop()
    up.environment = {**up.environment, POLICY: str(policy)}
    hub = await up.start()
    await emit(hub, contact("witnessed", 11))
    await cosigned(hub, await all_logged(hub), *names.split())
    event = await proof_of_last(hub, file)
    code, said = await checked(file, "--policy", str(policy))
    assert (code, said["entry"]["id"]) == (0, event)
    assert "cosigned by" in said["reason"]

    await valenciennes.child.kill()
    await emit(hub, contact("seen by two", 12))
    await cosigned(hub, await all_logged(hub), nord.name, clap.name)
    await proof_of_last(hub, file)
    code, said = await checked(file, "--policy", str(policy))
    assert (code, "cosigned by nord, clap" in said["reason"]) == (0, True)
    code, said = await checked(file, "--policy", str(strict))
    assert (code, said["entry"]) == (1, None)
    assert "no cosignature of valenciennes" in said["reason"]

    await clap.child.kill()
    await emit(hub, contact("seen by one", 13))
    size = await all_logged(hub)
    await cosigned(hub, size, nord.name)
    await proof_of_last(hub, file)
    code, said = await checked(file, "--policy", str(policy))
    assert (code, "two-of-three has 1 of the 2 it needs" in said["reason"]) == (1, True)
    assert (await checked(file, "--vkey", hub.address["vkey"]))[0] == 0

    await valenciennes.start()  # knows what it cosigned, and is brought up from there
    await up.stop()
    hub = await up.start()  # asks at once: it had been waiting longer and longer
    await cosigned(hub, size, valenciennes.name)
    await proof_of_last(hub, file)
    code, said = await checked(file, "--policy", str(policy))
    assert (code, "cosigned by nord, valenciennes" in said["reason"]) == (0, True)


async def test_what_cannot_be_proven_or_judged_is_told(up: Up, hub: Hub, towns: list[Town]):
    await emit(hub, contact("told", 14))
    await all_logged(hub)
    file = up.directory.parent / "told.tlog-proof"
    await proof_of_last(hub, file)
    strangers = await aiguillage(
        "audit", "check-proof", str(file), "--vkey", towns[0].said["vkeys"][0]
    )
    assert (strangers.code, "not of the kind" in strangers.err) == (2, True)
    unknown = await aiguillage("audit", "proof", str(uuid4()), "--url", hub.address["audit"])
    assert (unknown.code, "answered 404" in unknown.err) == (1, True)
    second = await aiguillage(
        "witness", "--data", str(towns[0].directory), "--log", hub.address["vkey"]
    )
    assert (second.code, "another process runs on" in second.err) == (1, True)


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
