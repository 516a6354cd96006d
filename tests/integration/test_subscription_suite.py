"""What a subscription promises, on either source: the same tests read a table and a topic."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.eventstore.events import Recorded
from infra.eventstore.store import ConcurrencyError
from infra.kafka import _force
from infra.subscription import PERSONS_BEFORE_PAUSE, Subscription, set_paused
from infra.web.app import Service, create_app
from tests.support.postgres import Databases
from tests.support.sources import (
    FaultyMessageError,
    Gate,
    Handler,
    World,
    assert_once_and_in_order,
    by_person,
    number_of,
    persons,
    world,
    write_effects,
)


@pytest.fixture(params=["table", pytest.param("topic", marks=pytest.mark.kafka)])
async def hub(
    request: pytest.FixtureRequest, databases: Databases, topic_prefix: str
) -> AsyncIterator[World]:
    bootstrap = None
    if request.param == "topic":
        bootstrap = request.getfixturevalue("broker").bootstrap
    async with world(databases, bootstrap, topic_prefix) as made:
        if made.kafka:
            made.start(made.relay())
        yield made


def refusing(*numbers: int) -> Handler:
    """A handler that cannot digest the events of these numbers."""

    async def handle(events: Sequence[Recorded], tx: AsyncConnection) -> None:
        await write_effects(events, tx)
        if any(number_of(event) in numbers for event in events):
            raise FaultyMessageError

    return handle


async def paused(hub: World) -> bool:
    rows = await hub.fetch("SELECT 1 FROM referrals.subscriptions WHERE paused")
    return bool(rows)


async def set_pause(hub: World, value: bool) -> None:
    async with hub.referrals.transaction() as tx:
        await set_paused(tx, "consumer", value)


async def steps(hub: World, member: Subscription[Recorded], count: int) -> None:
    """Let a running member go round so many times."""
    for _ in range(count):
        before = member.last_step
        await hub.until(lambda before=before: _moved(member, before))


async def _moved(member: Subscription[Recorded], before: float) -> bool:
    return member.last_step > before


async def test_every_event_has_one_effect_in_order_per_person(hub: World):
    member = hub.subscription()
    hub.start(member)
    everybody, expected = persons(50), []
    for rounds in (1, 7, 12):
        expected += await hub.append(everybody, rounds)
    await hub.settled(expected)
    await hub.quiet(member)
    assert_once_and_in_order(await hub.effects(), expected)
    assert await hub.parked() == []


async def test_handler_that_meets_an_outage_leaves_nothing_and_is_asked_again(hub: World):
    outages = [ConnectionError(), TimeoutError()]
    seen: list[int] = []

    async def handle(events: Sequence[Recorded], tx: AsyncConnection) -> None:
        await write_effects(events, tx)
        if outages:
            seen.append(len(await hub.effects()))
            raise outages.pop()

    expected = await hub.append(persons(10), 2)
    member = hub.subscription(handle)
    hub.start(member)
    await hub.settled(expected)
    await hub.quiet(member)
    assert_once_and_in_order(await hub.effects(), expected)
    assert seen == [0, 0]
    assert await hub.parked() == []


async def test_somebody_faster_makes_the_handler_run_again_and_parks_nobody(hub: World):
    conflicts = [ConcurrencyError(), ConcurrencyError()]

    async def handle(events: Sequence[Recorded], tx: AsyncConnection) -> None:
        await write_effects(events, tx)
        if conflicts:
            raise conflicts.pop()

    expected = await hub.append(persons(10), 2)
    member = hub.subscription(handle)
    hub.start(member)
    await hub.settled(expected)
    await hub.quiet(member)
    assert_once_and_in_order(await hub.effects(), expected)
    assert await hub.parked() == []


async def test_crash_between_handler_and_commit_repeats_the_batch_once(hub: World):
    written, never = asyncio.Event(), asyncio.Event()

    async def handle(events: Sequence[Recorded], tx: AsyncConnection) -> None:
        await write_effects(events, tx)
        written.set()
        await never.wait()

    expected = await hub.append(persons(10), 3)
    crashed = hub.start(hub.subscription(handle))
    await written.wait()
    crashed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await crashed
    assert await hub.effects() == []
    member = hub.subscription()
    hub.start(member)
    await hub.settled(expected)
    await hub.quiet(member)
    assert_once_and_in_order(await hub.effects(), expected)


async def test_restarted_subscription_continues_where_it_stood(hub: World):
    handled: list[int] = []

    async def handle(events: Sequence[Recorded], tx: AsyncConnection) -> None:
        handled.extend(map(number_of, events))
        await write_effects(events, tx)

    first = hub.subscription()
    hub.start(first)
    before = await hub.append(persons(10), 3)
    await hub.settled(before)
    await hub.quiet(first)
    after = await hub.append(persons(10), 3)
    second = hub.subscription(handle)
    hub.start(second)
    await hub.settled(before + after)
    await hub.quiet(second)
    assert sorted(handled) == [n for _, n in after]


async def test_poison_parks_one_person_and_replay_catches_up_in_order(hub: World):
    ill, *_ = people = persons(6)
    expected = await hub.append(people, 4)
    own = [n for key, n in expected if key == str(ill)]
    member = hub.subscription(refusing(own[1]))
    hub.start(member)
    flowing = [e for e in expected if e[0] != str(ill) or e[1] == own[0]]
    await hub.settled(flowing)
    later = await hub.append(people)
    await hub.settled(flowing + [e for e in later if e[0] != str(ill)])
    await hub.until(lambda: _parked_are(hub, 4))
    waiting = await hub.parked()
    assert [key for key, _ in waiting] == [str(ill)] * 4
    (error, *rest) = [
        row["error"] for row in await hub.fetch("SELECT error FROM referrals.dead_letters")
    ]
    assert error == "FaultyMessageError"
    assert all("earlier" in text for text in rest)

    member.handle = write_effects
    assert await member.replay() == 0
    newest = await hub.append(people)
    await hub.settled([*expected, *later, *newest])
    assert await hub.parked() == []


async def _parked_are(hub: World, count: int) -> bool:
    return len(await hub.parked()) == count


async def test_replay_of_what_is_still_poison_keeps_it_and_those_behind_it(hub: World):
    ill, healed = people = persons(2)
    expected = await hub.append(people, 3)
    first, second = (next(n for k, n in expected if k == str(p)) for p in people)
    member = hub.subscription(refusing(first, second))
    hub.start(member)
    await hub.until(lambda: _parked_are(hub, 6))
    member.handle = refusing(first)
    assert await member.replay(str(healed)) == 0
    assert await member.replay() == 3
    assert by_person(await hub.effects()) == by_person(
        [e for e in expected if e[0] == str(healed)]
    )
    attempts = await hub.fetch("SELECT attempts FROM referrals.dead_letters ORDER BY id")
    assert [row["attempts"] for row in attempts] == [2, 1, 1]
    assert [key for key, _ in await hub.parked()] == [str(ill)] * 3


async def test_replay_does_again_what_was_undone_by_somebody_faster(hub: World):
    (ill,) = persons(1)
    expected = await hub.append([ill], 2)
    member = hub.subscription(refusing(1))
    hub.start(member)
    await hub.until(lambda: _parked_are(hub, 2))
    conflicts = [ConcurrencyError()]

    async def handle(events: Sequence[Recorded], tx: AsyncConnection) -> None:
        await write_effects(events, tx)
        if number_of(events[0]) == 2 and conflicts:
            raise conflicts.pop()

    member.handle = handle
    assert await member.replay() == 0
    assert await hub.effects() == expected


async def test_value_that_postgresql_refuses_is_poison_and_not_an_outage(hub: World):
    ill, *_ = people = persons(4)
    expected = await hub.append(people)

    async def handle(events: Sequence[Recorded], tx: AsyncConnection) -> None:
        for event in events:
            if event.key == str(ill):
                object.__setattr__(event, "position", 2**70)
        await write_effects(events, tx)

    hub.start(hub.subscription(handle))
    await hub.settled([e for e in expected if e[0] != str(ill)])
    await hub.until(lambda: _parked_are(hub, 1))


async def test_paused_subscription_applies_nothing_until_it_is_let_go(hub: World):
    member = hub.subscription()
    hub.start(member)
    before = await hub.append(persons(5))
    await hub.settled(before)
    await set_pause(hub, True)
    after = await hub.append(persons(5), 2)
    await steps(hub, member, 20)
    assert len(await hub.effects()) == len(before)
    await set_pause(hub, False)
    await hub.settled(before + after)


@pytest.mark.parametrize("by", ["itself", "another process"])
async def test_rewound_subscription_applies_everything_again_although_idle(hub: World, by: str):
    member = hub.subscription()
    hub.start(member)
    expected = await hub.append(persons(10), 3)
    await hub.settled(expected)
    await hub.until(lambda: _lag_is(member, 0))
    await hub.fetch("TRUNCATE referrals.effects")
    await (member if by == "itself" else hub.subscription()).rewind()
    await hub.settled(expected)
    await hub.quiet(member)
    assert_once_and_in_order(await hub.effects(), expected)


async def test_rewinding_forgets_what_is_parked_because_it_comes_again(hub: World):
    (ill,) = persons(1)
    expected = await hub.append([ill], 3)
    member = hub.subscription(refusing(2))
    hub.start(member)
    await hub.until(lambda: _parked_are(hub, 2))
    await hub.fetch("TRUNCATE referrals.effects")
    member.handle = write_effects
    await member.rewind()
    await hub.settled(expected)
    assert await hub.parked() == []


async def test_two_members_share_the_work_and_one_outlives_the_other(hub: World):
    options = {"session_seconds": 6} if hub.kafka else {}
    first, second = hub.subscription(**options), hub.subscription(**options)
    killed = hub.start(first)
    hub.start(second)
    if hub.kafka:
        await hub.until(lambda: _share(first, second))
    everybody = persons(40)
    expected = await hub.append(everybody, 5)
    await hub.settled(expected)
    await kill(first, killed)
    expected += await hub.append(everybody, 5)
    await hub.settled(expected)
    await hub.quiet(second)
    assert_once_and_in_order(await hub.effects(), expected)


async def _share(*members: Subscription[Recorded]) -> bool:
    return [len(getattr(m.source, "_next", ())) for m in members] == [2, 2]


async def kill(member: Subscription[Recorded], task: asyncio.Task[None]) -> None:
    """End it as SIGKILL would: without a word to the group."""
    consumer = getattr(member.source, "_consumer", None)
    if consumer is not None:
        member.source._consumer = None
        consumer._closed = True
        await _force(consumer)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_member_that_lost_its_turn_and_still_writes_changes_nothing(hub: World):
    expected = await hub.append(persons(10), 5)
    zombie = hub.subscription()
    await zombie.source.start(zombie)
    held = []
    while sum(len(b.messages) for b in held) < len(expected):
        held += await zombie.source.fetch(500, 0.05)
    await zombie.source.stop()
    other = hub.subscription()
    hub.start(other)
    await hub.settled(expected)
    await hub.quiet(other)
    standing = await hub.standing()
    assert [await zombie._apply(batch) for batch in held] == [0] * len(held)
    assert_once_and_in_order(await hub.effects(), expected)
    assert await hub.standing() == standing


async def test_two_members_with_the_same_batch_at_once_apply_it_once(hub: World):
    expected = await hub.append(persons(10), 5)
    both = [hub.subscription(), hub.subscription()]
    held = []
    for member in both:
        await member.source.start(member)
        batches: list = []
        while sum(len(b.messages) for b in batches) < len(expected):
            batches += await member.source.fetch(500, 0.05)
        await member.source.stop()
        held.append(batches)

    async def apply(member: Subscription[Recorded], batches: list) -> int:
        return sum([await member._apply(batch) for batch in batches])

    counts = await asyncio.gather(*map(apply, both, held))
    assert sum(counts) == len(expected)
    assert_once_and_in_order(await hub.effects(), expected)


async def test_handler_that_fails_for_everybody_pauses_instead_of_parking_all(hub: World):
    everybody = persons(PERSONS_BEFORE_PAUSE * 4)
    expected = await hub.append(everybody, 2)
    member = hub.subscription(refusing(*[n for _, n in expected]))
    hub.start(member)
    await hub.until(lambda: paused(hub))
    assert len(await hub.parked()) < len(expected)
    member.handle = write_effects
    await member.replay()
    await set_pause(hub, False)
    await hub.until(lambda: _all_there(hub, len(expected)))
    await member.replay()
    assert_once_and_in_order(await hub.effects(), expected)


async def _all_there(hub: World, count: int) -> bool:
    return len(await hub.effects()) + len(await hub.parked()) == count


async def test_messages_that_come_one_by_one_and_all_fail_pause_as_well(hub: World):
    numbers = range(1, 3 * PERSONS_BEFORE_PAUSE)
    member = hub.subscription(refusing(*numbers))
    hub.start(member)
    for person in persons(PERSONS_BEFORE_PAUSE - 1):
        already = len(await hub.parked())
        await hub.append([person])
        await hub.until(lambda already=already: _parked_are(hub, already + 1))
    await hub.append(persons(1))
    await hub.until(lambda: paused(hub))
    assert len(await hub.parked()) == PERSONS_BEFORE_PAUSE - 1


async def test_stopping_ends_an_idle_subscription(hub: World):
    member = hub.subscription()
    task = hub.start(member)
    await hub.settled(await hub.append(persons(3)))
    member.stop()
    async with asyncio.timeout(10):
        await task


async def test_stopping_lets_the_handler_finish_and_commits_its_batch(hub: World):
    entered, released = asyncio.Event(), asyncio.Event()

    async def handle(events: Sequence[Recorded], tx: AsyncConnection) -> None:
        entered.set()
        await released.wait()
        await write_effects(events, tx)

    (person,) = persons(1)
    expected = await hub.append([person])
    member = hub.subscription(handle)
    task = hub.start(member)
    await entered.wait()
    member.stop()
    released.set()
    async with asyncio.timeout(10):
        await task
    assert await hub.effects() == expected


async def test_subscription_starts_without_a_database_and_outlives_its_loss(hub: World):
    gate = Gate(hub.databases.url)
    await gate.open()
    await gate.close()
    database = type(hub.referrals)(gate.url, "referrals")
    member = hub.subscription(database=database)
    hub.start(member)
    expected = await hub.append(persons(10), 3)
    await steps(hub, member, 2)
    assert await hub.effects() == []
    for _ in range(2):
        await gate.open()
        await hub.settled(expected)
        await gate.close()
        expected += await hub.append(persons(10), 3)
        await steps(hub, member, 2)
    await gate.open()
    await hub.settled(expected)
    await hub.quiet(member)
    assert_once_and_in_order(await hub.effects(), expected)
    assert await hub.parked() == []
    await database.close()
    await gate.close()


async def test_lag_counts_what_was_not_read_and_falls_to_nothing(hub: World):
    member = hub.subscription()
    expected = await hub.append(persons(10), 3)
    await member.source.start(member)
    await hub.until(lambda: _lag_is(member, len(expected)))
    await member.source.stop()
    hub.start(member)
    await hub.settled(expected)
    await hub.until(lambda: _lag_is(member, 0))


async def _lag_is(member: Subscription[Recorded], expected: int) -> bool:
    try:
        return await member.lag() == expected
    except ConnectionError:  # not connected yet
        return False


async def test_hanging_handler_is_seen_by_the_liveness_probe(hub: World):
    entered, released = asyncio.Event(), asyncio.Event()

    async def handle(events: Sequence[Recorded], tx: AsyncConnection) -> None:
        entered.set()
        await released.wait()
        await write_effects(events, tx)

    member = hub.subscription(handle)
    database = hub.databases.of("referrals")
    service = Service("referrals", create_app("t", "t"), database, [member], stuck_seconds=0.5)
    async with service.running():
        expected = await hub.append(persons(1))
        await entered.wait()
        await hub.until(lambda: _stuck(service, ["consumer"]))
        released.set()
        await hub.until(lambda: _stuck(service, []))
        await hub.settled(expected)


async def _stuck(service: Service, names: list[str]) -> bool:
    return service.stuck() == names
