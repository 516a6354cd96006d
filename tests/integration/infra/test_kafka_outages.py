"""A broker that is absent, killed, or mute: nothing is lost, nobody restarts anything."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from infra.messaging.subscription import RETRIES
from services.hub.demo.kafka_broker import JarBroker, NoBroker
from tests.support.kafka import skip_if_asked
from tests.support.sources import World, assert_once_and_in_order, persons

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JarBroker]:
    """A broker of our own, to be killed."""
    skip_if_asked()
    try:
        broker = JarBroker.start(tmp_path_factory.mktemp("mortal"))
    except NoBroker as absent:
        pytest.fail(f"{absent}\nAIGUILLAGE_TEST_SKIP_KAFKA=1 skips.", pytrace=False)
    with broker:
        yield broker


@pytest.fixture
def bootstrap(mortal: JarBroker) -> str:
    return mortal.bootstrap


@pytest.fixture
async def hub(
    mortal: JarBroker, hub: World, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    monkeypatch.setattr("infra.messaging.relay.SEND_SECONDS", 3.0)  # only to spare time
    yield hub
    if not mortal._alive():
        await asyncio.to_thread(mortal.restart)


def retries(name: str) -> float:
    return RETRIES.labels(name)._value.get()


async def tried_again(hub: World, name: str, times: int = 1) -> None:
    """Wait until a subscription of that name has met so many more errors."""
    before = retries(name)
    await hub.until(lambda: _true(lambda: retries(name) >= before + times))


async def _true(condition: Callable[[], bool]) -> bool:
    return condition()


async def test_hub_starts_without_a_broker_and_works_when_it_comes(
    hub: World, mortal: JarBroker
):
    await asyncio.to_thread(mortal.kill)
    relay, member = hub.relay(), hub.subscription()
    hub.start(relay)
    hub.start(member)
    expected = await hub.append(persons(10), 3)
    await tried_again(hub, "relay", 2)
    await tried_again(hub, "consumer", 2)
    with pytest.raises(ConnectionError):
        await member.lag()
    await asyncio.to_thread(mortal.restart)
    await hub.settled(expected)
    await hub.quiet(relay, member)
    assert_once_and_in_order(await hub.effects(), expected)
    assert await hub.parked() == []
    assert await hub.fetch("SELECT 1 FROM intake.dead_letters") == []


async def test_broker_killed_twice_under_load_loses_and_doubles_nothing(
    hub: World, mortal: JarBroker
):
    relay, member = hub.relay(), hub.subscription()
    hub.start(relay)
    hub.start(member)
    everybody = persons(50)
    expected = await hub.append(everybody, 2)
    await hub.settled(expected)
    for _ in range(2):
        expected += await hub.append(everybody, 10)
        await asyncio.to_thread(mortal.kill)
        for _ in range(5):
            expected += await hub.append(everybody, 2)
        await tried_again(hub, "relay")
        await asyncio.to_thread(mortal.restart)
        expected += await hub.append(everybody, 2)
        await hub.settled(expected)
    await hub.quiet(relay, member)
    assert_once_and_in_order(await hub.effects(), expected)
    assert await hub.parked() == []


async def test_stopping_is_bounded_although_the_broker_is_gone(hub: World, mortal: JarBroker):
    relay, member = hub.relay(), hub.subscription()
    tasks = [hub.start(relay), hub.start(member)]
    await hub.settled(await hub.append(persons(10)))
    await asyncio.to_thread(mortal.kill)
    await hub.append(persons(10))
    member.stop()
    await tried_again(hub, "relay")
    relay.stop()
    async with asyncio.timeout(40):
        await asyncio.gather(*tasks)


async def test_cancelling_a_relay_that_waits_for_a_dead_broker_ends_it(
    hub: World, mortal: JarBroker
):
    relay = hub.relay()
    task = hub.start(relay)
    first = await hub.append(persons(3))
    await hub.until(lambda: _relayed(hub, len(first)))
    await asyncio.to_thread(mortal.kill)
    sending = asyncio.Event()
    publish = relay.handle

    async def handle(*given: object) -> None:
        sending.set()
        await publish(*given)  # type: ignore[arg-type]

    relay.handle = handle  # type: ignore[assignment]
    await hub.append(persons(3))
    await sending.wait()
    task.cancel()
    async with asyncio.timeout(40):
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def _relayed(hub: World, position: int) -> bool:
    rows = await hub.fetch("SELECT position FROM intake.offsets WHERE subscription = 'relay'")
    return [row["position"] for row in rows] == [position]


async def test_mute_broker_makes_the_reader_begin_anew_until_it_speaks(
    hub: World, mortal: JarBroker
):
    relay, member = hub.relay(), hub.subscription()
    member.source.silent_seconds = 1  # type: ignore[attr-defined]
    hub.start(relay)
    hub.start(member)
    expected = await hub.append(persons(10))
    await hub.settled(expected)
    process = mortal._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        expected += await hub.append(persons(10))
        await tried_again(hub, "consumer")
    finally:
        process.send_signal(signal.SIGCONT)
    await hub.settled(expected)
    await hub.quiet(relay, member)
    assert_once_and_in_order(await hub.effects(), expected)


async def test_reader_that_wants_to_rejoin_its_group_and_does_not_begins_anew(hub: World):
    relay, member = hub.relay(), hub.subscription()
    hub.start(relay)
    hub.start(member)
    expected = await hub.append(persons(10))
    await hub.settled(expected)
    member.source.silent_seconds = 0.5  # type: ignore[attr-defined]
    stuck = member.source._consumer._coordinator  # type: ignore[attr-defined]

    async def never() -> None:
        await asyncio.Event().wait()

    stuck.ensure_coordinator_known = never
    stuck.request_rejoin()
    await tried_again(hub, "consumer")
    expected += await hub.append(persons(10))
    await hub.settled(expected)
    await hub.quiet(relay, member)
    assert_once_and_in_order(await hub.effects(), expected)
