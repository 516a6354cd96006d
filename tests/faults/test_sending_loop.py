"""The process of the partner service sends on a loop of its own (``workers/event_loop.py``)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.faults
def test_hostile_endpoints_fare_the_same_on_the_loop_that_deliveries_are_sent_with():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.sending_loop"]
    done = subprocess.run(
        [*command, "tests/faults/test_hostile_endpoints.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
