"""What the system refuses is told with what to do about it, and where."""

import errno
from pathlib import Path

import pytest

from infra.base.repairable import Repairable
from infra.base.settings import SettingsError, load_settings
from infra.postgres.embedded import EmbeddedPostgres, _give
from services.hub.terminal import repair_of


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EADDRINUSE, "another --port"),
        (errno.EADDRNOTAVAIL, "another --host"),
        (errno.ENOSPC, "the disk is full (/data/log): free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "a --data that may be written"),
        (errno.EACCES, "the user lacks the right (/data/log)"),
        (errno.EPERM, "run it as the hub's owner"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "aiguillage doctor"),
    ],
)
def test_what_the_system_refuses_names_its_repair(number: int, words: str):
    assert words in repair_of(OSError(number, "no", "/data/log"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "not a s3cret"),
        ("DATABASE_URL", "postgresql://me:s3cret@host:port/x"),
        ("VAULT_URL", "mysql://me:s3cret@host/x"),
        ("PORT", "s3cret"),
        ("TOPIC_PARTITIONS", "s3cret"),
    ],
)
def test_a_setting_that_cannot_be_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(f"AIGUILLAGE_{name}", value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert f"AIGUILLAGE_{name}: " in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql:///x?host=%2Ftmp", "postgres://me@[::1]:5432/x", "postgresql+asyncpg://h/x"],
)
def test_an_address_of_a_database_is_taken_as_its_tools_take_it(
    monkeypatch: pytest.MonkeyPatch, url: str
):
    monkeypatch.setenv("AIGUILLAGE_DATABASE_URL", url)
    assert load_settings().database_url == url


def test_a_place_where_no_database_can_be_made_names_its_repair(tmp_path: Path):
    data = tmp_path / "data"
    (data / "postgresql").mkdir(parents=True)
    (data / "postgresql" / "somebody's").touch()
    _give(data / "postgresql")
    with pytest.raises(Repairable) as raised:
        EmbeddedPostgres(data).start()
    assert "no database could be made" in str(raised.value)
    assert "disk has room" in raised.value.repair
