"""One Kafka broker per test session.

`AIGUILLAGE_TEST_SKIP_KAFKA=1` skips the tests that need it; otherwise a machine without a
broker fails them, saying what to install. `AIGUILLAGE_TEST_KAFKA_KIND` (address, container or
jars) asks for one kind instead of the first to be had.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.hub.demo.kafka_broker import Broker, NoBroker, obtain_broker


def skip_if_asked() -> None:
    """Skip the running test when the environment asks to leave Kafka out."""
    if os.environ.get("AIGUILLAGE_TEST_SKIP_KAFKA") == "1":
        pytest.skip("AIGUILLAGE_TEST_SKIP_KAFKA=1")


@contextmanager
def running_broker(directory: Path) -> Iterator[Broker]:
    """A broker of the kind that was asked for, or of the first kind to be had."""
    skip_if_asked()
    kind = os.environ.get("AIGUILLAGE_TEST_KAFKA_KIND") or None
    try:
        obtained = obtain_broker(directory, kind=kind)
    except NoBroker as absent:
        pytest.fail(f"{absent}\nAIGUILLAGE_TEST_SKIP_KAFKA=1 skips.", pytrace=False)
    with obtained:
        yield obtained
