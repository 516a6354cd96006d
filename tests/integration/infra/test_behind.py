"""How far behind we are is what is committed, against what the other side has."""

from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.base.settings import Settings
from infra.messaging.kafka_client import close, topic_of
from infra.messaging.subscription import Subscription
from infra.messaging.topics import create_topics
from services.hub.demo.kafka_broker import Broker
from services.hub.operations import hub as operations
from services.hub.operations import kafka as verbs
from tests.support.postgres import Databases
from tests.support.sources import World, lag_is, persons, set_pause, world


async def alarms(hub: World, service: str = "referrals") -> list[tuple[str, str, str]]:
    rows = await hub.fetch(
        f"SELECT kind, subject, detail FROM {service}.alarms WHERE acknowledged_at IS NULL"
    )
    return [tuple(row) for row in rows]


async def told(hub: World, member: Subscription[Any], *expected: tuple[str, str, str]) -> bool:
    await member.watch.look()
    return await alarms(hub) == list(expected)


async def test_a_reader_that_stands_still_is_behind_although_it_fetched_all(either: World):
    member = either.subscription()
    either.start(member)
    await either.settled(await either.append(persons(3)))
    await either.until(lambda: lag_is(member, 0))
    await set_pause(either, True)
    member.watch._alarm_seconds = 0
    await either.append(persons(5))
    await either.until(lambda: lag_is(member, 5))
    waits = ("behind", "consumer", "a message waits for more than 0 s")
    await either.until(lambda: told(either, member, waits))
    assert member.watch.age is not None
    assert member.watch.age > 0
    await set_pause(either, False)
    await either.until(lambda: lag_is(member, 0))
    await either.until(lambda: told(either, member))
    assert member.watch.age is None


async def test_a_broker_that_does_not_answer_is_an_alarm(
    databases: Databases, topic_prefix: str
):
    async with world(databases, "127.0.0.1:9", topic_prefix) as hub:
        member, relay = hub.subscription(), hub.relay()
        member.watch._alarm_seconds = relay.watch._alarm_seconds = 0
        with pytest.raises(ConnectionError):
            await member.lag()
        unknown = ("behind", "consumer", "how far cannot be said: ConnectionError")
        assert await told(hub, member, unknown)
        await hub.append(persons(2))
        assert await relay.lag() == 2  # what is not published, broker or not
        for _ in range(2):
            await relay.watch.look()
        assert await alarms(hub, "intake") == [
            ("behind", "relay", "a message waits for more than 0 s")
        ]


async def test_a_reader_that_does_not_get_through_is_an_alarm_until_it_does(
    databases: Databases, topic_prefix: str
):
    async with world(databases, None, topic_prefix) as hub:
        member = hub.subscription()
        member.watch._alarm_seconds = 0
        member.watch.failed(OSError())
        assert await told(hub, member, ("behind", "consumer", "does not get through: OSError"))
        member.watch.worked()
        assert await told(hub, member)


async def test_doctor_says_that_nobody_answers_at_the_brokers_address():
    (check,) = await verbs.checks(Settings(kafka_bootstrap="127.0.0.1:9"))
    assert (check.name, check.ok) == ("Kafka", False)
    assert "127.0.0.1:9" in check.detail
    assert "AIGUILLAGE_KAFKA_BOOTSTRAP" in check.repair


@pytest.mark.kafka
async def test_doctor_compares_the_brokers_topics_with_ours(broker: Broker, topic_prefix: str):
    settings = Settings(kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix)
    other = NewTopic(topic_of(settings, "audit"), 2, 1, topic_configs={"retention.ms": "60000"})
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    await admin.create_topics([other])
    await close(admin)
    answers, topics = await verbs.checks(settings)
    assert (answers.ok, topics.ok) == (True, False)
    assert f"{topic_prefix}intake is missing" in topics.detail
    assert f"{topic_prefix}audit has 2 partitions, not 4" in topics.detail
    assert f"{topic_prefix}audit: retention.ms is 60000, not -1" in topics.detail
    fresh = settings.model_copy(update={"topic_prefix": f"{topic_prefix}b-"})
    await create_topics(fresh)
    assert [(c.name, c.ok) for c in await verbs.checks(fresh)] == [
        ("Kafka", True), ("topics", True)
    ]  # fmt: skip


@pytest.mark.kafka
async def test_status_shows_the_lag_of_a_topic_by_what_the_broker_has(
    either: World, databases: Databases
):
    member = either.subscription()
    task = either.start(member)
    await either.settled(await either.append(persons(20)))
    await either.until(lambda: lag_is(member, 0))
    member.stop()
    await task
    await either.append(persons(20))
    await either.until(lambda: _lag(either, databases, 20))


async def _lag(hub: World, databases: Databases, expected: int) -> bool:
    settings = hub.settings.model_copy(
        update={"database_url": databases.url, "vault_url": databases.vault_url}
    )
    rows = [r for r in await operations.status(settings) if r["subscription"] == "consumer"]
    return sum(row["lag"] for row in rows) == expected
