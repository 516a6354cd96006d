"""Whoever keeps master keys: the same suite for files and for a transit engine."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.base.files import read_or_create_secret
from infra.keys.master_key import FileProvider, IndexKey, KeyUnavailableError, Provider
from infra.keys.transit import TransitProvider
from infra.postgres.database import is_infrastructure
from tests.support.transit import Engine

Again = Callable[[], Provider]
"""The same provider, as another process would have it."""


@pytest.fixture(params=["file", "transit"])
async def again(
    request: pytest.FixtureRequest, tmp_path: Path, transit_engine: Engine
) -> Again:
    if request.param == "file":
        return lambda: FileProvider(tmp_path)
    transit = transit_engine.transit(await transit_engine.new_key())
    return lambda: TransitProvider(transit)


async def test_key_is_the_same_to_every_process(again: Again):
    stored = await again().create(1)
    key = await again().open(1, stored)
    assert len(key) == 32
    assert await again().open(1, stored) == key


async def test_each_epoch_has_a_key_of_its_own(again: Again):
    keys = [await again().open(n, await again().create(n)) for n in (1, 2, 3)]
    assert len(set(keys)) == 3


async def test_key_made_twice_because_of_a_crash_opens_by_the_last_answer(again: Again):
    await again().create(1)
    await again().create(2)
    stored = await again().create(2)
    assert len(await again().open(2, stored)) == 32


async def test_destroyed_key_is_opened_by_nobody_and_the_next_one_still_is(again: Again):
    first, second = await again().create(1), await again().create(2)
    key = await again().open(2, second)
    await again().destroy(1, first)
    with pytest.raises(KeyUnavailableError):
        await again().open(1, first)
    assert await again().open(2, second) == key


async def test_destroying_again_does_no_harm(again: Again):
    first, second = await again().create(1), await again().create(2)
    await again().destroy(1, first)
    await again().destroy(1, first)
    assert len(await again().open(2, second)) == 32


async def test_keys_are_destroyed_one_rotation_after_the_other(again: Again):
    stored = [await again().create(n) for n in (1, 2)]
    await again().destroy(1, stored[0])
    stored.append(await again().create(3))
    await again().destroy(2, stored[1])
    assert len(await again().open(3, stored[2])) == 32
    for epoch in (1, 2):
        with pytest.raises(KeyUnavailableError):
            await again().open(epoch, stored[epoch - 1])


async def test_what_is_stored_says_nothing_of_the_key(again: Again):
    stored = await again().create(1)
    key = await again().open(1, stored)
    for form in (key, key.hex().encode(), base64.b64encode(key)):
        assert form not in stored
        assert form.decode(errors="replace") not in repr(again())


@pytest.mark.parametrize("stored", [b"", b"\xff\xfe", b"vault:v1:AAAA", b"x" * 16])
async def test_garbage_in_the_row_opens_nothing(again: Again, stored: bytes):
    await again().create(1)
    with pytest.raises(KeyUnavailableError):
        await again().open(1, stored)


async def test_missing_key_is_waited_for_and_never_made_anew(tmp_path: Path):
    provider = FileProvider(tmp_path)
    stored = await provider.create(1)
    provider.path(1).rename(tmp_path / "elsewhere")
    with pytest.raises(KeyUnavailableError, match=r"master-1\.key") as failed:
        await provider.open(1, stored)
    assert is_infrastructure(failed.value)
    assert not provider.path(1).exists()


async def test_file_of_another_hub_is_not_taken_for_ours(tmp_path: Path):
    provider = FileProvider(tmp_path)
    stored = await provider.create(1)
    provider.path(1).write_bytes(bytes(32))
    with pytest.raises(KeyUnavailableError, match="not the key of this hub"):
        await provider.open(1, stored)


async def test_file_that_the_operator_laid_down_becomes_the_epochs_key(tmp_path: Path):
    (tmp_path / "master-2.key").write_bytes(bytes(range(32)))
    provider = FileProvider(tmp_path)
    assert await provider.open(2, await provider.create(2)) == bytes(range(32))


@pytest.mark.parametrize("content", [b"", bytes(31), bytes(33)])
async def test_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "master-1.key").write_bytes(content)
    (tmp_path / "index.key").write_bytes(content)
    with pytest.raises(KeyUnavailableError):
        await FileProvider(tmp_path).create(1)
    with pytest.raises(KeyUnavailableError):
        IndexKey(tmp_path / "index.key")


async def test_destroyed_file_is_overwritten_before_it_goes(tmp_path: Path):
    provider = FileProvider(tmp_path)
    stored = await provider.create(1)
    other_name = tmp_path / "same-inode"
    other_name.hardlink_to(provider.path(1))
    key = other_name.read_bytes()
    await provider.destroy(1, stored)
    assert not provider.path(1).exists()
    assert other_name.read_bytes() != key


async def test_index_key_gives_each_purpose_its_own_and_the_same_for_ever(tmp_path: Path):
    index = IndexKey(tmp_path / "index.key")
    assert index.derive("answers") == IndexKey(tmp_path / "index.key").derive("answers")
    assert index.derive("answers") != index.derive("person-index")
    assert (tmp_path / "index.key").stat().st_mode & 0o777 == 0o600
    assert read_or_create_secret(tmp_path / "index.key").hex() not in repr(index)
