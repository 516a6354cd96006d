"""Days on the command line are read as at every other door, before anything is opened."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.hub.cli.main import app

cli = CliRunner()


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "20000", "2026-02-30"])
def test_day_that_cannot_be_is_named_and_nothing_is_opened(tmp_path: Path, day: str) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text("{}")
    for verb in (
        ["retention", "preview", "--on", day, "--data", str(tmp_path / "hub")],
        ["rules", "simulate", str(rules), "--since", day, "--data", str(tmp_path / "hub")],
    ):
        done = cli.invoke(app, verb)
        assert done.exit_code == 2
        assert ("--on" if "--on" in verb else "--since") in done.output
    assert not (tmp_path / "hub").exists()
