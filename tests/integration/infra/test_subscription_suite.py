"""What a subscription promises, on either source: the same tests read a table and a topic."""

import asyncio
from collections.abc import Sequence

import pytest

from infra.eventstore.events import StoredEvent
from infra.eventstore.store import ConcurrencyError
from infra.postgres.transaction import Transaction
from tests.support.sources import (
    FaultyMessageError,
    Handler,
    World,
    assert_once_and_in_order,
    by_person,
    lag_is,
    number_of,
    parked_are,
    persons,
    set_pause,
    steps,
    write_effects,
)


def refusing(*numbers: int) -> Handler:
    """A handler that cannot digest the events of these numbers."""

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        await write_effects(events, tx)
        if any(number_of(event) in numbers for event in events):
            raise FaultyMessageError

    return handle


async def test_every_event_has_one_effect_in_order_per_person(either: World):
    member = either.subscription()
    either.start(member)
    everybody, expected = persons(50), []
    for rounds in (1, 7, 12):
        expected += await either.append(everybody, rounds)
    await either.settled(expected)
    await either.quiet(member)
    assert_once_and_in_order(await either.effects(), expected)
    assert await either.parked() == []


async def test_handler_that_meets_an_outage_leaves_nothing_and_is_asked_again(either: World):
    outages = [ConnectionError(), TimeoutError()]
    seen: list[int] = []

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        await write_effects(events, tx)
        if outages:
            seen.append(len(await either.effects()))
            raise outages.pop()

    expected = await either.append(persons(10), 2)
    member = either.subscription(handle)
    either.start(member)
    await either.settled(expected)
    await either.quiet(member)
    assert_once_and_in_order(await either.effects(), expected)
    assert seen == [0, 0]
    assert await either.parked() == []


async def test_somebody_faster_makes_the_handler_run_again_and_parks_nobody(either: World):
    conflicts = [ConcurrencyError(), ConcurrencyError()]

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        await write_effects(events, tx)
        if conflicts:
            raise conflicts.pop()

    expected = await either.append(persons(10), 2)
    member = either.subscription(handle)
    either.start(member)
    await either.settled(expected)
    await either.quiet(member)
    assert_once_and_in_order(await either.effects(), expected)
    assert await either.parked() == []


async def test_crash_between_handler_and_commit_repeats_the_batch_once(either: World):
    written, never = asyncio.Event(), asyncio.Event()

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        await write_effects(events, tx)
        written.set()
        await never.wait()

    expected = await either.append(persons(10), 3)
    crashed = either.start(either.subscription(handle))
    await written.wait()
    crashed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await crashed
    assert await either.effects() == []
    member = either.subscription()
    either.start(member)
    await either.settled(expected)
    await either.quiet(member)
    assert_once_and_in_order(await either.effects(), expected)


async def test_restarted_subscription_continues_where_it_stood(either: World):
    handled: list[int] = []

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        handled.extend(map(number_of, events))
        await write_effects(events, tx)

    first = either.subscription()
    either.start(first)
    before = await either.append(persons(10), 3)
    await either.settled(before)
    await either.quiet(first)
    after = await either.append(persons(10), 3)
    second = either.subscription(handle)
    either.start(second)
    await either.settled(before + after)
    await either.quiet(second)
    assert sorted(handled) == [n for _, n in after]


async def test_poison_parks_one_person_and_replay_catches_up_in_order(either: World):
    ill, *_ = people = persons(6)
    expected = await either.append(people, 4)
    own = [n for key, n in expected if key == str(ill)]
    member = either.subscription(refusing(own[1]))
    either.start(member)
    flowing = [e for e in expected if e[0] != str(ill) or e[1] == own[0]]
    await either.settled(flowing)
    later = await either.append(people)
    await either.settled(flowing + [e for e in later if e[0] != str(ill)])
    await either.until(lambda: parked_are(either, 4))
    waiting = await either.parked()
    assert [key for key, _ in waiting] == [str(ill)] * 4
    (error, *rest) = [
        row["error"] for row in await either.fetch("SELECT error FROM referrals.dead_letters")
    ]
    assert error == "FaultyMessageError"
    assert all("earlier" in text for text in rest)

    member.handle = write_effects
    assert await member.replay() == 0
    newest = await either.append(people)
    await either.settled([*expected, *later, *newest])
    assert await either.parked() == []


async def test_replay_of_what_is_still_poison_keeps_it_and_those_behind_it(either: World):
    ill, healed = people = persons(2)
    expected = await either.append(people, 3)
    first, second = (next(n for k, n in expected if k == str(p)) for p in people)
    member = either.subscription(refusing(first, second))
    either.start(member)
    await either.until(lambda: parked_are(either, 6))
    member.handle = refusing(first)
    assert await member.replay(str(healed)) == 0
    assert await member.replay() == 3
    assert by_person(await either.effects()) == by_person(
        [e for e in expected if e[0] == str(healed)]
    )
    attempts = await either.fetch("SELECT attempts FROM referrals.dead_letters ORDER BY id")
    assert [row["attempts"] for row in attempts] == [2, 1, 1]
    assert [key for key, _ in await either.parked()] == [str(ill)] * 3


async def test_replay_does_again_what_was_undone_by_somebody_faster(either: World):
    (ill,) = persons(1)
    expected = await either.append([ill], 2)
    member = either.subscription(refusing(1))
    either.start(member)
    await either.until(lambda: parked_are(either, 2))
    conflicts = [ConcurrencyError()]

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        await write_effects(events, tx)
        if number_of(events[0]) == 2 and conflicts:
            raise conflicts.pop()

    member.handle = handle
    assert await member.replay() == 0
    assert await either.effects() == expected


async def test_value_that_postgresql_refuses_is_poison_and_not_an_outage(either: World):
    ill, *_ = people = persons(4)
    expected = await either.append(people)

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        for event in events:
            if event.key == str(ill):
                object.__setattr__(event, "position", 2**70)
        await write_effects(events, tx)

    either.start(either.subscription(handle))
    await either.settled([e for e in expected if e[0] != str(ill)])
    await either.until(lambda: parked_are(either, 1))


async def test_paused_subscription_applies_nothing_until_it_is_let_go(either: World):
    member = either.subscription()
    either.start(member)
    before = await either.append(persons(5))
    await either.settled(before)
    await set_pause(either, True)
    after = await either.append(persons(5), 2)
    await steps(either, member, 20)
    assert len(await either.effects()) == len(before)
    await set_pause(either, False)
    await either.settled(before + after)


@pytest.mark.parametrize("by", ["itself", "another process"])
async def test_rewound_subscription_applies_everything_again_although_idle(
    either: World, by: str
):
    member = either.subscription()
    either.start(member)
    expected = await either.append(persons(10), 3)
    await either.settled(expected)
    await either.until(lambda: lag_is(member, 0))
    await either.fetch("TRUNCATE referrals.effects")
    await (member if by == "itself" else either.subscription()).rewind()
    await either.settled(expected)
    await either.quiet(member)
    assert_once_and_in_order(await either.effects(), expected)


async def test_rewinding_forgets_what_is_parked_because_it_comes_again(either: World):
    (ill,) = persons(1)
    expected = await either.append([ill], 3)
    member = either.subscription(refusing(2))
    either.start(member)
    await either.until(lambda: parked_are(either, 2))
    await either.fetch("TRUNCATE referrals.effects")
    member.handle = write_effects
    await member.rewind()
    await either.settled(expected)
    assert await either.parked() == []
