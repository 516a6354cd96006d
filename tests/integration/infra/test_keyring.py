"""Master keys in memory: several processes on one vault agree, learn, forget, and refuse."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.keys.key_ring import Epoch, KeyRing, StaleKeysError, epoch_of, prefix
from infra.keys.master_key import CannotUnsealError, FileProvider, KeyUnavailableError
from infra.postgres.database import is_infrastructure
from tests.support.masterkeys import Processes

NEVER = 3600.0
Process = Callable[..., KeyRing]


@pytest.fixture
def process(processes: Processes) -> Process:
    return processes.ring


async def begin(process: Process) -> None:
    """A new epoch, by another process."""
    other = process()
    await other.begin(after=(await other.keys()).newest)


async def destroy(process: Process, number: int) -> None:
    other = process()
    (epoch,) = [epoch for epoch in await other.epochs() if epoch.number == number]
    await other.destroy(epoch)


async def test_what_one_process_wraps_another_opens(process: Process):
    wrapped = (await process().keys()).wrap(b"secret", b"bound")
    assert (await process().keys([wrapped])).unwrap(wrapped, b"bound") == b"secret"


async def test_processes_that_start_at_once_agree_on_the_first_key(process: Process):
    rings = [process() for _ in range(6)]
    found = await asyncio.gather(*(each.keys() for each in rings))
    assert {keys.newest for keys in found} == {1}
    wrapped = found[0].wrap(b"secret", b"")
    assert {keys.unwrap(wrapped, b"") for keys in found} == {b"secret"}
    assert len(await rings[0].epochs()) == 1


async def test_nothing_is_connected_nor_made_before_it_is_needed(processes: Processes):
    made = processes.ring()
    assert not (processes.directory / "master-1.key").exists()
    assert await made.epochs() == []


async def test_wrapped_bytes_say_their_epoch_and_sort_by_it(process: Process):
    first = (await process().keys()).wrap(b"secret", b"")
    await begin(process)
    second = (await process().keys()).wrap(b"secret", b"")
    assert (epoch_of(first), epoch_of(second)) == (1, 2)
    assert prefix(1) <= first < prefix(2) <= second < prefix(3) < prefix(256)


async def test_epoch_not_met_before_is_learnt_at_once(process: Process):
    slow = process(refresh_seconds=NEVER)
    await slow.keys()
    await begin(process)
    wrapped = (await process().keys()).wrap(b"secret", b"")
    assert (await slow.keys([wrapped])).unwrap(wrapped, b"") == b"secret"


async def test_new_epoch_is_learnt_within_the_refresh(process: Process):
    running = process(refresh_seconds=0)
    assert (await running.keys()).newest == 1
    await begin(process)
    assert (await running.keys()).newest == 2


async def test_epoch_that_nobody_began_opens_nothing(process: Process):
    running = process()
    strange = prefix(7) + bytes(40)
    with pytest.raises(CannotUnsealError):
        (await running.keys([strange])).unwrap(strange, b"")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    secret=st.binary(max_size=80),
    bound=st.binary(max_size=40),
    at=st.integers(0),
    bit=st.integers(0, 7),
)
async def test_any_changed_bit_or_other_binding_opens_nothing(
    loaded: KeyRing, secret: bytes, bound: bytes, at: int, bit: int
):
    keys = await loaded.keys()
    wrapped = keys.wrap(secret, bound)
    changed = bytearray(wrapped)
    changed[at % len(wrapped)] ^= 1 << bit
    assert keys.unwrap(wrapped, bound) == secret
    for text, binding in ((bytes(changed), bound), (wrapped, bound + b"x"), (wrapped[:9], b"")):
        with pytest.raises(CannotUnsealError):
            keys.unwrap(text, binding)


@pytest.fixture
async def loaded(process: Process) -> KeyRing:
    made = process(refresh_seconds=NEVER, lease_seconds=NEVER)
    await made.keys()
    return made


async def test_keys_loaded_too_long_ago_open_but_wrap_nothing(process: Process):
    wrapped = (await process().keys()).wrap(b"secret", b"")
    late = await process(lease_seconds=-1).keys()
    assert late.unwrap(wrapped, b"") == b"secret"
    for refused in (lambda: late.wrap(b"secret", b""), late.check):
        with pytest.raises(StaleKeysError) as failed:
            refused()
        assert is_infrastructure(failed.value)


async def test_vault_that_is_away_stops_no_unwrapping(
    process: Process, monkeypatch: pytest.MonkeyPatch
):
    running = process(refresh_seconds=0, lease_seconds=1)
    wrapped = (await running.keys()).wrap(b"secret", b"")

    async def away() -> list[Epoch]:
        raise ConnectionRefusedError

    monkeypatch.setattr(running, "epochs", away)
    await asyncio.sleep(1.1)
    keys = await running.keys()
    assert keys.unwrap(wrapped, b"") == b"secret"
    with pytest.raises(StaleKeysError):
        keys.wrap(b"secret", b"")
    monkeypatch.undo()
    assert (await running.keys()).wrap(b"secret", b"")


async def test_vault_that_is_away_from_the_start_is_tried_again(
    process: Process, monkeypatch: pytest.MonkeyPatch
):
    starting = process(refresh_seconds=0)

    async def away() -> list[Epoch]:
        raise ConnectionRefusedError

    monkeypatch.setattr(starting, "epochs", away)
    with pytest.raises(OSError):  # noqa: PT011 whatever the database raises
        await starting.keys()
    monkeypatch.undo()
    assert (await starting.keys()).newest == 1


async def test_many_callers_share_one_look_at_the_vault(
    process: Process, monkeypatch: pytest.MonkeyPatch
):
    running = process(refresh_seconds=NEVER)
    looked, look = 0, running.epochs

    async def counted() -> list[Epoch]:
        nonlocal looked
        looked += 1
        return await look()

    await process().keys()
    monkeypatch.setattr(running, "epochs", counted)
    await asyncio.gather(*(running.keys() for _ in range(50)))
    assert looked == 1


async def test_missing_key_stops_only_what_is_wrapped_under_it(
    process: Process, processes: Processes
):
    first = (await process().keys()).wrap(b"first", b"")
    await begin(process)
    file, aside = processes.directory / "master-1.key", processes.directory / "aside"
    file.rename(aside)
    running = process(refresh_seconds=0)
    keys = await running.keys()
    second = keys.wrap(b"second", b"")
    assert keys.unwrap(second, b"") == b"second"
    with pytest.raises(KeyUnavailableError, match="epoch 1"):  # and no erased person
        keys.unwrap(first, b"")
    aside.rename(file)
    assert (await running.keys()).unwrap(first, b"") == b"first"


async def test_without_the_newest_key_nothing_is_wrapped_under_an_older_one(
    process: Process, processes: Processes
):
    await begin(process)
    (processes.directory / "master-2.key").rename(processes.directory / "aside")
    with pytest.raises(KeyUnavailableError, match="epoch 2"):
        (await process().keys()).wrap(b"secret", b"")


async def test_destroyed_key_is_forgotten_by_a_running_process(
    process: Process, processes: Processes
):
    running = process(refresh_seconds=0)
    wrapped = (await running.keys()).wrap(b"secret", b"")
    await begin(process)
    await destroy(process, 1)
    assert not (processes.directory / "master-1.key").exists()
    with pytest.raises(CannotUnsealError, match="destroyed"):
        (await running.keys()).unwrap(wrapped, b"")


async def test_destroying_says_so_in_the_row_and_keeps_nothing_to_open_by(process: Process):
    await process().keys()
    await begin(process)
    await destroy(process, 1)
    first, second = await process().epochs()
    assert first.stored is None
    assert first.destroyed_at is not None
    assert second.destroyed_at is None
    await process().destroy(first)  # again: nothing to do
    assert (await process().epochs())[0] == first


async def test_index_key_of_another_hub_is_noticed_before_anything_is_kept(
    processes: Processes, tmp_path_factory: Any
):
    await processes.ring().keys()
    elsewhere: Path = tmp_path_factory.mktemp("elsewhere")
    providers = [FileProvider(processes.directory)]
    stranger = processes.ring(directory=elsewhere, providers=providers)
    with pytest.raises(KeyUnavailableError, match=r"index\.key"):
        await stranger.keys()


async def test_two_who_begin_an_epoch_begin_one(process: Process):
    await process().keys()
    await asyncio.gather(*(process().begin(after=1) for _ in range(4)))
    assert [epoch.number for epoch in await process().epochs()] == [1, 2]


async def test_nothing_secret_shows_in_a_repr(process: Process, processes: Processes):
    running = process()
    keys = await running.keys()
    shown = repr([running, keys, *await running.epochs()])
    for name in ("master-1.key", "index.key"):
        key = (processes.directory / name).read_bytes()
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown
