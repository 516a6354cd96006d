"""Fixtures shared by all tests: one PostgreSQL per session, one pair of databases per test."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from infra.web import problems

# no test asserts how long something takes, on a machine that does other things besides
settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.kafka",
    "tests.support.platform",
    "tests.support.sources",
    "tests.support.partners",
    "tests.support.advisers",
    "tests.support.intake",
    "tests.support.hall",
    "tests.support.whole",
    "tests.support.france_travail",
    "tests.support.bureau",
    "tests.support.transit",
    "tests.support.masterkeys",
]


@pytest.fixture(autouse=True)
def described(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails whatever test has an operation answer with a problem that its OpenAPI does not
    name."""
    undeclared: list[tuple[str, str]] = []
    monkeypatch.setattr(problems, "on_undeclared", lambda *found: undeclared.append(found))
    yield
    assert undeclared == []
