"""The log's key ring: made once, renewed with an overlap, never forgotten."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.tlog.keyring import LogKeys, NoKeyError
from infra.tlog.note import ED25519, ML_DSA_44, Note, NoteError, open_checkpoint
from infra.tlog.policy import Policy
from tests.support.tlog import checkpoint

ORIGIN = "hub.example/log"
START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class Calendar:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Calendar:
    return Calendar()


def ring(
    directory: Path, clock: Calendar, origin: str = ORIGIN, ml_dsa: bool = False
) -> LogKeys:
    keys = LogKeys(directory, origin, clock)
    keys.ensure(ml_dsa=ml_dsa)
    return keys


def signed_by(keys: LogKeys) -> list[int]:
    """Which keys of the ring, by their number, sign a checkpoint now."""
    note = Note.parse(keys.sign(checkpoint(3, origin=keys.origin).body()))
    return [n for n, key in enumerate(keys.all()) if any(map(key.vkey.made, note.signatures))]


def test_the_first_run_makes_one_key_that_only_its_owner_reads(
    tmp_path: Path, clock: Calendar
) -> None:
    keys = ring(tmp_path, clock)
    (key,) = keys.all()
    assert (key.file, key.since, key.until) == ("log.key", START, None)
    assert (tmp_path / "log.key").stat().st_mode & 0o777 == 0o600
    assert keys.newest() == key.vkey == ring(tmp_path, clock).newest()
    secret = (tmp_path / "log.key").read_bytes()
    assert secret.hex() not in (tmp_path / "log-keys.json").read_text()


def test_without_a_first_run_nothing_is_signed_or_rotated(
    tmp_path: Path, clock: Calendar
) -> None:
    keys = LogKeys(tmp_path, ORIGIN, clock)
    for use in (keys.newest, lambda: keys.sign("x\n"), lambda: keys.rotate(DAY)):
        with pytest.raises(NoKeyError, match="no key yet"):
            use()
    assert keys.all() == []


def test_both_keys_sign_while_they_overlap_then_the_new_one_alone(
    tmp_path: Path, clock: Calendar
) -> None:
    keys = ring(tmp_path, clock)
    clock.now += DAY
    (new,) = keys.rotate(30 * DAY)
    assert [(k.since, k.until) for k in keys.all()] == [
        (START, START + 31 * DAY), (START + DAY, None)
    ]  # fmt: skip
    assert (keys.newest(), new.file) == (new.vkey, "log-2.key")
    assert signed_by(keys) == [0, 1]
    clock.now = START + 31 * DAY - timedelta(seconds=1)
    assert signed_by(keys) == [0, 1]
    clock.now += timedelta(seconds=1)
    assert signed_by(keys) == [1]
    assert len(keys.all()) == 2


def test_what_an_old_key_signed_stays_verifiable_with_it_alone(
    tmp_path: Path, clock: Calendar
) -> None:
    keys, state = ring(tmp_path, clock), checkpoint(3)
    first = keys.sign(state.body())
    keys.rotate(DAY)
    second = keys.sign(state.body())
    clock.now += 2 * DAY
    third = keys.sign(state.body())
    old, new = keys.vkeys()
    for note, holds, fails in (
        (first, [old], [new]),
        (second, [old, new], []),
        (third, [new], [old]),
    ):
        for vkey in holds:
            assert open_checkpoint(note, [vkey], ORIGIN) == state
        for vkey in fails:
            with pytest.raises(NoteError, match="no known key"):
                open_checkpoint(note, [vkey], ORIGIN)
        assert Policy.of_logs([old, new]).assess(note).met


def test_a_key_that_was_stolen_is_retired_at_once(tmp_path: Path, clock: Calendar) -> None:
    keys = ring(tmp_path, clock)
    keys.rotate(timedelta(0))
    assert signed_by(keys) == [1]


def test_a_second_rotation_does_not_prolong_the_first_key(
    tmp_path: Path, clock: Calendar
) -> None:
    keys = ring(tmp_path, clock)
    keys.rotate(5 * DAY)
    keys.rotate(9 * DAY)
    assert [k.until for k in keys.all()] == [START + 5 * DAY, START + 9 * DAY, None]
    assert [k.file for k in keys.all()] == ["log.key", "log-2.key", "log-3.key"]


def test_another_process_signs_with_a_new_key_without_a_restart(
    tmp_path: Path, clock: Calendar
) -> None:
    running = ring(tmp_path, clock)
    assert signed_by(running) == [0]
    LogKeys(tmp_path, ORIGIN, clock).rotate(DAY)
    assert signed_by(running) == [0, 1]


def test_a_rotation_stopped_before_it_was_written_changes_nothing(
    tmp_path: Path, clock: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ring(tmp_path, clock)
    before = keys.all()
    with monkeypatch.context() as patch:
        patch.setattr(LogKeys, "_write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            keys.rotate(DAY)
    assert keys.all() == before
    (new,) = keys.rotate(DAY)
    assert new.file == "log-2.key"


def test_a_post_quantum_key_is_added_rotated_and_ended(tmp_path: Path, clock: Calendar) -> None:
    plain = ring(tmp_path, clock).newest()
    clock.now += DAY
    keys = ring(tmp_path, clock, ml_dsa=True)
    assert [key.vkey.kind for key in keys.all()] == [ED25519, ML_DSA_44]
    assert (keys.newest(), signed_by(keys)) == (plain, [0, 1])
    assert [key.vkey.kind for key in keys.rotate(DAY)] == [ED25519, ML_DSA_44]
    assert signed_by(keys) == [0, 1, 2, 3]
    clock.now += DAY
    assert signed_by(keys) == [2, 3]
    ended = ring(tmp_path, clock)
    assert signed_by(ended) == [2]
    assert ended.all()[3].until == clock.now


def test_a_new_origin_has_keys_of_its_own_and_ends_the_old(
    tmp_path: Path, clock: Calendar
) -> None:
    old = ring(tmp_path, clock).newest()
    clock.now += DAY
    keys = ring(tmp_path, clock, "hub.example/log2")
    assert keys.newest().public != old.public
    assert [key.vkey for key in keys.all()] == [old, keys.newest()]
    assert keys.all()[0].until == clock.now
    assert (keys.vkeys(), signed_by(keys)) == ([keys.newest()], [1])


def test_a_lost_ring_is_made_again_from_the_secret_that_is_left(
    tmp_path: Path, clock: Calendar
) -> None:
    vkey = ring(tmp_path, clock).newest()
    (tmp_path / "log-keys.json").unlink()
    assert ring(tmp_path, clock).newest() == vkey
