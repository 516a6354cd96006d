"""Services that follow each other's tables or topics, processes on one vault, foreign keys."""

from collections.abc import AsyncIterator

import pytest

from services.hub.demo.kafka_broker import Broker
from tests.support.masterkeys import processes
from tests.support.postgres import Databases
from tests.support.sources import World, either, world
from tests.support.transit import transit_engine

__all__ = ["either", "processes", "transit_engine"]


@pytest.fixture
def bootstrap(broker: Broker) -> str | None:
    """Where the broker is; a file may do without, or take one that it kills."""
    return broker.bootstrap


@pytest.fixture
async def hub(
    databases: Databases, topic_prefix: str, bootstrap: str | None
) -> AsyncIterator[World]:
    """An intake that writes and readers that follow it."""
    async with world(databases, bootstrap, topic_prefix) as made:
        yield made
