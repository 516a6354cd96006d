"""Witnesses as processes of their own, and proofs that count because enough have cosigned."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import orjson
import pytest

from infra.base.settings import load_settings
from services.audit.handlers.signing import vkey
from services.hub.demo.processes import Child, Hub, cli
from services.hub.operations import proofs
from tests.e2e.hubs import Up, aiguillage, all_logged, contact, emit, rows, until


class Town:
    """`aiguillage witness`, started as often as a test likes, each time on the same port."""

    def __init__(self, directory: Path, log: str) -> None:
        self.directory = directory
        self.name = directory.name
        self.log = log
        self.url = "http://127.0.0.1:0"

    async def start(self) -> None:
        """Start it, and hear its keys."""
        port = self.url.rpartition(":")[2]
        given = ("--data", str(self.directory), "--log", self.log, "--port", port)
        command = cli("witness", *given, "--name", f"{self.name}.example/witness", "--json")
        self.child = Child(self.name, command, self.directory.with_suffix(".log"), {})
        said = orjson.loads(await self.child.start())
        self.url, (self.vkey,) = said["url"], said["vkeys"]

    @property
    def line(self) -> str:
        """The witness's line of a policy."""
        return f"witness {self.name} {self.vkey} {self.url}\n"


class Land:
    """A hub whose log three towns witness, and two policies: two of three, and everybody."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.up = Up(directory / "hub")
        self.log = vkey(load_settings(data=self.up.directory))
        names = ("nord", "clap", "valenciennes")
        self.towns = [Town(directory / name, self.log) for name in names]
        self.proof, self.size = directory / "event.tlog-proof", 0
        self.policy, self.strict = directory / "policy", directory / "strict"

    async def start(self) -> None:
        """The towns first: the policy of the hub names their keys."""
        await asyncio.gather(*(town.start() for town in self.towns))
        known = f"log {self.log}\n" + "".join(town.line for town in self.towns)
        names = " ".join(town.name for town in self.towns)
        self.policy.write_text(f"{known}group enough 2 {names}\nquorum enough\n")
        self.strict.write_text(f"{known}group everybody all {names}\nquorum everybody\n")
        policy = {"AIGUILLAGE_LOG_POLICY": str(self.policy)}
        self.up.environment = {**self.up.environment, **policy}
        await self.up.start()

    async def stop(self) -> None:
        """Everything."""
        await self.up.stop()
        await asyncio.gather(*(town.child.kill() for town in self.towns))

    @property
    def hub(self) -> Hub:
        """The running hub."""
        assert self.up.hub is not None
        return self.up.hub

    async def recorded(self, ref: str, *witnesses: Town) -> None:
        """Somebody comes; wait until these have cosigned it, and fetch the newest proof."""
        await emit(self.hub, contact(ref, sum(ref.encode())))
        await self.cosigned(await all_logged(self.hub), *witnesses)

    async def cosigned(self, size: int, *witnesses: Town) -> None:
        """Wait until these have cosigned so much, and fetch the newest entry's proof."""

        async def all_have() -> bool:
            described = await self.hub.get("audit", "/v1/log", "auditor")
            sizes = {w["name"]: w["size"] or 0 for w in described["witnesses"]}
            return all(sizes[town.name] >= size for town in witnesses)

        await until(all_have)
        self.size = size
        self.proof.write_bytes(await proofs.fetch(self.hub.address["audit"], await self.last()))

    async def last(self) -> str:
        """The event of the newest entry that was waited for; others may have come since."""
        query = "SELECT event_id FROM audit.entries WHERE idx = $1"
        return str((await rows(self.hub, query, self.size - 1))[0]["event_id"])

    async def checked(self, *trusted: str) -> tuple[int, dict[str, Any]]:
        """What `check-proof` says of it, offline."""
        given = ("audit", "check-proof", str(self.proof), *trusted, "--json")
        found = await aiguillage(*given)
        return found.code, orjson.loads(found.out)


@pytest.fixture(scope="module")
async def land() -> AsyncIterator[Land]:
    with TemporaryDirectory(prefix="aiguillage-land-") as directory:
        made = Land(Path(directory))
        await made.start()
        yield made
        await made.stop()


async def test_two_of_three_witnesses_make_a_proof_count(land: Land):
    nord, clap, valenciennes = land.towns
    trusted = ("--policy", str(land.policy))
    await land.recorded("seen by all", *land.towns)
    code, said = await land.checked(*trusted)
    assert (code, said["entry"]) == (0, None)  # an entry says nothing to who has no opening
    assert "cosigned by nord, clap" in said["reason"]

    await valenciennes.child.kill()
    await land.recorded("seen by two", nord, clap)
    assert proofs.check(land.proof, [], land.policy, None).exit_code == 0
    strict = proofs.check(land.proof, [], land.strict, None)
    assert (strict.exit_code, strict.entry) == (1, {})
    assert "no cosignature of valenciennes" in strict.reason

    await clap.child.kill()
    await land.recorded("seen by one", nord)
    code, said = await land.checked(*trusted)
    assert (code, said["entry"]) == (1, None)
    assert "enough has 1 of the 2 it needs" in said["reason"]
    assert proofs.check(land.proof, [land.log], None, None).exit_code == 0

    await valenciennes.start()  # knows what it cosigned, and is brought up from there
    await land.cosigned(await all_logged(land.hub), valenciennes)
    back = proofs.check(land.proof, [], land.policy, None)
    assert (back.exit_code, "cosigned by nord, valenciennes" in back.reason) == (0, True)


async def test_what_cannot_be_proven_or_judged_is_told(land: Land):
    nord = land.towns[0]
    await land.recorded("told", nord)
    code, said = await land.checked("--vkey", nord.vkey)
    assert (code, "not of the kind" in said["reason"]) == (2, True)
    address = land.hub.address["audit"]
    unknown = await aiguillage("audit", "proof", str(uuid4()), "--url", address)
    assert (unknown.code, "answered 404" in unknown.err) == (1, True)
    given = ("--data", str(nord.directory), "--log", land.log)
    second = await aiguillage("witness", *given)
    assert (second.code, "another process runs on" in second.err) == (1, True)


async def test_a_proof_is_fetched_by_whoever_has_no_key(land: Land):
    await land.recorded("fetched", land.towns[0])
    file = land.directory / "fetched.tlog-proof"
    given = ("--url", land.hub.address["audit"], "--output", str(file))
    fetched = await aiguillage("audit", "proof", await land.last(), *given)
    assert (fetched.code, fetched.out) == (0, b""), fetched.err
    assert proofs.check(file, [land.log], None, None).exit_code == 0


async def test_what_a_proof_proves_is_shown_with_an_auditors_opening(land: Land):
    await land.recorded("opened", land.towns[0])
    file, opening = land.directory / "shown.tlog-proof", land.directory / "shown.json"
    where = ("--url", land.hub.address["audit"], "--output", str(file))
    named = ("--opening", str(opening), "--key", land.hub.address["keys"]["auditor"])
    fetched = await aiguillage("audit", "proof", await land.last(), *where, *named)
    assert fetched.code == 0, fetched.err
    shown = proofs.check(file, [land.log], None, None, opening)
    assert (shown.exit_code, shown.entry["id"]) == (0, await land.last())
    other = {**orjson.loads(opening.read_bytes()), "data": "{}"}
    opening.write_bytes(orjson.dumps(other))
    false = proofs.check(file, [land.log], None, None, opening)
    assert (false.exit_code, "data differs" in false.reason) == (1, True)
    opening.write_bytes(b"<html>")
    assert proofs.check(file, [land.log], None, None, opening).exit_code == 2
