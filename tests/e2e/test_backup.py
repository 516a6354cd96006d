"""A backup keeps keys apart, and the way back brings nobody back who was erased."""

import shutil
from pathlib import Path
from typing import Any

import orjson

from services.demo import demo_environment
from tests.e2e.hubs import Up, all_logged, contact, emit, rows, until, with_referral

QUICK = {
    "AIGUILLAGE_ERASURE_WAIT_SECONDS": "0.3",
    "AIGUILLAGE_ERASURE_SECONDS": "0.1",
}
KEY_FILES = ("index.key", "log.key", "master-1.key")
SEALED = """
SELECT (SELECT count(sealed) FROM intake.events WHERE person_id = $1::uuid)
     + (SELECT count(sealed) FROM referrals.events WHERE person_id = $1::uuid)
     + (SELECT count(sealed) FROM audit.entries WHERE person_id = $1::uuid)
     + (SELECT count(*) FROM referrals.cases WHERE person_id = $1::uuid) AS count
"""


def copied(files: tuple[str, ...], source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in files:
        shutil.copy2(source / name, target / name)


async def left(hub: Any, person: str) -> int:
    (row,) = await rows(hub, SEALED, person)
    return int(row["count"])


async def erased(hub: Any, person: str) -> None:
    path = f"/v1/persons/{person}/erasure"
    await hub.post("intake", path, "privacy", {})

    async def over() -> bool:
        found = await hub.get("intake", path, "privacy")
        return all(e["state"] == "erased" for e in found["erasures"])

    await until(over)


async def test_restored_hub_serves_once_whoever_was_erased_is_gone_again(tmp_path: Path):
    live = Up(tmp_path / "live", demo_environment() | QUICK)
    hub = await live.start()
    gone = (await emit(hub, contact("u-1", 1)))["person_id"]
    kept = (await emit(hub, contact("u-2", 2)))["person_id"]
    await with_referral(hub, gone)
    await with_referral(hub, kept)
    await all_logged(hub)
    data, keys = str(tmp_path / "data"), str(tmp_path / "keys")
    made = await live.run("backup", data, "--keys", keys)
    assert made.code == 0, made.err
    await erased(hub, gone)
    assert await left(hub, gone) == 0
    await live.stop()
    again = Up(tmp_path / "again", demo_environment() | QUICK)
    lost = await again.run("restore", data, "--keys", keys, "--ledger", f"{keys}/none")
    assert lost.code == 1
    assert "none is not there" in lost.err
    ledger = str(live.directory / "erasures.ndjson")
    lost = await again.run("restore", data, "--keys", keys, "--ledger", ledger)
    assert lost.code == 1
    assert "index.key is not in the data directory" in lost.err
    copied((*KEY_FILES, "keys.json"), live.directory, again.directory)
    restored = await again.run("restore", data, "--keys", keys, "--ledger", ledger)
    assert restored.code == 0, restored.err
    hub = await again.start()
    assert await left(hub, gone) == 0
    assert await left(hub, kept) > 0
    await with_referral(hub, kept)
    await again.stop()


async def test_data_and_keys_are_not_put_in_one_place(tmp_path: Path):
    live = Up(tmp_path / "live")
    await live.start()
    place = tmp_path / "backup"
    for keys in (place, place / "keys", tmp_path):
        refused = await live.run("backup", str(place), "--keys", str(keys))
        assert refused.code == 1
        assert "neither in the other" in refused.err
    made = await live.run("backup", str(place), "--keys", str(tmp_path / "keys"))
    assert made.code == 0, made.err
    assert {p.name for p in place.iterdir()} == {"aiguillage.dump", "backup.json"}
    assert {p.name for p in (tmp_path / "keys").iterdir()} == {"vault.dump"}
    assert orjson.loads((place / "backup.json").read_bytes())["erasures"] == 0
    await live.stop()
    full = await live.run(
        "restore", str(place), "--keys", str(tmp_path / "keys"), "--ledger", str(place)
    )
    assert full.code == 1
    assert "is there already" in full.err


async def test_no_backup_from_before_opens_once_the_old_master_key_is_destroyed(tmp_path: Path):
    live = Up(tmp_path / "live", demo_environment() | QUICK)
    hub = await live.start()
    gone = (await emit(hub, contact("u-1", 1)))["person_id"]
    await all_logged(hub)
    data, keys = str(tmp_path / "data"), str(tmp_path / "keys")
    made = await live.run("backup", data, "--keys", keys)
    assert made.code == 0, made.err
    await erased(hub, gone)
    rotated = await live.run("keys", "rotate-master")
    assert rotated.code == 0, rotated.err
    destroyed = await live.run("keys", "rotate-master", "--destroy-old")
    assert destroyed.code == 0, destroyed.err
    await live.stop()
    thief = Up(tmp_path / "thief", demo_environment() | QUICK)
    copied(("index.key", "log.key", "master-2.key"), live.directory, thief.directory)
    ledger = str(live.directory / "erasures.ndjson")
    arguments = ("restore", data, "--keys", keys, "--ledger", ledger)
    refused = await thief.run(*arguments)
    assert refused.code == 1
    assert "master-1.key is not in the data directory" in refused.err
    assert "only a later backup opens" in refused.err
    (thief.directory / "master-1.key").write_bytes(b"x" * 32)
    forced = await thief.run(*arguments)
    assert forced.code == 0, forced.err
    looked = await thief.run("doctor")
    assert looked.code == 1
    assert "master-1.key is not the key of this hub's epoch 1" in looked.err
