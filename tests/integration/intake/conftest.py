"""A desk that sends to the intake, and a topic that is read."""

from collections.abc import AsyncIterator

import pytest

from infra.platform import Platform
from infra.web.app import Service
from services.intake.app import build
from tests.support.intake import intake_desk
from tests.support.topic import Topic, records_of

__all__ = ["intake_desk"]


@pytest.fixture
async def service(platform: Platform) -> AsyncIterator[Service]:
    async with build(platform).running() as service:
        yield service


@pytest.fixture
def topic(platform: Platform, service: Service) -> Topic:
    return Topic(records_of(platform, service), service)
