"""A hub of its own for each file, and a platform on the databases of a test."""

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from services.hub.demo.processes import Hub
from tests.e2e.hubs import Up
from tests.support.platform import platform

__all__ = ["platform"]


@pytest.fixture(scope="module")
async def up() -> AsyncIterator[Up]:
    """`aiguillage up`, running; a test may stop and start it."""
    with TemporaryDirectory(prefix="aiguillage-up-") as directory:
        made = Up(Path(directory) / "data")
        await made.start()
        yield made
        if made.hub is not None:
            await made.stop()


@pytest.fixture
def hub(up: Up) -> Hub:
    """The hub as it runs now."""
    assert up.hub is not None
    return up.hub
