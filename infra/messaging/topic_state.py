"""Whether the broker's topics are what we would create: asked, and nothing made or changed."""

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from contracts.registry import SERVICES
from infra.base.settings import Settings
from infra.messaging.kafka_client import REQUEST_MILLISECONDS, close, public_topic_of, topic_of
from infra.messaging.topics import configs_of

LOOK_SECONDS = 10.0


async def topic_differences(settings: Settings) -> list[str]:
    """What is missing or other than it should be, a line each.

    Raises aiokafka's ``KafkaError`` or ``TimeoutError`` if the broker does not answer.
    """
    names = [*(topic_of(settings, service) for service in SERVICES), public_topic_of(settings)]
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka_bootstrap, request_timeout_ms=REQUEST_MILLISECONDS
    )
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            await admin.start()
            # all of them: asking for one that is missing could make it
            described = {topic["topic"]: topic for topic in await admin.describe_topics()}
            present = [name for name in names if name in described]
            configs = await _configs(admin, present)
    finally:
        await close(admin)
    missing = [f"{name} is missing" for name in names if name not in described]
    return missing + [
        line
        for name in present
        for line in _differences(settings, name, described[name], configs[name])
    ]


def _differences(
    settings: Settings, name: str, topic: dict[str, Any], configs: dict[str, str]
) -> Iterable[str]:
    partitions = len(topic["partitions"])
    if partitions != settings.topic_partitions:
        yield f"{name} has {partitions} partitions, not {settings.topic_partitions}"
    replicas = min((len(p["replicas"]) for p in topic["partitions"]), default=0)
    if replicas < settings.topic_replication:
        yield f"{name} has {replicas} replicas, not {settings.topic_replication}"
    for key, wanted in configs_of(settings, name).items():
        if (value := configs.get(key)) != wanted:
            yield f"{name}: {key} is {value}, not {wanted}"


async def _configs(admin: Any, names: list[str]) -> dict[str, dict[str, str]]:
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not wanted:
        return {}
    (response,) = await admin.describe_configs(wanted)
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for _, _, _, name, entries in response.resources
    }
