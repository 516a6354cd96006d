"""`aiguillage audit export` and `verify`, as an auditor types them, on a hub that runs."""

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from infra.eventstore.events import NewEvent
from infra.tlog.export.reader import Exported
from services.audit.handlers.export import PIECE_BYTES
from services.audit.handlers.signing import vkey
from services.audit.routes.log import PAGE_BYTES
from tests.integration.audit.conftest import Run
from tests.integration.audit.test_audit_pathway import CASE, PERSON, live_a_pathway
from tests.integration.audit.test_audit_verification import served
from tests.support.audit_log import START, Hub, client_of, plain


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def indices(folder: Path) -> list[int]:
    return [row.at for row in Exported.open(folder).rows()]


async def lived(hub: Hub) -> str:
    """A pathway and 600 other entries, signed twice; answers the log's key."""
    await live_a_pathway(hub)
    await hub.signer.step()
    await hub.fill(600)
    return vkey(hub.platform.settings)


async def test_an_export_is_intact_for_both_verifiers(
    hub: Hub, run: Run, tmp_path: Path
) -> None:
    key, folder = await lived(hub), tmp_path / "export"
    done = await run("export", folder)
    assert (done.exit_code, "611 entries" in done.stderr) == (0, True), done.stderr
    checked = await run("verify", folder, "--vkey", key)
    assert checked.exit_code == 0
    assert checked.stderr.splitlines()[-1] == (
        "  ✓ intact: 611 of 611 entries are as signed, 0 sealed parts erased"
    )
    assert "not evidence" in checked.stderr
    alone = [sys.executable, "-I", folder / "verify.py", folder, "--vkey", key]
    said = await asyncio.to_thread(subprocess.run, alone, capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (
        0,
        "intact: 611 of 611 entries are as signed, 0 sealed parts erased\n",
    )


async def test_what_a_service_hands_out_is_what_its_database_holds(
    hub: Hub, run: Run, tmp_path: Path
) -> None:
    await lived(hub)
    async with served(hub) as (url, key):
        for words in ([], ["--person", PERSON], ["--from", "20", "--to", "400"]):
            here, there = tmp_path / f"here{len(words)}", tmp_path / f"there{len(words)}"
            await run("export", here, *words)
            done = await run("export", there, *words, "--url", url, "--key", key)
            assert done.exit_code == 0, done.stderr
            assert files(here) == files(there)


async def test_large_events_are_handed_out_a_few_at_a_time(
    hub: Hub, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one piece of a payload, more than one page for a page's number of entries."""
    large = NewEvent("fr.test.large.v1", "{}", START, PERSON, os.urandom(600_000))
    events = [replace(large, event_id=uuid4()) for _ in range(40)]
    assert sum(len(e.sealed or b"") for e in events) > max(PIECE_BYTES, 2 * PAGE_BYTES)
    await hub.append("intake", f"person-{PERSON}", events)
    await hub.read_all()
    await hub.signer.step()
    key = vkey(hub.platform.settings)
    async with served(hub) as (url, auditor):
        done = await run("export", tmp_path / "export", "--url", url, "--key", auditor)
        assert done.exit_code == 0, done.stderr
        remote = await run("verify", "--url", url, "--key", auditor, "--vkey", key)
    assert (remote.exit_code, "40 entries lead" in remote.stderr) == (0, True), remote.stderr
    checked = await run("verify", tmp_path / "export", "--vkey", key)
    assert (checked.exit_code, "40 of 40 entries" in checked.stderr) == (0, True)
    assert (tmp_path / "export/payload/000.p/40").stat().st_size > PIECE_BYTES
    async with client_of(hub) as client:
        page = (await client.get("/v1/entries?limit=40")).json()
        assert [item["idx"] for item in page["entries"]] == list(range(13))
        assert page["next"] == "/v1/entries?from=13&limit=40"


PARTS: list[tuple[list[object], list[int]]] = [
    (["--from", "3", "--to", "5"], [3, 4, 5]),
    (["--to", "1"], [0, 1]),
    (["--from", "609"], [609, 610]),
    (["--from", "2026-01-06", "--to", "2026-01-07"], [5, 6, 7]),
    (["--from", "2026-01-08T08:00:00+01:00", "--to", "2026-01-08"], [8, 9]),
    (["--person", PERSON], list(range(10))),
    (["--case", CASE], list(range(3, 10))),
]
"""Words, and which of the first ten entries and the last two are held."""


async def test_a_part_is_exported_with_its_proofs(hub: Hub, run: Run, tmp_path: Path) -> None:
    key = await lived(hub)
    for n, (words, held) in enumerate(PARTS):
        folder = tmp_path / str(n)
        done = await run("export", folder, *words)
        assert done.exit_code == 0, done.stderr
        assert [at for at in indices(folder) if at < 10 or at > 608] == held
        checked = await run("verify", folder, "--vkey", key)
        assert checked.exit_code == 0, checked.stderr


async def test_verdicts_are_exit_codes(hub: Hub, run: Run, tmp_path: Path) -> None:
    key, folder = await lived(hub), tmp_path / "export"
    await run("export", folder)
    last = tmp_path / "last"
    last.write_bytes((folder / "checkpoint").read_bytes())
    assert (await run("verify", folder)).exit_code == 2
    payload = folder / "payload" / "000"
    payload.write_bytes(payload.read_bytes()[:-1] + b"?")
    broken = await run("verify", folder, "--vkey", key)
    assert (broken.exit_code, "✗ broken at entry 255" in broken.stderr) == (1, True)
    payload.unlink()
    missing = await run("verify", folder, "--vkey", key)
    assert (missing.exit_code, "payload/000 is missing" in missing.stderr) == (2, True)
    policy = tmp_path / "policy"
    policy.write_text(f"log {key}\nquorum none\n")
    assert (await run("verify", folder, "--policy", policy)).exit_code == 2
    await hub.fill(5)
    await run("export", tmp_path / "later")
    for words in (["--policy", policy], ["--vkey", key, "--last-checkpoint", last]):
        later = await run("verify", tmp_path / "later", *words)
        assert later.exit_code == 0, later.stderr


async def test_a_log_that_does_not_extend_what_was_seen_is_refused(
    hub: Hub, run: Run, tmp_path: Path
) -> None:
    key, before, after = await lived(hub), tmp_path / "before", tmp_path / "after"
    await run("export", before)
    await hub.fill(5)
    await run("export", after)
    seen = after / "checkpoint"
    refused = await run("verify", before, "--vkey", key, "--last-checkpoint", seen)
    assert refused.exit_code == 1
    assert "it had 616 entries before, and now 611" in refused.stderr


async def test_an_erased_part_is_missing_and_told(hub: Hub, run: Run, tmp_path: Path) -> None:
    await hub.append("intake", "person-1", plain(3, PERSON))
    await hub.read_all()
    await hub.signer.step()
    await hub.tamper("UPDATE audit.entries SET sealed = NULL, sealed_salt = NULL WHERE idx = 1")
    await run("export", tmp_path / "export")
    key = vkey(hub.platform.settings)
    checked = await run("verify", tmp_path / "export", "--vkey", key)
    assert "3 of 3 entries are as signed, 1 sealed parts erased" in checked.stderr


NONSENSE: list[tuple[list[object], str]] = [
    (["--person", uuid4()], "the log has no person"),
    (["--case", UUID(int=99)], "the log has no case"),
    (["--from", "611"], "no entry of the 611"),
    (["--from", "2027-01-01"], "no entry of the 611"),
    (["--from", "9", "--to", "3"], "no entry of the 611"),
    (["--from", "soon"], "no index, day or moment"),
    (["--from", "3", "--person", PERSON], "not both"),
]


async def test_what_makes_no_sense_is_refused_in_one_line(
    hub: Hub, run: Run, tmp_path: Path
) -> None:
    await lived(hub)
    for words, why in NONSENSE:
        refused = await run("export", tmp_path / "export", *words)
        assert (refused.exit_code, why in refused.stderr) == (1, True), refused.stderr
        assert "Repair:" in refused.stderr


async def test_nothing_is_exported_before_something_is_signed(
    hub: Hub, run: Run, tmp_path: Path
) -> None:
    refused = await run("export", tmp_path / "export")
    assert (refused.exit_code, "nothing is signed yet" in refused.stderr) == (1, True)


async def test_only_auditors_are_handed_an_export(hub: Hub) -> None:
    since = "since=2026-01-05T00:00:00Z&until=2026-01-06T00:00:00Z"
    async with client_of(hub, "adviser") as client:
        for path in ("/v1/payload/000.p/99", f"/v1/span?{since}", "/v1/replay"):
            assert (await client.get(path)).status_code == 403
            assert (await client.get(path, headers={"authorization": ""})).status_code == 401
