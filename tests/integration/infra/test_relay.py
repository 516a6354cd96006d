"""The relay: a table's events on a topic, in order, none missing, whatever happens to it."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from infra.base.clock import system_clock
from infra.eventstore.events import NewEvent, StoredEvent
from infra.eventstore.store import Append, EventStore
from infra.messaging.cloudevents import from_kafka, to_kafka
from infra.messaging.kafka_client import topic_of
from infra.messaging.relay import BATCH_BYTES, Relay
from infra.messaging.sources.base import SourceBrokenError
from infra.messaging.sources.postgres import PostgresSource
from infra.postgres.transaction import Transaction
from tests.support.sources import World, persons

pytestmark = pytest.mark.kafka


async def records(hub: World) -> dict[int, list[ConsumerRecord]]:
    """All that the topic holds, per partition."""
    consumer = AIOKafkaConsumer(
        topic_of(hub.settings, "intake"),
        bootstrap_servers=hub.settings.kafka_bootstrap,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        found: dict[int, list[ConsumerRecord]] = {tp.partition: [] for tp in ends}
        while sum(map(len, found.values())) < sum(ends.values()):
            for tp, batch in (await consumer.getmany(timeout_ms=100)).items():
                found[tp.partition] += batch
        return found
    finally:
        await consumer.stop()


async def stored(hub: World) -> list[StoredEvent]:
    async with hub.intake.reading() as connection:
        return await EventStore("intake").read(connection, 0, 100_000)


async def relayed(hub: World) -> bool:
    rows = await hub.fetch(
        "SELECT next > (SELECT max(position) FROM intake.events) AS done "
        "FROM intake.offsets WHERE subscription = 'relay'"
    )
    return [row["done"] for row in rows] == [True]


def read(batch: Sequence[ConsumerRecord]) -> list[StoredEvent]:
    return [from_kafka(record.value, record.headers) for record in batch]


async def test_topic_receives_every_event_once_in_rising_positions(hub: World):
    relay = hub.relay()
    hub.start(relay)
    for rounds in (1, 5, 30):
        await hub.append(persons(40), rounds)
    await hub.until(lambda: relayed(hub))
    await hub.quiet(relay)
    found = {partition: read(batch) for partition, batch in (await records(hub)).items()}
    for events in found.values():
        assert [e.position for e in events] == sorted({e.position for e in events})
    everything = sorted((e for events in found.values() for e in events), key=_position)
    assert everything == await stored(hub)
    assert len(found) == hub.settings.topic_partitions
    assert all(found.values())


def _position(event: StoredEvent) -> int:
    return event.position


async def test_records_go_where_any_other_kafka_client_would_send_their_key(hub: World):
    relay = hub.relay()
    hub.start(relay)
    await hub.append(persons(50))
    await hub.until(lambda: relayed(hub))
    await hub.quiet(relay)
    found = await records(hub)
    async with AIOKafkaProducer(bootstrap_servers=hub.settings.kafka_bootstrap) as producer:
        topic = topic_of(hub.settings, "intake")
        for partition, batch in found.items():
            for record in batch:
                sent = await producer.send_and_wait(topic, b"", key=record.key)
                assert sent.partition == partition


async def test_events_larger_than_a_batch_travel_too(hub: World):
    large = "x" * (3 * BATCH_BYTES)
    person = uuid4()
    new = [
        NewEvent("fr.test.v1", f'"{size}"', system_clock(), person)
        for size in ("a", large, "b", large, "c")
    ]
    async with hub.intake.transaction() as tx:
        await EventStore("intake").append(tx, [Append("s-1", new)], system_clock())
    relay = hub.relay()
    hub.start(relay)
    await hub.until(lambda: relayed(hub))
    await hub.quiet(relay)
    (batch,) = [batch for batch in (await records(hub)).values() if batch]
    assert [e.data for e in read(batch)] == [e.data for e in new]


async def test_relay_that_dies_before_its_commit_publishes_again_and_loses_nothing(hub: World):
    relay = hub.relay()
    published, never = asyncio.Event(), asyncio.Event()
    publish = relay.handle

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        await publish(events, tx)
        published.set()
        await never.wait()

    relay.handle = handle
    await hub.append(persons(10), 3)
    crashed = hub.start(relay)
    await published.wait()
    crashed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await crashed
    again = hub.relay()
    hub.start(again)
    await hub.until(lambda: relayed(hub))
    await hub.quiet(again)
    found = [read(batch) for batch in (await records(hub)).values()]
    assert sorted(e.position for events in found for e in events) == sorted([*range(1, 31)] * 2)
    for events in found:
        positions = [e.position for e in events]
        half = len(positions) // 2
        assert positions[:half] == positions[half:] == sorted(positions[:half])


async def test_two_relays_of_one_service_keep_the_order(hub: World):
    both = [hub.relay(), hub.relay()]
    for relay in both:
        hub.start(relay)
    for _ in range(10):
        await hub.append(persons(20), 3)
    await hub.until(lambda: relayed(hub))
    await hub.quiet(*both)
    found = [read(batch) for batch in (await records(hub)).values()]
    assert sorted((e for events in found for e in events), key=_position) == await stored(hub)
    for events in found:
        assert [e.position for e in events] == sorted(e.position for e in events)


async def test_whatever_goes_wrong_is_tried_again_with_a_new_producer_and_parks_nothing(
    hub: World, monkeypatch: pytest.MonkeyPatch
):
    troubles = [ValueError(), KeyError(), RuntimeError()]
    used = set()

    def troubled(event: StoredEvent):  # type: ignore[no-untyped-def]
        used.add(relay.source._producer)  # type: ignore[attr-defined]
        if troubles:
            raise troubles.pop()
        return to_kafka(event)

    monkeypatch.setattr("infra.messaging.relay.to_kafka", troubled)
    relay = hub.relay()
    hub.start(relay)
    await hub.append(persons(5))
    await hub.until(lambda: relayed(hub))
    await hub.quiet(relay)
    assert len(used) == 4
    assert await hub.fetch("SELECT 1 FROM intake.dead_letters") == []
    assert sum(map(len, (await records(hub)).values())) == 5


async def test_error_of_a_relay_tells_its_class_and_none_of_its_text(hub: World):
    await hub.append(persons(1))
    relay = Relay(hub.settings, hub.intake, "intake", hub.platform.record_key())
    await relay.start(hub.relay())
    await relay.stop()
    async with hub.intake.transaction() as tx:
        with pytest.raises(SourceBrokenError, match=r"not published to .*: AttributeError"):
            await relay.publish(await stored(hub), tx)  # it has no producer any more


async def test_relay_reads_its_own_services_table_only(hub: World):
    assert isinstance(hub.relay().source, PostgresSource)
    assert hub.relay().source.name == "intake"
