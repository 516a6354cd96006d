"""A plugin: tests run on the loop that the process of the partner service sends with."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """That loop alone."""
    return {"uvloop": uvloop.new_event_loop}
