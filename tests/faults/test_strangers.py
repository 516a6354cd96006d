"""Random valid and hostile things at every door, with Kafka: a short campaign.

The whole one, of ten minutes, is ``make faults``.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.strangers import run
from tests.support.kafka import skip_if_asked

SEED = int(os.environ.get("SEED", "20261130"))
SECONDS = 25


@pytest.mark.faults
@pytest.mark.kafka
@pytest.mark.timeout(600)
async def test_whatever_strangers_send_what_was_accepted_has_its_effect_and_nobody_falls():
    skip_if_asked()
    with TemporaryDirectory(prefix="aiguillage-strangers-") as directory:
        result = await run(Path(directory), SECONDS, SEED)
    assert result.problems == []
    assert result.figures["contacts"] > 0
    assert result.figures["answers"] > 0
