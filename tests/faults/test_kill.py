"""``kill -9`` at random moments while contacts flow in: short campaigns.

The whole ones, of a hub in one process too, are ``make faults``.
"""

import os

import pytest

from tests.faults.campaign import compare

SEED = int(os.environ.get("SEED", "20261123"))


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["processes", pytest.param("kafka", marks=pytest.mark.kafka)])
async def test_killed_processes_lose_and_double_nothing(kind: str):
    result = await compare(kind, contacts=40, kills=3, seed=SEED)
    assert result.problems == []
    assert result.figures["kills"] == 3
