"""Group commit: who waits together is committed together, and answered only then."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from infra.postgres.group_commit import GroupCommit, OverloadedError, UnavailableError


class Ledger:
    """What a database would do: takes groups, may be held up, down, or choke on one item."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.down = False

    async def commit(self, items: Sequence[int]) -> list[int]:
        await self.open.wait()
        if self.down:
            raise ConnectionRefusedError
        if 13 in items:
            raise ValueError("13 cannot be written")
        self.groups.append(list(items))
        return [item * 10 for item in items]


@asynccontextmanager
async def running(ledger: Ledger, **bounds: float) -> AsyncIterator[GroupCommit[int, int]]:
    group: GroupCommit[int, int] = GroupCommit("test", ledger.commit, **bounds)  # type: ignore[arg-type]
    task = asyncio.create_task(group.run())
    yield group
    ledger.open.set()
    group.stop()
    await task


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_who_come_during_a_commit_share_the_next():
    ledger = Ledger()
    async with running(ledger) as group:
        ledger.open.clear()
        first = asyncio.create_task(group.submit([1]))
        await settled()
        others = [asyncio.create_task(group.submit([n])) for n in (2, 3, 4)]
        await settled()
        assert ledger.groups == []
        assert not first.done()
        ledger.open.set()
        assert [await t for t in (first, *others)] == [[10], [20], [30], [40]]
    assert ledger.groups == [[1], [2, 3, 4]]


async def test_crowd_is_taken_by_two_groups_at_a_time_and_no_more():
    inside, most = 0, 0

    async def commit(items: Sequence[int]) -> list[int]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await settled()
        inside -= 1
        return list(items)

    group: GroupCommit[int, int] = GroupCommit("test", commit, group_items=20)
    running = asyncio.create_task(group.run())
    answers = await asyncio.gather(*[group.submit([n]) for n in range(200)])
    group.stop()
    await running
    assert answers == [[n] for n in range(200)]
    assert most == 2


async def test_items_submitted_together_are_never_split():
    ledger = Ledger()
    async with running(ledger, group_items=4) as group:
        ledger.open.clear()
        sizes = [1, 3, 2, 2, 6, 1]
        tasks = []
        for size in sizes:
            tasks.append(asyncio.create_task(group.submit([size] * size)))
            await settled()
        ledger.open.set()
        answers = [await task for task in tasks]
    assert answers == [[size * 10] * size for size in sizes]
    assert [len(g) for g in ledger.groups] == [1, 3, 4, 6, 1]


async def test_full_queue_refuses_at_once_and_keeps_what_it_has():
    ledger = Ledger()
    async with running(ledger, waiting_items=3) as group:
        ledger.open.clear()
        held = asyncio.create_task(group.submit([0]))
        await settled()
        waiting = [asyncio.create_task(group.submit([n])) for n in (1, 2, 3)]
        await settled()
        with pytest.raises(OverloadedError):
            await group.submit([4])
        ledger.open.set()
        assert [await t for t in (held, *waiting)] == [[0], [10], [20], [30]]
        assert await group.submit([4]) == [40]


async def test_outage_answers_everybody_who_waits_and_is_survived():
    ledger = Ledger()
    async with running(ledger) as group:
        ledger.open.clear()
        ledger.down = True
        tasks = [asyncio.create_task(group.submit([1]))]
        await settled()
        tasks += [asyncio.create_task(group.submit([n])) for n in (2, 3)]
        await settled()
        ledger.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(r) for r in results] == [UnavailableError] * 3
        ledger.down = False
        assert await group.submit([4]) == [40]


async def test_commit_that_never_ends_is_given_up():
    ledger = Ledger()
    async with running(ledger, commit_seconds=0.01) as group:
        ledger.open.clear()
        with pytest.raises(UnavailableError):
            await group.submit([1])
        ledger.open.set()
        assert await group.submit([2]) == [20]


async def test_one_that_cannot_be_committed_fails_alone():
    ledger = Ledger()
    async with running(ledger) as group:
        ledger.open.clear()
        tasks = [asyncio.create_task(group.submit([0]))]
        await settled()
        tasks += [asyncio.create_task(group.submit([n])) for n in (1, 13, 2)]
        await settled()
        ledger.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(2), ValueError)
    assert results == [[0], [10], [20]]


async def test_caller_who_has_gone_is_not_committed_for():
    ledger = Ledger()
    async with running(ledger) as group:
        ledger.open.clear()
        held = asyncio.create_task(group.submit([1]))
        await settled()
        gone, stays = (asyncio.create_task(group.submit([n])) for n in (2, 3))
        await settled()
        gone.cancel()
        await settled()
        ledger.open.set()
        assert [await held, await stays] == [[10], [30]]
    assert ledger.groups == [[1], [3]]


async def test_stop_commits_what_waits_and_takes_nothing_more():
    ledger = Ledger()
    ledger.open.clear()
    group: GroupCommit[int, int] = GroupCommit("test", ledger.commit)
    running = asyncio.create_task(group.run())
    waiting = [asyncio.create_task(group.submit([n])) for n in (1, 2)]
    await settled()
    group.stop()
    with pytest.raises(OverloadedError):
        await group.submit([3])
    ledger.open.set()
    await running
    assert [await t for t in waiting] == [[10], [20]]


async def test_forced_end_leaves_nobody_waiting():
    ledger = Ledger()
    ledger.open.clear()
    group: GroupCommit[int, int] = GroupCommit("test", ledger.commit)
    running = asyncio.create_task(group.run())
    tasks = [asyncio.create_task(group.submit([1]))]
    await settled()
    tasks.append(asyncio.create_task(group.submit([2])))
    await settled()
    running.cancel()
    results = await asyncio.gather(*tasks, running, return_exceptions=True)
    assert [type(r) for r in results] == [
        UnavailableError, UnavailableError, asyncio.CancelledError,
    ]  # fmt: skip
