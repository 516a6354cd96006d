"""Persons' keys: how long they stay in memory."""

from uuid import UUID

import pytest

from infra.base.settings import Settings
from infra.keys.vault import Vault
from infra.platform import Platform
from tests.support.masterkeys import Processes
from tests.support.whole import until


async def known(processes: Processes, seconds: float) -> dict[UUID, object]:
    """What a process answers of a person whose key another has destroyed meanwhile."""
    databases = processes.databases
    settings = Settings(data=processes.directory, key_cache_seconds=seconds)
    platform = Platform(settings, databases.url, databases.vault_url)
    (person,) = await processes.persons(1, platform.vault)
    await processes.execute("DELETE FROM vault.person_keys WHERE person_id = $1", person)
    found = await platform.vault.keys([person])
    await platform.close()
    return dict(found)


@pytest.mark.parametrize(("seconds", "remembered"), [(0, 0), (3600, 1)])
async def test_destroyed_key_is_remembered_no_longer_than_the_setting_says(
    processes: Processes, seconds: float, remembered: int
):
    assert len(await known(processes, seconds)) == remembered


async def test_key_wrapped_in_a_newer_epoch_by_another_process_is_found_at_once(
    processes: Processes,
):
    slow = processes.vault(refresh_seconds=3600)
    await processes.persons(1, slow)
    await processes.rotate()
    (person,) = await processes.persons(1)
    assert set(await slow.keys([person])) == {person}


async def test_key_that_nobody_asks_for_any_more_leaves_the_memory(processes: Processes):
    vault = Vault(processes.database(), processes.ring(), cache_seconds=0.1)
    await processes.persons(3, vault)
    assert len(vault._cache) == 3
    await until(lambda: _nothing_in(vault))
    assert await vault.keys([]) == {}


async def _nothing_in(vault: Vault) -> bool:
    return not vault._cache
