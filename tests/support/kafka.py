"""One Kafka broker per test session, and a fresh topic prefix per test.

`AIGUILLAGE_TEST_SKIP_KAFKA=1` skips the tests that need it; otherwise a machine without a
broker fails them, saying what to install. `AIGUILLAGE_TEST_KAFKA_KIND` (address, container or
jars) asks for one kind instead of the first to be had.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from services.hub.demo.kafka_broker import Broker, NoBroker, obtain_broker


def skip_if_asked() -> None:
    """Skip the running test when the environment asks to leave Kafka out."""
    if os.environ.get("AIGUILLAGE_TEST_SKIP_KAFKA") == "1":
        pytest.skip("AIGUILLAGE_TEST_SKIP_KAFKA=1")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker, stopped after the session."""
    skip_if_asked()
    kind = os.environ.get("AIGUILLAGE_TEST_KAFKA_KIND") or None
    try:
        obtained = obtain_broker(tmp_path_factory.mktemp("kafka"), kind=kind)
    except NoBroker as absent:
        pytest.fail(f"{absent}\nAIGUILLAGE_TEST_SKIP_KAFKA=1 skips.", pytrace=False)
    with obtained:
        yield obtained


@pytest.fixture
def topic_prefix() -> str:
    """What a test begins its topics' and groups' names with, so that none share a topic."""
    return f"t{secrets.token_hex(4)}-"
