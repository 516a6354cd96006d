"""`aiguillage keys rotate-master` and what `aiguillage doctor` says of keys."""

import asyncio
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from infra.base.settings import Settings
from services.hub.cli.main import app
from services.hub.operations import master_key
from services.hub.operations.doctor import Check
from services.hub.operations.hub import doctor
from tests.support.masterkeys import Processes


@pytest.fixture
def settings(processes: Processes) -> Settings:
    databases = processes.databases
    return Settings(
        data=databases.directory, database_url=databases.url, vault_url=databases.vault_url
    )


@pytest.fixture
def cli(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    # the runner's stderr is closed at its end: the log of later tests must not go there
    monkeypatch.setattr(master_key, "configure_logging", lambda *args, **given: None)
    monkeypatch.setenv("AIGUILLAGE_DATABASE_URL", str(settings.database_url))
    monkeypatch.setenv("AIGUILLAGE_VAULT_URL", str(settings.vault_url))
    monkeypatch.setenv("AIGUILLAGE_DATA", str(settings.data))
    return CliRunner()


async def checked(settings: Settings, name: str) -> Check:
    (found,) = [check for check in await doctor(settings) if check.name == name]
    return found


def test_status_of_a_hub_that_has_wrapped_nothing_yet_makes_no_key(
    cli: CliRunner, settings: Settings
):
    done = cli.invoke(app, ["keys", "rotate-master", "--status", "--json"])
    assert (done.exit_code, orjson.loads(done.stdout)) == (0, [])
    assert not (settings.data / "master-1.key").exists()


async def test_nothing_is_destroyed_before_the_rotation_has_ended(
    cli: CliRunner, processes: Processes
):
    ring = processes.ring()
    await ring.keys()
    await ring.begin(after=1)
    done = await asyncio.to_thread(cli.invoke, app, ["keys", "rotate-master", "--destroy-old"])
    assert done.exit_code == 1
    assert "Repair: aiguillage keys rotate-master" in done.stderr
    assert [epoch.destroyed_at for epoch in await ring.epochs()] == [None, None]


async def test_doctor_makes_no_key_either(settings: Settings):
    assert (await checked(settings, "master keys")).ok
    assert not (settings.data / "master-1.key").exists()


async def test_doctor_opens_every_live_key(settings: Settings, processes: Processes):
    await processes.persons(3)
    await processes.rotate()
    found = await checked(settings, "master keys")
    assert (found.ok, found.detail) == (True, "epoch 1 (file), epoch 2 (file): opened")
    (settings.data / "master-1.key").rename(settings.data / "aside")
    found = await checked(settings, "master keys")
    assert (found.ok, "epoch 1: master-1.key" in found.detail) == (False, True)
    assert found.repair


async def test_doctor_says_that_the_index_key_is_another_hubs(
    settings: Settings, processes: Processes
):
    await processes.persons(1)
    (settings.data / "index.key").write_bytes(bytes(32))
    found = await checked(settings, "index key")
    assert (found.ok, "index.key" in found.repair) == (False, True)


async def test_doctor_counts_what_no_key_opens(settings: Settings, processes: Processes):
    await processes.persons(3)
    found = await checked(settings, "wrapped keys")
    assert (found.ok, found.detail) == (True, "3, each under a live master key")
    ((_, old), *_) = (await processes.copy()).values()
    await (await processes.rotate()).destroy_old()
    await processes.execute(  # as a copy of the vault from before the rotation
        "UPDATE vault.person_keys SET wrapped = $1 WHERE person_id = "
        "(SELECT min(person_id::text)::uuid FROM vault.person_keys)", old,
    )  # fmt: skip
    found = await checked(settings, "wrapped keys")
    assert (found.ok, "1 of vault.person_keys" in found.detail) == (False, True)


@pytest.mark.parametrize("name", ["master-1.key", "index.key", "log.key", "keys.json", "token"])
async def test_doctor_finds_a_secret_that_others_may_read(
    settings: Settings, processes: Processes, name: str
):
    await processes.persons(1)
    path: Path = settings.data / name
    path.touch(mode=0o600)
    told = settings.model_copy(update={"transit_token_file": settings.data / "token"})
    assert (await checked(told, "secret files")).ok
    path.chmod(0o640)
    found = await checked(told, "secret files")
    assert (found.ok, found.repair) == (False, f"chmod 600 {path}")


async def test_hub_without_its_transit_engine_says_which_key_is_missing(
    settings: Settings, processes: Processes
):
    await processes.persons(1)
    await processes.execute("UPDATE vault.epochs SET provider = 'transit'")
    found = await checked(settings, "master keys")
    assert (found.ok, "no transit: set AIGUILLAGE_TRANSIT_URL" in found.detail) == (False, True)
