"""Create the topics: ours keep everything, the public one forgets within hours.

Records that municipal systems produce hold personal data in clear, so their topic must not
keep them: it forgets by the broker's own clock (a producer's may be wrong for years), in
segments short enough that the one being written is soon forgotten too.
"""

import asyncio
from collections.abc import Iterable

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from contracts.registry import SERVICES
from infra.base.settings import Settings
from infra.messaging.kafka_client import (
    MAX_PUBLIC_BYTES,
    MAX_TOPIC_BYTES,
    REQUEST_MILLISECONDS,
    START_SECONDS,
    close,
    public_topic_of,
    topic_of,
)

PUBLIC_HOURS = 6
_HOUR = 3_600_000
_HUB = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": str(MAX_TOPIC_BYTES),
}
_PUBLIC = {
    "cleanup.policy": "delete",
    "retention.ms": str(PUBLIC_HOURS * _HOUR - _HOUR // 4),
    "segment.ms": str(_HOUR // 4),
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": str(MAX_PUBLIC_BYTES + 1024),
}


def configs_of(settings: Settings, name: str) -> dict[str, str]:
    """The settings of one of our topics, or of the public one."""
    return _PUBLIC if name == public_topic_of(settings) else _HUB


async def create_topics(settings: Settings) -> None:
    """Create every topic of the hub that is missing; raises aiokafka's ``KafkaError``."""
    names = [topic_of(settings, service) for service in SERVICES]
    await ensure_topics(settings, [*names, public_topic_of(settings)])


async def ensure_topics(
    settings: Settings, names: Iterable[str], partitions: int | None = None
) -> None:
    """Create the named ones if they are missing; those that exist are left as they are.

    With ``partitions``, or as many as the settings say.
    """
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka_bootstrap, request_timeout_ms=REQUEST_MILLISECONDS
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            await admin.start()
            answer = await admin.create_topics(
                [
                    NewTopic(
                        name,
                        partitions or settings.topic_partitions,
                        settings.topic_replication,
                        topic_configs=configs_of(settings, name),
                    )
                    for name in names
                ]
            )
    finally:
        await close(admin)
    for name, code, *_ in answer.topic_errors:
        error = for_code(code)
        if error not in (NoError, TopicAlreadyExistsError):
            raise error(name)
