"""Persons erased under load, ``kill -9`` at each step: a short campaign of each kind.

The whole one (200 of 5,000) is ``make faults``.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.erasures import STEPS, run

SEED = int(os.environ.get("SEED", "20261125"))


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def test_killed_at_each_step_an_erasure_leaves_nothing_and_breaks_no_proof(kind: str):
    with TemporaryDirectory(prefix="aiguillage-erasures-") as directory:
        result = await run(kind, Path(directory) / "hub", count=60, erase=8, seed=SEED)
    assert result.problems == []
    assert result.figures["kills"] == len(STEPS)
