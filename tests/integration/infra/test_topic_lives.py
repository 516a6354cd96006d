"""Topics that come and go, and tables put back: readers stop and say so; the table repairs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from infra.base.clock import system_clock
from infra.eventstore.events import NewEvent
from infra.eventstore.store import Append, EventStore
from infra.messaging.kafka_client import public_topic_of, topic_of
from infra.messaging.sources.base import ForeignRecord
from infra.messaging.sources.public import public_source
from infra.messaging.subscription import Subscription
from infra.messaging.topic_ids import find_topic
from infra.messaging.topic_lives import TOPIC
from services.hub.operations.hub import republish
from tests.support.sources import World, persons

pytestmark = pytest.mark.kafka
REPAIR = "aiguillage republish intake"


@pytest.fixture
async def hub(hub: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("infra.messaging.relay.LOOK_SECONDS", 0.2)  # only to spare time
    monkeypatch.setattr("infra.messaging.sources.consumer.LOOK_SECONDS", 0.2)
    return hub


@asynccontextmanager
async def administering(hub: World) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=hub.settings.kafka_bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def delete(hub: World, *, again: int = 0) -> None:
    """Delete the intake's topic, and make it again with so many partitions."""
    topic = topic_of(hub.settings, "intake")
    async with administering(hub) as admin:
        await admin.delete_topics([topic])
        if again:
            while (await admin.create_topics([NewTopic(topic, again, 1)])).topic_errors[0][1]:
                await asyncio.sleep(0.1)


async def repaired(hub: World) -> None:
    """What `aiguillage republish intake` does."""
    settings = hub.settings.model_copy(
        update={"database_url": hub.databases.url, "vault_url": hub.databases.vault_url}
    )
    await republish(settings, "intake")


async def alarms(hub: World, schema: str) -> dict[str, str]:
    rows = await hub.fetch(
        f"SELECT subject, detail FROM {schema}.alarms WHERE kind = '{TOPIC}'"
    )
    return {row["subject"]: row["detail"] for row in rows}


async def told(hub: World, schema: str, subject: str, text: str) -> None:
    async def holds() -> bool:
        return text in (await alarms(hub, schema)).get(subject, "")

    await hub.until(holds)


async def silent(hub: World) -> bool:
    return not await alarms(hub, "intake") and not await alarms(hub, "referrals")


@pytest.mark.parametrize("again", [0, 4], ids=["deleted", "made again"])
async def test_topic_that_is_deleted_stops_all_and_one_verb_brings_everybody(
    hub: World, again: int
):
    everybody = persons(64)
    relay, member = hub.relay(), hub.subscription()
    hub.start(relay)
    hub.start(member)
    expected = await hub.append(everybody, 2)
    await hub.settled(expected)
    await delete(hub, again=again)
    for schema, subject in (("intake", "relay"), ("referrals", "consumer")):
        await told(hub, schema, subject, REPAIR)
    expected += await hub.append(everybody)
    await repaired(hub)
    await hub.settled(expected)
    expected += await hub.append(everybody)
    await hub.settled(expected)
    await hub.quiet(member)
    await hub.until(lambda: silent(hub))
    assert await hub.parked() == []


async def test_reader_behind_a_topic_that_grew_again_skips_nobody(hub: World):
    """As a relay would do that had not noticed: it goes on in a topic that begins anew."""
    everybody = persons(64)
    member = hub.subscription()
    first = hub.start(hub.relay())
    hub.start(member)
    expected = await hub.append(everybody)
    await hub.settled(expected)
    await hub.quiet(member)
    first.cancel()
    await delete(hub, again=4)
    async with administering(hub) as admin:
        while not (found := await find_topic(admin._client, topic_of(hub.settings, "intake"))):
            await asyncio.sleep(0.1)
    await hub.fetch("UPDATE intake.publication SET topic_id = $1", found.topic_id)
    hub.start(hub.relay())
    expected += await hub.append(everybody, 6)
    later = hub.subscription()
    hub.start(later)
    await told(hub, "referrals", "consumer", "aiguillage republish")
    await repaired(hub)
    await hub.settled(expected)
    assert await hub.parked() == []


async def test_gap_that_retention_made_is_filled_by_the_same_verb(hub: World):
    expected = await hub.append(persons(20))
    relay = hub.start(hub.relay())
    await hub.until(lambda: published(hub, 20))
    async with administering(hub) as admin:
        for partition in range(hub.settings.topic_partitions):
            place = TopicPartition(topic_of(hub.settings, "intake"), partition)
            await admin.delete_records({place: RecordsToDelete(-1)})
    hub.start(hub.subscription())
    await told(hub, "referrals", "consumer", REPAIR)
    await repaired(hub)
    await hub.settled(expected)
    assert not relay.done()


async def published(hub: World, position: int) -> bool:
    rows = await hub.fetch("SELECT position FROM intake.offsets WHERE subscription = 'relay'")
    return [row["position"] for row in rows] == [position]


async def put_back(hub: World, position: int, standing: list[Any]) -> None:
    """A database as it was: later events are gone, and marks stand where they stood."""
    await hub.fetch("DELETE FROM intake.events WHERE position > $1", position)
    await hub.fetch("ALTER TABLE intake.events ALTER COLUMN position RESTART WITH 101")
    await hub.fetch("DELETE FROM referrals.effects WHERE position > $1", position)
    for row in standing:
        await hub.fetch(
            'UPDATE referrals.offsets SET next = $1, position = $2 WHERE "partition" = $3',
            row["next"], row["position"], row["partition"],
        )  # fmt: skip
    await hub.fetch(
        "UPDATE intake.offsets SET next = $1::bigint + 1, position = $1 WHERE "
        "subscription = 'relay'", position,
    )  # fmt: skip


@pytest.mark.parametrize("by_restore", [True, False])
async def test_table_put_back_takes_no_ghosts_and_drops_nothing_new(
    hub: World, by_restore: bool
):
    everybody = persons(50)
    relay, member = hub.relay(), hub.subscription()
    running = [hub.start(relay), hub.start(member)]
    kept = await hub.append(everybody, 2)
    await hub.settled(kept)
    standing = await hub.fetch("SELECT * FROM referrals.offsets")
    lasts = await hub.fetch("SELECT lasts FROM intake.publication")
    ghosts = await hub.append(persons(60))
    await hub.settled(kept + ghosts)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await put_back(hub, 100, standing)
    await hub.fetch("UPDATE intake.publication SET lasts = $1", lasts[0]["lasts"])
    if by_restore:
        await hub.fetch("UPDATE intake.publication SET generation = NULL")
    expected = kept + await hub.append(everybody, 2)
    hub.start(hub.relay())
    hub.start(hub.subscription())
    if not by_restore:
        await told(hub, "referrals", "consumer", REPAIR)
        await repaired(hub)
    await hub.settled(expected)
    assert await hub.parked() == []


async def test_topic_made_again_with_fewer_partitions_is_refused(hub: World):
    hub.start(hub.relay())
    await hub.append(persons(10))
    await hub.until(lambda: published(hub, 10))
    await delete(hub, again=2)
    await told(hub, "intake", "relay", REPAIR)
    await repaired(hub)
    await told(hub, "intake", "relay", "has 2 partitions, not 4")


async def test_public_topic_made_again_is_read_from_its_beginning_with_an_alarm(hub: World):
    seen: list[bytes | None] = []

    async def handle(records: Any, tx: Any) -> None:
        seen.extend(record.value for record in records)

    def member() -> Subscription[ForeignRecord]:
        source = public_source(hub.settings, "public")
        return Subscription("public", hub.referrals, source, handle, poll_seconds=0.05)

    topic = public_topic_of(hub.settings)
    first = member()
    hub.start(first)  # type: ignore[arg-type]
    await _produce(hub, topic, *(b"%d" % n for n in range(6)))

    async def saw(count: int) -> bool:
        return len(seen) == count

    await hub.until(lambda: saw(6))
    await hub.quiet(first)  # type: ignore[arg-type]
    async with administering(hub) as admin:
        await admin.delete_topics([topic])
        while (await admin.create_topics([NewTopic(topic, 4, 1)])).topic_errors[0][1]:
            await asyncio.sleep(0.1)
    await _produce(hub, topic, *(b"again %d" % n for n in range(8)))
    hub.start(member())  # type: ignore[arg-type]
    await hub.until(lambda: saw(14))
    assert seen[6:] == [b"again %d" % n for n in range(8)]
    await told(hub, "referrals", f"{topic} 0", "was deleted and made again")


async def _produce(hub: World, topic: str, *values: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=hub.settings.kafka_bootstrap) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)


async def test_event_larger_than_its_topic_takes_is_fetched_from_the_table(hub: World):
    """It holds up nobody, and what was acknowledged before it is not produced again."""
    topic = topic_of(hub.settings, "intake")
    async with administering(hub) as admin:
        small = {"max.message.bytes": "20000"}
        await admin.create_topics([NewTopic(topic, 4, 1, topic_configs=small)])
    everybody = persons(13)
    expected = await hub.append(everybody)
    seen: dict[int, str] = {}

    async def handle(events: Any, tx: Any) -> None:
        seen.update({event.position: event.data for event in events})

    async with hub.intake.transaction() as tx:
        large = [
            NewEvent("fr.test.v1", f'"{"x" * size}"', system_clock(), person)
            for person, size in zip(everybody, (30_000, 900_000, 15_000), strict=False)
        ]
        appends = [Append(f"large-{e.person_id}", [e]) for e in large]
        await EventStore("intake").append(tx, appends, system_clock())
    await hub.append(everybody, 3)
    count = len(expected) * 4 + len(large)
    hub.start(hub.relay())
    hub.start(hub.subscription(handle))

    async def all_seen() -> bool:
        return len(seen) == count

    await hub.until(all_seen)
    assert [seen[len(expected) + n] for n in (1, 2, 3)] == [event.data for event in large]
    assert await hub.fetch("SELECT 1 FROM intake.dead_letters") == []
    async with AIOKafkaConsumer(bootstrap_servers=hub.settings.kafka_bootstrap) as reader:
        ends = await reader.end_offsets([TopicPartition(topic, n) for n in range(4)])
    assert sum(ends.values()) == count  # each once
