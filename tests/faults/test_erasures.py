"""Persons erased under load, ``kill -9`` at each step: a short campaign.

The whole ones (200 of 5,000, with Kafka as well) are ``make faults``.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.erasures import STEPS, run

SEED = int(os.environ.get("SEED", "20261125"))


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_killed_at_each_step_an_erasure_leaves_nothing_and_breaks_no_proof():
    with TemporaryDirectory(prefix="aiguillage-erasures-") as directory:
        result = await run("processes", Path(directory) / "hub", count=40, erase=8, seed=SEED)
    assert result.problems == []
    assert result.figures["kills"] == len(STEPS)
