"""A platform on the databases of a test."""

from collections.abc import Iterator

import pytest

from tests.support.adapters import compiled_once
from tests.support.platform import platform

__all__ = ["platform"]


@pytest.fixture(scope="session", autouse=True)
def quick_applications() -> Iterator[None]:
    """Most of a test's time went into compiling the same validators."""
    with compiled_once():
        yield
