"""A new master key while the hub serves: nothing is lost, and old copies are dead."""

import asyncio
import contextlib
import itertools
import time
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from infra.keys.key_ring import StaleKeysError, epoch_of
from infra.keys.master_key import CannotUnsealError, FileProvider
from infra.keys.rewrap import ROWS
from infra.keys.rotation import NotRotatedError, Rotation, StillWrappedError
from infra.keys.transit import TransitProvider
from infra.postgres.database import Database
from tests.support.masterkeys import Processes
from tests.support.transit import Engine

INSERT = "INSERT INTO vault.person_keys (key_id, person_id, wrapped) VALUES ($1, $2, $3)"


async def epochs_of(processes: Processes) -> set[int]:
    """The epochs that persons' keys are wrapped under."""
    return {epoch_of(wrapped) for _, wrapped in (await processes.copy()).values()}


async def test_everything_opens_after_a_rotation_and_nothing_is_left_under_the_old_key(
    processes: Processes,
):
    people = await processes.persons(ROWS + 7)
    before = await processes.copy()
    await processes.rotate()
    assert await epochs_of(processes) == {2}
    keys = await processes.vault().keys(people)
    assert set(keys) == set(people)
    sealed = {p: key.seal(uuid4(), "t", b"x") for p, key in keys.items()}
    assert len(sealed) == len(before) == ROWS + 7


async def test_key_of_a_person_stays_the_same_under_a_new_master_key(processes: Processes):
    (person,) = await processes.persons(1)
    event = uuid4()
    (key,) = (await processes.vault().keys([person])).values()
    sealed = key.seal(event, "type", b"said")
    await processes.rotate()
    (again,) = (await processes.vault().keys([person])).values()
    assert again.unseal(event, "type", sealed) == b"said"


async def test_copy_from_before_is_dead_once_the_old_key_is_destroyed(processes: Processes):
    await processes.persons(20)
    copied = await processes.copy()
    rotation = await processes.rotate()
    keys = await processes.ring().keys()
    assert all(keys.unwrap(wrapped, bound) for bound, wrapped in copied.values())
    assert await rotation.destroy_old() == [1]
    for ring in (processes.ring(), rotation.ring):
        keys = await ring.keys()
        for bound, wrapped in copied.values():
            with pytest.raises(CannotUnsealError):
                keys.unwrap(wrapped, bound)
            # nor under the newer key, whatever the bytes say
            with pytest.raises(CannotUnsealError):
                keys.unwrap((2).to_bytes(4) + wrapped[4:], bound)


async def test_second_run_begins_no_further_epoch(processes: Processes):
    await processes.persons(3)
    await processes.rotate()
    rotation = await processes.rotate()
    assert [epoch.number for epoch in await rotation.ring.epochs()] == [1, 2]
    await rotation.destroy_old()
    assert await rotation.destroy_old() == []
    await processes.rotate()
    assert [e.number for e in (await rotation.status()).live] == [2, 3]


async def test_two_runs_at_the_same_time_are_one_rotation(processes: Processes):
    people = await processes.persons(ROWS * 2)
    await asyncio.gather(*(processes.rotate() for _ in range(3)))
    assert [e.number for e in await processes.ring().epochs()] == [1, 2]
    assert await epochs_of(processes) == {2}
    assert len(await processes.vault().keys(people)) == ROWS * 2


async def test_nothing_is_destroyed_before_a_rotation_has_ended(processes: Processes):
    await processes.persons(3)
    rotation = processes.rotation()
    assert await rotation.destroy_old() == []  # there is no other
    await rotation.ring.begin(after=1)
    with pytest.raises(NotRotatedError):
        await rotation.destroy_old()
    assert (processes.directory / "master-1.key").exists()


async def test_nothing_is_destroyed_while_a_row_needs_it(processes: Processes):
    await processes.persons(1)
    ((_, old),) = (await processes.copy()).values()
    rotation = await processes.rotate()
    await processes.execute("UPDATE vault.person_keys SET wrapped = $1", old)  # a restored copy
    with pytest.raises(StillWrappedError, match=r"vault\.person_keys: 1"):
        await rotation.destroy_old()
    assert (processes.directory / "master-1.key").exists()
    await processes.rotate()
    assert await rotation.destroy_old() == [1]


async def test_row_that_does_not_open_is_told_and_keeps_no_other_from_being_rewrapped(
    processes: Processes,
):
    people = await processes.persons(5)
    await processes.execute(
        "UPDATE vault.person_keys SET wrapped = substring(wrapped FROM 1 FOR 20) "
        "WHERE person_id = $1", people[2],
    )  # fmt: skip
    with pytest.raises(StillWrappedError, match=r"vault\.person_keys: 1"):
        await processes.rotate()
    status = await processes.rotation().status()
    assert status.counts == {"vault.person_keys": {1: 1, 2: 4}}


async def test_person_erased_during_a_rotation_does_not_come_back(processes: Processes):
    people = await processes.persons(ROWS * 2)
    rotation = processes.rotation()
    gone = sorted(people)[0]
    async for step in rotation.run():
        if step.done and step.total > 1:
            await processes.execute("DELETE FROM vault.person_keys WHERE person_id = $1", gone)
    assert set(await processes.copy()) == set(people) - {gone}
    assert await processes.vault().keys([gone]) == {}


async def test_hub_serves_and_loses_nobody_while_the_key_changes_and_the_old_one_goes(
    processes: Processes,
):
    lease = {"refresh_seconds": 0.05, "lease_seconds": 0.3}
    people: dict[UUID, bytes] = {}
    stop, event = asyncio.Event(), uuid4()

    async def desk() -> None:
        keeper = processes.vault(**lease)
        while not stop.is_set():
            with contextlib.suppress(StaleKeysError):  # it stood still: as after a 503, again
                made = await keeper.create(uuid4() for _ in range(3))
                people.update({p: key.seal(event, "t", p.bytes) for p, key in made.items()})
            old = list(itertools.islice(people, 5))
            assert set(await keeper.keys(old)) == set(old)
            await asyncio.sleep(0)

    desks = [asyncio.create_task(desk()) for _ in range(4)]
    for _ in range(2):
        rotation = await processes.rotate(lease_seconds=0.3)
        await rotation.destroy_old()
    stop.set()
    await asyncio.gather(*desks)
    keys = await processes.vault().keys(people)
    assert {p: keys[p].unseal(event, "t", sealed) for p, sealed in people.items()} == {
        p: p.bytes for p in people
    }
    assert len(people) > 50
    assert not (processes.directory / "master-2.key").exists()


async def test_writer_that_slept_over_a_rotation_commits_nothing(processes: Processes):
    """A process frozen between wrapping and storing must not leave a row of a dead epoch."""
    keys = await processes.ring(lease_seconds=60).keys()
    wrapped = keys.wrap(bytes(32), b"")
    await (await processes.rotate()).destroy_old()
    database = processes.database()

    async def store() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT, uuid4(), uuid4(), wrapped)
            keys._good_until = time.monotonic() - 1  # it slept for longer than the lease
            keys.check()

    with pytest.raises(StaleKeysError):
        await store()
    assert await processes.copy() == {}


async def test_writer_that_has_stored_and_not_committed_is_waited_for(processes: Processes):
    await processes.persons(2)
    keys = await processes.ring(lease_seconds=5).keys()
    person, key_id = uuid4(), uuid4()
    wrapped = keys.wrap(bytes(32), key_id.bytes + person.bytes)
    database = processes.database()
    async with database.transaction() as tx:
        await tx.execute(INSERT, key_id, person, wrapped)
        rotating = asyncio.create_task(processes.rotate())
        while not await _waits_for_a_lock(processes):
            await asyncio.sleep(0.02)
    await rotating
    assert await epochs_of(processes) == {2}
    assert set(await processes.vault().keys([person])) == {person}


async def _waits_for_a_lock(processes: Processes) -> bool:
    found = await processes.database().rows(
        "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'ShareLock' AND "
        "relation = 'vault.person_keys'::regclass"
    )
    return bool(found)


class Crash(BaseException):
    """kill -9, as far as one process can tell."""


class Crashing:
    """Ends a rotation at its n-th act: before or after a transaction, or a provider's call."""

    def __init__(self, at: int) -> None:
        self.left = at

    def act(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash

    def into(self, rotation: Rotation, monkeypatch: pytest.MonkeyPatch) -> None:
        begin = Database.transaction

        @asynccontextmanager
        async def transaction(database: Database) -> Any:
            self.act()
            async with begin(database) as tx:
                yield tx
                self.act()
            self.act()

        monkeypatch.setattr(Database, "transaction", transaction)
        (provider,) = rotation.ring._providers.values()
        for name in ("create", "destroy"):
            monkeypatch.setattr(provider, name, self._around(getattr(provider, name)))

    def _around(self, call: Any) -> Any:
        async def crashing(*given: Any) -> Any:
            self.act()
            answer = await call(*given)
            self.act()
            return answer

        return crashing


async def test_rotation_killed_at_any_act_is_completed_by_the_next_run(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
):
    people = await processes.persons(3)
    crashes, completed = 0, False
    for at in itertools.count():
        crashing, rotation = Crashing(at), processes.rotation(lease_seconds=0.05)
        with monkeypatch.context() as patch:
            crashing.into(rotation, patch)
            try:
                async for _ in rotation.run():
                    pass
                await rotation.destroy_old()
                completed = True
            except (Crash, StaleKeysError):  # one that stood still is as good as killed
                crashes += 1
        again = await processes.rotate(lease_seconds=0.2)
        assert set(await processes.vault().keys(people)) == set(people)
        await again.destroy_old()
        (live,) = (await again.status()).live
        assert await epochs_of(processes) == {live.number}
        files = {path.name for path in processes.directory.glob("master-*.key")}
        assert files == {f"master-{live.number}.key"}
        await processes.end()
        if completed:
            break
    assert crashes > 15


@pytest.mark.parametrize("way", ["into", "out of"])
async def test_one_rotation_moves_into_a_transit_engine_and_out_of_it(
    processes: Processes, transit_engine: Engine, way: str
):
    transit = transit_engine.transit(await transit_engine.new_key())
    both = [FileProvider(processes.directory), TransitProvider(transit)]
    before, after = ("file", "transit") if way == "into" else ("transit", "file")
    keeper = processes.vault(providers=both, new_keys=before)
    people = await processes.persons(4, keeper)
    copied = await processes.copy()
    rotation = await processes.rotate(providers=both, new_keys=after)
    await rotation.destroy_old()
    assert [e.provider for e in await rotation.ring.epochs()] == [before, after]
    fresh = processes.vault(providers=both, new_keys=after)
    assert set(await fresh.keys(people)) == set(people)
    keys = await fresh.master.keys()
    for bound, wrapped in copied.values():
        with pytest.raises(CannotUnsealError):
            keys.unwrap(wrapped, bound)
