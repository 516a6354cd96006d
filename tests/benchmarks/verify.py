"""Verifying the log: recompute every leaf and the root, compare with the signed note."""

import hashlib
from uuid import uuid4

from infra.clock import system_clock
from infra.eventstore.events import Meta, Recorded
from infra.tlog.audit import LoggedEntry, Outcome, verify_log
from infra.tlog.merkle import Frontier, leaf_hash
from infra.tlog.note import Checkpoint, Signer
from tests.benchmarks.measure import Run, compare

ENTRIES = 40_000
ORIGIN = "bench.example/log"


def entries() -> list[LoggedEntry]:
    """Entries as the log hands them out, with their clear part."""
    made, now, data = [], system_clock(), '{"case_id": "x", "status": "active"}'
    for index in range(ENTRIES):
        event = Recorded(
            "referrals", index + 1, uuid4(), f"case-{index // 4}", index % 4 + 1,
            "fr.aiguillage.referrals.case.opened.v1", uuid4(), now, now, data, None, Meta(),
        )  # fmt: skip
        made.append(LoggedEntry(index, event.entry(), data.encode()))
    return made


async def main() -> None:
    """verify."""
    made = entries()
    frontier = Frontier()
    frontier.extend([leaf_hash(entry.entry) for entry in made])
    signer = Signer(ORIGIN, bytes(32))
    note = signer.sign(Checkpoint(ORIGIN, ENTRIES, frontier.root()).body())
    vkey = signer.vkey.encode()
    await compare("verify", _verifying(made, note, vkey), "sha256 alone", _hashing(made))


def _verifying(made: list[LoggedEntry], note: bytes, vkey: str) -> Run:
    async def run() -> int:
        verdict = verify_log(iter(made), note, vkey)
        assert verdict.outcome is Outcome.INTACT, str(verdict)
        return verdict.checked

    return run


def _hashing(made: list[LoggedEntry]) -> Run:
    async def run() -> int:
        for entry in made:
            hashlib.sha256(b"\0" + entry.entry).digest()
        return len(made)

    return run
