"""What an operator sees of Kafka: whether the broker is there, and how far behind we are."""

import importlib.util
import shutil
from collections.abc import Iterable
from typing import Any

from infra.base.settings import Settings
from infra.postgres.database import is_infrastructure
from services.hub.operations.doctor import Check

HOWTO = "docs/howto/run-with-kafka.md"


async def checks(settings: Settings) -> list[Check]:
    """Broker and topics, as lines of `aiguillage doctor`."""
    if not settings.kafka_bootstrap:
        client = importlib.util.find_spec("aiokafka") is not None
        java = "found" if shutil.which("java") else "not found (only for demo KAFKA=1)"
        return [Check("Kafka", client, f"not used; Java {java}", "make install")]
    from infra.messaging.topic_state import (
        topic_differences,  # without a broker no client is loaded
    )

    where = f"broker at {settings.kafka_bootstrap}"
    try:
        differences = await topic_differences(settings)
    except Exception as error:
        if not is_infrastructure(error):
            raise
        repair = "start the broker, or correct AIGUILLAGE_KAFKA_BOOTSTRAP"
        return [Check("Kafka", False, f"{where}: {type(error).__name__}", repair)]
    repair = f"create or alter it as {HOWTO} says; a relay makes those that are missing"
    topics = Check(
        "topics", not differences, "; ".join(differences) or "as they should be", repair
    )
    return [Check("Kafka", True, f"{where} answers"), topics]


async def ends(settings: Settings, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """(topic, partition) → the offset after its last record; empty where nobody answers."""
    wanted = sorted(set(topics))
    if not settings.kafka_bootstrap or not wanted:
        return {}
    from infra.messaging.sources.observer import Observer

    offsets: dict[tuple[str, int], int] = {}
    try:
        async with Observer(settings) as observer:
            for topic in wanted:
                ended = await observer.ends(topic)
                offsets |= {(topic, partition): end for partition, end in ended.items()}
    except Exception as error:
        if not is_infrastructure(error):
            raise
    return offsets


def lag(row: dict[str, Any], known: dict[tuple[str, int], int]) -> int | None:
    """Records of a partition that are not applied; None where nobody says how far it goes."""
    end = known.get((row["source"], row["partition"]))
    return None if end is None else max(0, end - row["next"])
