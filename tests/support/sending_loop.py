"""A plugin: tests run on the loop that the process of the partner service sends with."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from infra.workers.event_loop import SENDING_LOOP


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """That loop alone."""
    return {"sending": SENDING_LOOP}
