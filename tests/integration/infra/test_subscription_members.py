"""Several members, pausing and stopping, liveness: on either source, as in the suite."""

import asyncio
from collections.abc import Sequence

from infra.eventstore.events import StoredEvent
from infra.messaging.failures import PERSONS_BEFORE_PAUSE
from infra.messaging.kafka_client import _force
from infra.messaging.subscription import Subscription
from infra.postgres.transaction import Transaction
from infra.web.app import Service, create_app
from tests.support.sources import (
    FaultyMessageError,
    Gate,
    Handler,
    World,
    assert_once_and_in_order,
    lag_is,
    number_of,
    parked_are,
    paused,
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


async def test_two_members_share_the_work_and_one_outlives_the_other(either: World):
    options = {"session_seconds": 6} if either.kafka else {}
    first, second = either.subscription(**options), either.subscription(**options)
    killed = either.start(first)
    either.start(second)
    if either.kafka:
        await either.until(lambda: _share(first, second))
    everybody = persons(40)
    expected = await either.append(everybody, 5)
    await either.settled(expected)
    await kill(first, killed)
    expected += await either.append(everybody, 5)
    await either.settled(expected)
    await either.quiet(second)
    assert_once_and_in_order(await either.effects(), expected)


async def _share(*members: Subscription[StoredEvent]) -> bool:
    return [len(getattr(m.source, "_next", ())) for m in members] == [2, 2]


async def kill(member: Subscription[StoredEvent], task: asyncio.Task[None]) -> None:
    """End it as SIGKILL would: without a word to the group."""
    consumer = getattr(member.source, "_consumer", None)
    if consumer is not None:
        member.source._consumer = None
        consumer._closed = True
        await _force(consumer)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_member_that_lost_its_turn_and_still_writes_changes_nothing(either: World):
    expected = await either.append(persons(10), 5)
    zombie = either.subscription()
    await zombie.source.start(zombie)
    held = []
    while sum(len(b.messages) for b in held) < len(expected):
        held += await zombie.source.fetch(500, 0.05)
    await zombie.source.stop()
    other = either.subscription()
    either.start(other)
    await either.settled(expected)
    await either.quiet(other)
    standing = await either.standing()
    assert [await zombie._apply(batch) for batch in held] == [0] * len(held)
    assert_once_and_in_order(await either.effects(), expected)
    assert await either.standing() == standing


async def test_two_members_with_the_same_batch_at_once_apply_it_once(either: World):
    expected = await either.append(persons(10), 5)
    both = [either.subscription(), either.subscription()]
    held = []
    for member in both:
        await member.source.start(member)
        batches: list = []
        while sum(len(b.messages) for b in batches) < len(expected):
            batches += await member.source.fetch(500, 0.05)
        await member.source.stop()
        held.append(batches)

    async def apply(member: Subscription[StoredEvent], batches: list) -> int:
        return sum([await member._apply(batch) for batch in batches])

    counts = await asyncio.gather(*map(apply, both, held))
    assert sum(counts) == len(expected)
    assert_once_and_in_order(await either.effects(), expected)


async def test_handler_that_fails_for_everybody_pauses_instead_of_parking_all(either: World):
    everybody = persons(PERSONS_BEFORE_PAUSE * 4)
    expected = await either.append(everybody, 2)
    member = either.subscription(refusing(*[n for _, n in expected]))
    either.start(member)
    await either.until(lambda: paused(either))
    assert len(await either.parked()) < len(expected)
    member.handle = write_effects
    await member.replay()
    await set_pause(either, False)
    await either.until(lambda: _all_there(either, len(expected)))
    await member.replay()
    assert_once_and_in_order(await either.effects(), expected)


async def _all_there(either: World, count: int) -> bool:
    return len(await either.effects()) + len(await either.parked()) == count


async def test_messages_that_come_one_by_one_and_all_fail_pause_as_well(either: World):
    numbers = range(1, 3 * PERSONS_BEFORE_PAUSE)
    member = either.subscription(refusing(*numbers))
    either.start(member)
    for person in persons(PERSONS_BEFORE_PAUSE - 1):
        already = len(await either.parked())
        await either.append([person])
        await either.until(lambda already=already: parked_are(either, already + 1))
    await either.append(persons(1))
    await either.until(lambda: paused(either))
    assert len(await either.parked()) == PERSONS_BEFORE_PAUSE - 1


async def test_stopping_ends_an_idle_subscription(either: World):
    member = either.subscription()
    task = either.start(member)
    await either.settled(await either.append(persons(3)))
    member.stop()
    async with asyncio.timeout(10):
        await task


async def test_stopping_lets_the_handler_finish_and_commits_its_batch(either: World):
    entered, released = asyncio.Event(), asyncio.Event()

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        entered.set()
        await released.wait()
        await write_effects(events, tx)

    (person,) = persons(1)
    expected = await either.append([person])
    member = either.subscription(handle)
    task = either.start(member)
    await entered.wait()
    member.stop()
    released.set()
    async with asyncio.timeout(10):
        await task
    assert await either.effects() == expected


async def test_subscription_starts_without_a_database_and_outlives_its_loss(either: World):
    gate = Gate(either.databases.url)
    await gate.open()
    await gate.close()
    database = type(either.referrals)(gate.url, "referrals")
    member = either.subscription(database=database)
    either.start(member)
    expected = await either.append(persons(10), 3)
    await steps(either, member, 2)
    assert await either.effects() == []
    for _ in range(2):
        await gate.open()
        await either.settled(expected)
        await gate.close()
        expected += await either.append(persons(10), 3)
        await steps(either, member, 2)
    await gate.open()
    await either.settled(expected)
    await either.quiet(member)
    assert_once_and_in_order(await either.effects(), expected)
    assert await either.parked() == []
    await database.close()
    await gate.close()


async def test_lag_counts_what_was_not_read_and_falls_to_nothing(either: World):
    member = either.subscription()
    expected = await either.append(persons(10), 3)
    await member.source.start(member)
    await either.until(lambda: lag_is(member, len(expected)))
    await member.source.stop()
    either.start(member)
    await either.settled(expected)
    await either.until(lambda: lag_is(member, 0))


async def test_hanging_handler_is_seen_by_the_liveness_probe(either: World):
    entered, released = asyncio.Event(), asyncio.Event()

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        entered.set()
        await released.wait()
        await write_effects(events, tx)

    member = either.subscription(handle)
    database = either.databases.of("referrals")
    service = Service("referrals", create_app("t", "t"), database, [member], stuck_seconds=0.5)
    async with service.running():
        expected = await either.append(persons(1))
        await entered.wait()
        await either.until(lambda: _stuck(service, ["consumer"]))
        released.set()
        await either.until(lambda: _stuck(service, []))
        await either.settled(expected)


async def _stuck(service: Service, names: list[str]) -> bool:
    return service.stuck() == names
