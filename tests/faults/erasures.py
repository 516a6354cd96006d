"""Erase persons under load, with ``kill -9`` at each step of the order; nothing comes back.

``python -m tests.faults.erasures --kind embedded --contacts 5000 --erase 200 --seed 7``
"""

import argparse
import asyncio
import base64
import contextlib
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import asyncpg

from contracts.registry import SERVICES
from infra.tlog.merkle import verify_consistency, verify_inclusion
from infra.tlog.note import VKey, open_checkpoint
from infra.tlog.verify.remote import verify_remote
from services.hub.demo.day import demo_environment, simulators
from services.hub.demo.processes import Hub
from tests.e2e.hubs import Up, aiguillage
from tests.faults.campaign import Result, contacts, hub_of, quiet, send

CANARY = "Canarizéphyr"
ENVIRONMENT = {
    "AIGUILLAGE_ERASURE_WAIT_SECONDS": "1",
    "AIGUILLAGE_ERASURE_SECONDS": "0.1",
    "AIGUILLAGE_LOG_LEVEL": "DEBUG",
}
STEP_SECONDS = 60
END_SECONDS = 300
VAULT = {
    "fenced": "SELECT count(*) FROM vault.erasures WHERE destroyed_at IS NULL",
    "keys destroyed": "SELECT count(*) FROM vault.erasures WHERE destroyed_at IS NOT NULL "
    "AND erased_at IS NULL",
    "erased": "SELECT count(*) FROM vault.erasures WHERE erased_at IS NOT NULL",
}
MAIN = {
    "asked for": "SELECT count(*) FROM intake.events WHERE type LIKE '%.erasure-requested.v1'",
    "announced": "SELECT count(*) FROM intake.events WHERE type LIKE '%.keys-destroyed.v1'",
    **{
        f"forgotten by {s}": f"SELECT count(*) FROM {s}.events "
        "WHERE type LIKE '%.person.forgotten.v1'"
        for s in SERVICES
    },
    "receipt": "SELECT count(*) FROM audit.events WHERE type LIKE '%.person.erased.v1'",
    "told": "SELECT count(*) FROM partners.deliveries WHERE message = 'person.erased'",
}
STEPS = (
    "fenced", "asked for", "keys destroyed", "announced",
    *(f"forgotten by {service}" for service in SERVICES), "receipt", "erased", "told",
)  # fmt: skip
LEFT = {
    "sealed events of {0}": "SELECT count(sealed) FROM {0}.events WHERE person_id = ANY($1)",
    "parked messages of {0}": "SELECT count(*) FROM {0}.dead_letters "
    "WHERE key = ANY($1::uuid[]::text[])",
}
LEFT_ONCE = {
    "ciphertext beside the log": "SELECT count(sealed) FROM audit.entries "
    "WHERE person_id = ANY($1)",
    "references": "SELECT count(*) FROM intake.person_refs WHERE person_id = ANY($1)",
    "blind index": "SELECT count(*) FROM intake.person_index WHERE person_id = ANY($1)",
    "stays": "SELECT count(*) FROM intake.stays WHERE person_id = ANY($1)",
    "open work": "SELECT count(*) FROM intake.open_work WHERE person_id = ANY($1)",
    "cases": "SELECT count(*) FROM referrals.cases WHERE person_id = ANY($1)",
    "referrals": "SELECT count(*) FROM referrals.referrals WHERE person_id = ANY($1)",
    "remembered": "SELECT count(*) FROM referrals.person_events WHERE person_id = ANY($1)",
    "bodies": "SELECT count(sealed) FROM partners.deliveries WHERE person_id = ANY($1)",
    "links": "SELECT count(*) FROM partners.answer_links WHERE person_id = ANY($1)",
    "states": "SELECT count(*) FROM partners.referral_states WHERE person_id = ANY($1)",
}


@dataclass
class Before:
    """What was proved before anybody was erased: a checkpoint, and an entry of each person."""

    note: bytes
    proofs: dict[str, dict[str, Any]] = field(default_factory=dict)


class Campaign:
    """One hub, its persons, and those of them to be erased."""

    def __init__(self, hub: Hub, directory: Path, result: Result) -> None:
        self.hub = hub
        self.directory = directory
        self.result = result
        self.persons: dict[str, str] = {}
        self.chosen: list[str] = []

    # --- load -----------------------------------------------------------------------------

    async def come(self, events: list[dict[str, Any]]) -> None:
        """Everybody comes, as fast as eight systems send."""
        queue = list(events)

        async def sender() -> None:
            while queue:
                event = queue.pop()
                receipt = await send(self.hub, event, self.result)
                self.persons[event["data"]["person"]["ref"]] = receipt["person_id"]

        await asyncio.gather(*(sender() for _ in range(8)))

    async def erase(self) -> None:
        """Ask for each erasure until the hub has taken it."""
        for person in self.chosen:
            while not await self._asked(person):
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.02)

    async def _asked(self, person: str) -> bool:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            path = f"/v1/persons/{person}/erasure"
            status, _ = await self.hub.post("intake", path, "privacy", {})
            return status == 202
        return False

    # --- faults ---------------------------------------------------------------------------

    async def kill_at_each_step(self, random: Random) -> int:
        """``kill -9`` as soon as a step is seen to be taken for somebody."""
        done = 0
        for step in STEPS:
            before = await self._count(step)
            with contextlib.suppress(TimeoutError):  # all are beyond this step already
                async with asyncio.timeout(STEP_SECONDS):
                    while await self._count(step) == before and not await self._over():
                        await asyncio.sleep(0.01)
            children = sorted(self.hub.children)
            child = self.hub.children[random.choice(children)]
            await child.kill()
            await child.start()
            done += 1
        return done

    async def _over(self) -> bool:
        return await self._count("erased") >= len(self.chosen)

    async def _count(self, step: str) -> int:
        url = self.hub.address["database_url"]
        if step in VAULT:
            url = url.replace("/aiguillage?", "/aiguillage_vault?")
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval((VAULT | MAIN)[step]))
        finally:
            await connection.close()

    async def ended(self, partners: dict[str, str]) -> None:
        """Everybody who was chosen is erased, and nothing moves any more."""
        async with asyncio.timeout(END_SECONDS):
            while not await self._over():
                await asyncio.sleep(0.2)
        await quiet(self.hub, partners, self.result)

    # --- proofs ---------------------------------------------------------------------------

    async def prove(self) -> Before:
        """An inclusion proof of each person's first event under one checkpoint."""
        before = Before(await self._get("/checkpoint"))
        size = self._opened(before.note).size
        rows = await self._rows(
            "SELECT person_id, min(idx) AS idx FROM audit.entries WHERE idx < $1 "
            "AND person_id IS NOT NULL GROUP BY person_id",
            size,
        )
        for row in rows:
            before.proofs[str(row["person_id"])] = await self._proof(row["idx"], size)
        return before

    async def still_proved(self, before: Before) -> None:
        """What was proved before verifies, and today's log holds everybody, in place."""
        after = await self.prove()
        then, now = self._opened(before.note), self._opened(after.note)
        for person, proof in before.proofs.items():
            self._check(person, proof, then.root)
            moved = after.proofs[person]["index"] != proof["index"]
            self._require(not moved, "an entry that moved")
        for person, proof in after.proofs.items():
            self._check(person, proof, now.root)
        unproved = set(self.persons.values()) - after.proofs.keys()
        self._require(not unproved, f"{len(unproved)} persons of whom the log says nothing")
        path = f"/v1/proofs/consistency?from={then.size}&to={now.size}"
        answer = await self._json(path)
        path_of = [base64.b64decode(node) for node in answer["proof"]]
        verify_consistency(then.size, now.size, path_of, then.root, now.root)
        address = self.hub.address
        found = await verify_remote(
            address["audit"], address["keys"]["auditor"], [address["vkey"]]
        )
        self._require(found.exit_code == 0, str(found))
        self.result.figures |= {"log": now.size}
        self.result.figures |= {"proofs": len(before.proofs) + len(after.proofs)}

    def _opened(self, note: bytes) -> Any:
        vkey = VKey.parse(self.hub.address["vkey"])
        return open_checkpoint(note, [vkey], vkey.name)

    def _check(self, person: str, proof: dict[str, Any], root: bytes) -> None:
        path = [base64.b64decode(node) for node in proof["proof"]]
        leaf = base64.b64decode(proof["leaf_hash"])
        verify_inclusion(leaf, proof["index"], proof["size"], path, root)

    async def _proof(self, index: int, size: int) -> dict[str, Any]:
        found: dict[str, Any] = await self._json(
            f"/v1/proofs/inclusion?index={index}&size={size}"
        )
        return found

    # --- what is left ---------------------------------------------------------------------

    async def nothing_is_left(self) -> None:
        """No row, no key, no byte of those who were erased."""
        queries = {w.format(s): q.format(s) for w, q in LEFT.items() for s in SERVICES}
        for what, query in (queries | LEFT_ONCE).items():
            (row,) = await self._rows(query, self.chosen)
            self._require(row["count"] == 0, f"{what}: {row['count']} left")
        self._require(await self._keys() == 0, "keys of erased persons")
        self.files_are_clean(self.directory)

    async def states_are_intact(self) -> None:
        """A pathway of somebody erased: every event still there, every referral ended."""
        for person in self.chosen[:20]:
            path = f"/v1/persons/{person}/pathway"
            found = await self.hub.get("audit", path, "auditor")
            self._require(not any(item["sealed"] for item in found["timeline"]), "sealed parts")
            ended = {"cancelled", "completed", "rejected", "failed", "entered-in-error"}
            states = {state["status"] for state in found["referrals"].values()}
            self._require(states <= ended, f"open referrals of somebody erased: {states}")
            cases = {state["status"] for state in found["cases"].values()}
            self._require(cases <= {"completed", "revoked"}, f"open cases: {cases}")

    def files_are_clean(self, directory: Path) -> None:
        """No name in clear in any file: heap, write-ahead log, logs, ledger, topics."""
        forms = [form for text in (CANARY, CANARY.upper()) for form in _forms(text)]
        for file in directory.rglob("*"):
            if file.is_file() and not file.is_symlink():
                content = file.read_bytes()
                found = [form for form in forms if form in content]
                self._require(not found, f"a name in clear in {file.relative_to(directory)}")

    async def _keys(self) -> int:
        url = self.hub.address["database_url"].replace("/aiguillage?", "/aiguillage_vault?")
        connection = await asyncpg.connect(url)
        try:
            query = "SELECT count(*) FROM vault.person_keys WHERE person_id = ANY($1)"
            return int(await connection.fetchval(query, self.chosen))
        finally:
            await connection.close()

    async def _rows(self, query: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self.hub.address["database_url"])
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def _get(self, path: str) -> bytes:
        async with self.hub.session.get(self.hub.address["audit"] + path) as response:
            response.raise_for_status()
            return await response.read()

    async def _json(self, path: str) -> Any:
        async with self.hub.session.get(self.hub.address["audit"] + path) as response:
            response.raise_for_status()
            return await response.json()

    def _require(self, held: bool, what: str) -> None:
        if not held:
            self.result.problems.append(what)


def _forms(text: str) -> list[bytes]:
    return [text.encode(), text.encode("latin-1"), text.encode().hex().encode()]


def named(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same contacts, of people whose names can be sought."""
    for number, event in enumerate(events):
        event["data"]["person"]["identity"]["family_name"] = f"{CANARY}{number}"
        event["data"]["note"] = f"note sur {CANARY}{number}"
    return events


async def run(kind: str, directory: Path, count: int, erase: int, seed: int) -> Result:
    """One campaign; ``problems`` is empty if all held."""
    result, random = Result(), Random(seed)
    async with hub_of(kind, directory, ENVIRONMENT) as hub, simulators(hub) as partners:
        campaign = Campaign(hub, directory, result)
        events = named(contacts(count, seed))
        half = count // 2
        await campaign.come(events[:half])
        await quiet(hub, partners, result)
        before = await campaign.prove()
        backup = await _backed_up(directory) if kind == "embedded" else None
        campaign.chosen = random.sample(sorted(campaign.persons.values()), erase)
        async with asyncio.TaskGroup() as work:
            work.create_task(campaign.come(events[half:]))
            work.create_task(campaign.erase())
            killing = work.create_task(campaign.kill_at_each_step(random))
        result.figures |= {"kills": killing.result(), "erased": erase, "persons": count}
        await campaign.ended(partners)
        await campaign.nothing_is_left()
        await campaign.still_proved(before)
        await campaign.states_are_intact()
    if backup:
        await _restored(directory, backup, campaign)
    return result


async def _backed_up(directory: Path) -> Path:
    """A backup of a running hub, from before anybody is erased."""
    place = directory.parent / f"{directory.name}-backup"
    given = ("backup", str(place / "data"), "--keys", str(place / "keys"))
    made = await aiguillage(*given, "--data", str(directory), environment=demo_environment())
    if made.code:
        raise RuntimeError(made.err)
    return place


async def _restored(directory: Path, backup: Path, campaign: Campaign) -> None:
    """A hub restored from it brings nobody back."""
    again = Up(directory.parent / f"{directory.name}-again", demo_environment() | ENVIRONMENT)
    again.directory.mkdir()
    for file in directory.iterdir():
        if file.suffix == ".key" or file.name in ("keys.json", "log-keys.json"):
            shutil.copy2(file, again.directory / file.name)
    ledger = str(directory / "erasures.ndjson")
    places = (str(backup / "data"), "--keys", str(backup / "keys"))
    checkpoint = str(directory / "log" / "aiguillage.local" / "log" / "checkpoint")
    made = await again.run("restore", *places, "--ledger", ledger, "--checkpoint", checkpoint)
    if made.code:
        raise RuntimeError(made.err)
    campaign.hub, campaign.directory = await again.start(), again.directory
    await campaign.nothing_is_left()
    await again.stop()


def main() -> None:
    """Run the campaign; exit code 1 if anything did not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=["embedded", "kafka"], default="embedded")
    parser.add_argument("--contacts", type=int, default=5000)
    parser.add_argument("--erase", type=int, default=200)
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6))
    given = parser.parse_args()
    sys.stderr.write(f"{given.kind}: {given.erase} of {given.contacts}, seed {given.seed}\n")
    with tempfile.TemporaryDirectory(prefix="aiguillage-erasures-") as directory:
        place = Path(directory) / "hub"
        result = asyncio.run(run(given.kind, place, given.contacts, given.erase, given.seed))
    sys.stderr.write(f"  {result.figures}\n")
    for problem in result.problems:
        sys.stderr.write(f"  ✗ {problem}\n")
    sys.stderr.write("  ✓ all held\n" if not result.problems else "")
    raise SystemExit(1 if result.problems else 0)


if __name__ == "__main__":
    main()
