"""What every test may ask for: one PostgreSQL and one broker per session, databases per test.

Whatever a folder's tests ask for besides stands in that folder's own ``conftest.py``. Nothing
heavy is imported here: a test of one pure function starts within a second.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from services.hub.demo.kafka_broker import Broker
    from tests.support.postgres import Databases

# no test asserts how long something takes, on a machine that does other things besides
settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("unhurried"), max_examples=20)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def described(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails whatever test has an operation answer with a problem that its OpenAPI does not
    name."""
    undeclared: list[tuple[str, str]] = []
    if "fastapi" in sys.modules:  # without it no operation answers anything
        from infra.web import problems

        monkeypatch.setattr(problems, "on_undeclared", lambda *found: undeclared.append(found))
    yield
    assert undeclared == []


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a server; the tests make their own databases in it."""
    from tests.support.postgres import running_server

    with running_server() as url:
        yield url


@pytest.fixture(scope="session")
async def template(postgres_url: str) -> tuple[str, str]:
    """Names of a migrated pair of databases that tests copy: migrating takes seconds."""
    from tests.support.postgres import migrated

    return await migrated(postgres_url)


@pytest.fixture
async def databases(
    postgres_url: str, template: tuple[str, str], tmp_path: Path
) -> AsyncIterator[Databases]:
    """A fresh, migrated pair of databases."""
    from tests.support.postgres import copied

    async with copied(postgres_url, template, tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker, stopped after the session."""
    from tests.support.kafka import running_broker

    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def topic_prefix() -> str:
    """What a test begins its topics' and groups' names with, so that none share a topic."""
    return f"t{secrets.token_hex(4)}-"
