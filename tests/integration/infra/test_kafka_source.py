"""Our topics on a real Kafka: what is particular to them beside the subscription suite."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from contracts.registry import SERVICES
from infra.base.settings import Settings
from infra.eventstore.events import StoredEvent
from infra.eventstore.upcast import forget_upcaster, register_upcaster
from infra.messaging.cloudevents import to_kafka
from infra.messaging.kafka_client import MAX_PUBLIC_BYTES, close, public_topic_of, topic_of
from infra.messaging.sources.base import FOREIGN, ForeignRecord
from infra.messaging.sources.consumer import RecordsGoneError
from infra.messaging.sources.postgres import PostgresSource
from infra.messaging.sources.public import public_source
from infra.messaging.subscription import Subscription
from infra.messaging.topics import create_topics
from infra.postgres.transaction import Transaction
from tests.support.sources import (
    EVENT_TYPE,
    World,
    assert_once_and_in_order,
    lag_is,
    persons,
    write_effects,
)

pytestmark = pytest.mark.kafka
CANARY = "Zébulon-Canari"


@pytest.fixture
async def hub(hub: World) -> World:
    await create_topics(hub.settings)
    return hub


@asynccontextmanager
async def producing(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """Somebody who produces to our topics; a transaction is open around what they do."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap, transactional_id=f"test-{uuid4()}"
    )
    await producer.start()
    try:
        yield producer
    finally:
        await close(producer)


@asynccontextmanager
async def administering(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def copy(hub: World) -> None:
    """Let a relay run until the topic has all of the table."""
    relay = hub.relay()
    hub.start(relay)
    (head,) = await hub.fetch("SELECT max(position) AS position FROM intake.events")
    await hub.until(lambda: _relayed(hub, head["position"] + 1))
    await hub.quiet(relay)


async def _relayed(hub: World, following: int) -> bool:
    rows = await hub.fetch("SELECT next FROM intake.offsets WHERE subscription = 'relay'")
    return [row["next"] for row in rows] == [following]


async def set_relay_back(hub: World, following: int) -> None:
    """As if what it published from there on had not been committed."""
    await hub.fetch(
        "UPDATE intake.offsets SET next = $1::bigint, position = $1::bigint - 1 "
        "WHERE subscription = 'relay'",
        following,
    )


@pytest.mark.parametrize("read_between", [True, False])
async def test_what_a_crashed_relay_publishes_again_is_dropped(hub: World, read_between: bool):
    member = hub.subscription()
    expected = await hub.append(persons(10), 5)
    await copy(hub)
    if read_between:
        hub.start(member)
        await hub.settled(expected)
    await set_relay_back(hub, 20)
    await copy(hub)
    await set_relay_back(hub, 1)
    expected += await hub.append(persons(10), 2)
    await copy(hub)
    if not read_between:
        hub.start(member)
    await hub.settled(expected)
    await hub.quiet(member)
    assert_once_and_in_order(await hub.effects(), expected)
    published = 50 + 31 + 70
    assert sum(following for following, _ in await hub.standing()) == published


async def test_garbage_on_the_topic_is_parked_with_its_reason_and_stops_nobody(hub: World):
    everybody = persons(10)
    expected = await hub.append(everybody)
    await copy(hub)
    rows = await hub.fetch("SELECT max(position) FROM intake.events")
    async with hub.referrals.reading() as connection:
        (stored, *_) = await PostgresSource(hub.referrals, "intake")._store.read(
            connection, 0, rows[0][0]
        )
    key, value, headers = to_kafka(stored)
    without_id = [(n, v) for n, v in headers if n != "ce_id"]
    foreign = [(n, b"urn:aiguillage:audit" if n == "ce_source" else v) for n, v in headers]
    bad = [
        (b"key", None, []),
        (CANARY.encode(), CANARY.encode(), [("ce_id", CANARY.encode())]),
        (b"\xff\x00", b"\xff", [("ce_source", b"\xff")]),
        (key, value, without_id),
        (key, value, foreign),
    ]
    async with producing(hub.settings) as producer, producer.transaction():
        for bad_key, bad_value, bad_headers in bad:
            await producer.send(
                topic_of(hub.settings, "intake"),
                bad_value, key=bad_key, headers=bad_headers, partition=0,
            )  # fmt: skip
    expected += await hub.append(everybody)
    await copy(hub)
    member = hub.subscription()
    hub.start(member)
    await hub.settled(expected)
    await hub.quiet(member)
    parked = await hub.fetch("SELECT * FROM referrals.dead_letters ORDER BY id")
    assert {row["error"] for row in parked} == {"without a code of this hub"}
    (alarm,) = await hub.fetch("SELECT * FROM referrals.alarms")
    assert (alarm["kind"], alarm["count"]) == (FOREIGN, len(bad))
    assert alarm["subject"] == topic_of(hub.settings, "intake")
    assert len({row["key"] for row in parked}) == len(bad)
    assert not any(
        CANARY in str(dict(row)) or CANARY.encode() in row["record"] for row in parked
    )
    assert await member.replay() == len(bad)


async def test_records_of_an_aborted_transaction_are_never_seen(hub: World):
    expected = await hub.append(persons(4))
    await copy(hub)
    topic = topic_of(hub.settings, "intake")
    async with producing(hub.settings) as producer:
        for aborted in (True, False):
            await producer.begin_transaction()
            for partition in range(hub.settings.topic_partitions):
                await producer.send_and_wait(topic, b"garbage", partition=partition)
            await (producer.abort_transaction() if aborted else producer.commit_transaction())
    expected += await hub.append(persons(4))
    await copy(hub)
    member = hub.subscription()
    hub.start(member)
    await hub.settled(expected)
    await hub.quiet(member)
    assert len(await hub.parked()) == hub.settings.topic_partitions


async def test_topics_are_created_once_ours_for_ever_the_public_one_for_hours(hub: World):
    await create_topics(hub.settings)
    public = public_topic_of(hub.settings)
    names = [*(topic_of(hub.settings, service) for service in SERVICES), public]
    async with administering(hub.settings) as admin:
        described = await admin.describe_topics(names)
        partitions = {found["topic"]: len(found["partitions"]) for found in described}
        assert partitions == dict.fromkeys(names, hub.settings.topic_partitions)
        found = [await _config(admin, name) for name in (names[0], public)]
    ours, theirs = found
    assert (ours["retention.ms"], ours["retention.bytes"]) == ("-1", "-1")
    assert int(theirs["max.message.bytes"]) - MAX_PUBLIC_BYTES == 1024
    assert int(theirs["retention.ms"]) + int(theirs["segment.ms"]) == 6 * 3_600_000
    assert theirs["message.timestamp.type"] == "LogAppendTime"
    assert {ours["cleanup.policy"], theirs["cleanup.policy"]} == {"delete"}


async def _config(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {name: value for name, value, *_ in answer.resources[0][4]}


async def delete_first_records(hub: World, topic: str, count: int) -> None:
    """What retention does, at once."""
    async with administering(hub.settings) as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(count)})


async def forever(member: Subscription[StoredEvent]) -> None:
    """Step until it fails: at first, partitions are not shared out yet."""
    while True:
        await member.step()


async def test_gap_in_one_of_our_topics_stops_the_reader_and_is_not_skipped(hub: World):
    (person,) = persons(1)
    await hub.append([person], 9)
    await copy(hub)
    async with administering(hub.settings) as admin:
        for partition in range(hub.settings.topic_partitions):
            place = TopicPartition(topic_of(hub.settings, "intake"), partition)
            await admin.delete_records({place: RecordsToDelete(-1)})
    member = hub.subscription()
    await member.source.start(member)
    with pytest.raises(RecordsGoneError, match="begins at 9, not at 0"):
        await forever(member)
    await member.source.stop()
    assert await hub.effects() == []


class Municipal:
    """A subscription to what strangers produce."""

    def __init__(self, hub: World) -> None:
        self.seen: list[ForeignRecord] = []
        self.member: Subscription[ForeignRecord] = Subscription(
            "public",
            hub.referrals,
            public_source(hub.settings, "public"),
            self.handle,
            poll_seconds=0.05,
        )

    async def handle(self, records: Sequence[ForeignRecord], tx: Transaction) -> None:
        if any(record.value == b"poison" for record in records):
            raise ValueError(CANARY)
        self.seen += records

    async def has_seen(self, count: int) -> bool:
        return len(self.seen) == count


async def produce(hub: World, *values: bytes | None, key: bytes = CANARY.encode()) -> None:
    topic = public_topic_of(hub.settings)
    async with producing(hub.settings) as producer, producer.transaction():
        for value in values:
            await producer.send(topic, value, key=key, headers=[("a", b"1")], partition=0)


async def test_strangers_records_arrive_whole_and_keep_nothing_personal_when_parked(hub: World):
    municipal = Municipal(hub)
    task = hub.start(municipal.member)  # type: ignore[arg-type]
    await produce(hub, b"one", None, b"poison", b"two")
    await hub.until(lambda: municipal.has_seen(3))
    await hub.until(lambda: _nothing_to_read(municipal))
    municipal.member.stop()
    await task
    assert [record.value for record in municipal.seen] == [b"one", None, b"two"]
    assert municipal.seen[0].headers == (("a", b"1"),)
    (parked,) = await hub.fetch("SELECT * FROM referrals.dead_letters")
    assert parked["error"] == "ValueError"
    assert parked["key"] == "0-2"
    assert CANARY not in str(dict(parked))
    assert CANARY.encode() not in parked["record"]
    assert await municipal.member.replay() == 1


async def _nothing_to_read(municipal: Municipal) -> bool:
    return await municipal.member.lag() == 0


async def test_public_topic_that_forgot_what_was_not_read_is_read_from_where_it_begins(
    hub: World,
):
    municipal = Municipal(hub)
    await produce(hub, b"one", b"two", b"three", b"four")
    await delete_first_records(hub, public_topic_of(hub.settings), 2)
    hub.start(municipal.member)  # type: ignore[arg-type]
    await hub.until(lambda: municipal.has_seen(2))
    assert [record.value for record in municipal.seen] == [b"three", b"four"]
    assert await _gone(hub) == [(2, "gone before they were read: records from 0 to 1")]
    municipal.seen.clear()
    await municipal.member.rewind()
    await hub.until(lambda: municipal.has_seen(2))


async def test_what_retention_took_is_counted_once_and_stays_an_alarm(hub: World):
    """Over restarts, until somebody takes note of it; what goes later counts anew."""
    municipal = Municipal(hub)
    await produce(hub, b"one", b"two", b"three")
    await delete_first_records(hub, public_topic_of(hub.settings), 2)
    for _ in range(2):
        again = Municipal(hub)
        task = hub.start(again.member)  # type: ignore[arg-type]
        await hub.until(lambda again=again: lag_is(again.member, 0))
        again.member.stop()
        await task
    assert await _gone(hub) == [(2, "gone before they were read: records from 0 to 1")]
    await produce(hub, b"four", b"five")
    await delete_first_records(hub, public_topic_of(hub.settings), 5)
    hub.start(municipal.member)  # type: ignore[arg-type]
    await hub.until(lambda: municipal.has_seen(1))
    ((count, detail),) = await _gone(hub)
    assert (count, detail.endswith(" to 4")) == (3, True)


async def _gone(hub: World) -> list[tuple[int, str]]:
    rows = await hub.fetch(
        "SELECT count, detail FROM referrals.alarms "
        "WHERE kind = 'records-gone' AND subject = $1",
        f"{public_topic_of(hub.settings)} 0",
    )
    return [tuple(row) for row in rows]


async def test_subscription_that_moves_from_the_table_to_the_topic_doubles_nothing(hub: World):
    everybody = persons(10)
    expected = await hub.append(everybody, 3)
    embedded = Subscription(
        "consumer", hub.referrals, PostgresSource(hub.referrals, "intake"), write_effects
    )
    hub.start(embedded)
    await hub.settled(expected)
    await hub.quiet(embedded)
    expected += await hub.append(everybody, 3)
    await copy(hub)
    member = hub.subscription()
    hub.start(member)
    await hub.settled(expected)
    await hub.quiet(member)
    assert_once_and_in_order(await hub.effects(), expected)


@pytest.mark.parametrize("as_stored", [True, False])
async def test_old_events_travel_as_stored_and_are_read_in_todays_words(
    hub: World, as_stored: bool
):
    seen: list[StoredEvent] = []

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        seen.extend(events)
        await write_effects(events, tx)

    register_upcaster(EVENT_TYPE, "fr.test.happened.v2", lambda data: {**data, "new": True})
    try:
        expected = await hub.append(persons(1))
        await copy(hub)
        member = hub.subscription(handle, as_stored=as_stored)
        hub.start(member)
        await hub.settled(expected)
        kept = member.source.dump(_message(seen[0]))
        assert member.source.parse(kept) == seen[0]
    finally:
        forget_upcaster(EVENT_TYPE)
    (event,) = seen
    (row,) = await hub.fetch("SELECT entry FROM intake.events")
    assert event.type == (EVENT_TYPE if as_stored else "fr.test.happened.v2")
    assert (event.entry() == row["entry"]) is as_stored


def _message(event: StoredEvent):  # type: ignore[no-untyped-def]
    from infra.messaging.sources.base import Message

    return Message(0, event.key, event, event.position)


async def test_lag_is_not_known_while_there_is_no_connection(hub: World):
    source = hub.source()
    with pytest.raises(ConnectionError, match="not connected"):
        await source.ends()


async def test_parked_event_of_a_topic_keeps_its_personal_part_sealed(hub: World):
    (person,) = persons(1)

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        await tx.execute("SELECT 1/0")

    await hub.append([person])
    await copy(hub)
    hub.start(hub.subscription(handle))
    await hub.until(lambda: _one_parked(hub))
    (row,) = await hub.fetch("SELECT error, key, position FROM referrals.dead_letters")
    assert dict(row) == {"error": "DivisionByZeroError", "key": str(person), "position": 1}


async def _one_parked(hub: World) -> bool:
    return len(await hub.parked()) == 1
