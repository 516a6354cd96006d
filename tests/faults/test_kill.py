"""``kill -9`` at random moments while contacts flow in: short campaigns.

The whole ones, of a hub in one process too, are ``make faults``.
"""

import os
from pathlib import Path

import pytest

from tests.faults.campaign import Result, beside, run

SEED = int(os.environ.get("SEED", "20261123"))
CONTACTS, KILLS = 40, 3


@pytest.fixture(scope="module")
async def calm(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What becomes of the same contacts where nothing is killed, by whatever way they go."""
    return await run("processes", tmp_path_factory.mktemp("calm") / "hub", CONTACTS, 0, SEED)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["processes", pytest.param("kafka", marks=pytest.mark.kafka)])
async def test_killed_processes_lose_and_double_nothing(
    calm: Result, tmp_path: Path, kind: str
):
    result = beside(calm, await run(kind, tmp_path / "hub", CONTACTS, KILLS, SEED))
    assert result.problems == []
    assert result.figures["kills"] == KILLS
