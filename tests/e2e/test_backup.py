"""A backup keeps keys apart, and the way back brings nobody back who was erased."""

import shutil
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.hub.demo.day import demo_environment
from services.hub.demo.processes import Hub
from services.hub.operations.backups import BackupError
from services.hub.operations.privacy import back_up, restore
from tests.e2e.hubs import Up, aiguillage, all_logged, contact, emit, rows, until, with_referral

QUICK = {
    "AIGUILLAGE_ERASURE_WAIT_SECONDS": "0.3",
    "AIGUILLAGE_ERASURE_SECONDS": "0.1",
}
KEY_FILES = ("index.key", "log.key", "log-keys.json", "master-1.key")
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


def published(up: Up) -> Path:
    """The checkpoint that any web server would serve."""
    return up.directory / "log" / "aiguillage.local" / "log" / "checkpoint"


async def all_published(up: Up, hub: Hub) -> int:
    """Wait until all that was said stands under a published checkpoint."""
    size = await all_logged(hub)

    async def there() -> bool:
        return published(up).exists() and size_of(published(up)) >= size

    await until(there)
    return size


def size_of(checkpoint: Path) -> int:
    return int(checkpoint.read_text().splitlines()[1])


async def until_refused(hub: Any, size: int) -> None:
    """Wait until the log is refused a signature, as one that was signed for ``size``."""

    async def refusal() -> Any:
        return (await hub.get("audit", "/v1/log", "auditor"))["refusal"]

    assert f"after {size} entries" in await until(refusal)


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
    await all_published(live, hub)
    await live.stop()
    again = Up(tmp_path / "again", demo_environment() | QUICK)
    ledger = live.directory / "erasures.ndjson"
    made_from = Path(data), Path(keys)
    with pytest.raises(BackupError, match="none is not there"):
        await restore(*made_from, [Path(keys) / "none"], [], again.directory)
    with pytest.raises(BackupError, match=r"index\.key is not in the data directory"):
        await restore(*made_from, [ledger], [], again.directory)
    copied((*KEY_FILES, "keys.json"), live.directory, again.directory)
    with pytest.raises(BackupError, match="nobody says how far the log was signed"):
        await restore(*made_from, [ledger], [], again.directory)
    foreign = again.directory / "checkpoint"
    foreign.write_bytes(published(live).read_bytes().replace(b"/log\n", b"/other\n", 1))
    with pytest.raises(BackupError, match=r"not a checkpoint of aiguillage\.local/log"):
        await restore(*made_from, [ledger], [foreign], again.directory)
    given = ("--keys", keys, "--ledger", str(ledger), "--checkpoint", str(published(live)))
    restored = await again.run("restore", data, *given)
    assert restored.code == 0, restored.err
    hub = await again.start()
    await until_refused(hub, size_of(published(live)))
    assert await left(hub, gone) == 0
    assert await left(hub, kept) > 0
    await with_referral(hub, kept)
    await again.stop()
    other = Up(
        again.directory, demo_environment() | QUICK | {"AIGUILLAGE_LOG_ORIGIN": "town/2"}
    )
    hub = await other.start()
    await all_logged(hub)
    verified = await aiguillage(
        "audit", "verify", "--url", hub.address["audit"], "--vkey", hub.address["vkey"],
        environment={"AIGUILLAGE_AUDIT_KEY": hub.address["keys"]["auditor"]},
    )  # fmt: skip
    assert verified.code == 0, verified.err
    await other.stop()


async def test_a_hub_that_was_stopped_before_its_backup_goes_on_signing_its_log(tmp_path: Path):
    live = Up(tmp_path / "live", demo_environment() | QUICK)
    hub = await live.start()
    await with_referral(hub, (await emit(hub, contact("u-1", 1)))["person_id"])
    before = await all_published(live, hub)
    await live.stop()
    data, keys = str(tmp_path / "data"), str(tmp_path / "keys")
    made = await live.run("backup", data, "--keys", keys)
    assert made.code == 0, made.err
    again = Up(tmp_path / "again", demo_environment() | QUICK)
    copied((*KEY_FILES, "keys.json"), live.directory, again.directory)
    ledger = live.directory / "erasures.ndjson"
    assert ledger.read_bytes() == b""
    given = ("--ledger", str(ledger), "--checkpoint", str(published(live)))
    restored = await again.run("restore", data, "--keys", keys, *given)
    assert restored.code == 0, restored.err
    hub = await again.start()
    await with_referral(hub, (await emit(hub, contact("u-2", 2)))["person_id"])
    assert await all_logged(hub) > before
    await again.stop()


async def test_data_and_keys_are_not_put_in_one_place(tmp_path: Path):
    live = Up(tmp_path / "live")
    hub = await live.start()
    await all_published(live, hub)
    place = tmp_path / "backup"
    for keys in (place, place / "keys", tmp_path):
        with pytest.raises(BackupError, match="data and keys in one place") as refused:
            await back_up(place, keys, live.directory)
        assert "neither in the other" in refused.value.repair
    made = await live.run("backup", str(place), "--keys", str(tmp_path / "keys"))
    assert made.code == 0, made.err
    assert {p.name for p in place.iterdir()} == {"aiguillage.dump", "backup.json"}
    assert {p.name for p in (tmp_path / "keys").iterdir()} == {"erasures.ndjson", "vault.dump"}
    for directory in (place, tmp_path / "keys"):
        found = [directory, *directory.iterdir()]
        assert [p for p in found if stat.S_IMODE(p.stat().st_mode) & 0o077] == []
    assert orjson.loads((place / "backup.json").read_bytes())["erasures"] == 0
    await live.stop()
    given = ("--ledger", str(place), "--checkpoint", str(published(live)))
    full = await live.run("restore", str(place), "--keys", str(tmp_path / "keys"), *given)
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
    await all_published(live, hub)
    rotated = await live.run("keys", "rotate-master")
    assert rotated.code == 0, rotated.err
    destroyed = await live.run("keys", "rotate-master", "--destroy-old")
    assert destroyed.code == 0, destroyed.err
    await live.stop()
    thief = Up(tmp_path / "thief", demo_environment() | QUICK)
    copied(
        ("index.key", "log.key", "log-keys.json", "master-2.key"),
        live.directory,
        thief.directory,
    )
    ledger = live.directory / "erasures.ndjson"
    with pytest.raises(BackupError, match=r"master-1\.key is not in the data") as refused:
        await restore(Path(data), Path(keys), [ledger], [published(live)], thief.directory)
    assert "only a later backup opens" in refused.value.repair
    (thief.directory / "master-1.key").write_bytes(b"x" * 32)
    given = ("--keys", keys, "--ledger", str(ledger), "--checkpoint", str(published(live)))
    forced = await thief.run("restore", data, *given)
    assert forced.code == 0, forced.err
    looked = await thief.run("doctor")
    assert looked.code == 1
    assert "master-1.key is not the key of this hub's epoch 1" in looked.err
