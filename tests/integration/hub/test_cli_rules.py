"""`aiguillage rules`, as an operator types it."""

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from services.hub.cli.main import app
from services.hub.operations import rules
from services.referrals.app import RULES
from tests.support.postgres import Databases


@pytest.fixture
def cli(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    # the runner's stderr is closed at its end: the log of later tests must not go there
    monkeypatch.setattr(rules, "configure_logging", lambda *args, **given: None)
    monkeypatch.setenv("AIGUILLAGE_DATABASE_URL", databases.url)
    monkeypatch.setenv("AIGUILLAGE_VAULT_URL", databases.vault_url)
    monkeypatch.setenv("AIGUILLAGE_DATA", str(databases.directory))
    return CliRunner()


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.json"
    path.write_text(RULES.read_text().replace("[15..30]", "[15..25]").replace("> 30", "> 25"))
    return path


def test_rules_are_checked_compared_and_published(cli: CliRunner, other: Path):
    assert cli.invoke(app, ["rules", "check", str(other)]).exit_code == 0
    changed = cli.invoke(app, ["rules", "diff", "current", str(other)])
    assert changed.exit_code == 1
    assert "~ clap/clap-age" in changed.output
    published = cli.invoke(app, ["rules", "publish", str(other)])
    assert published.exit_code == 0
    assert "other version 1" in published.output
    same = cli.invoke(app, ["rules", "diff", "current", str(other)])
    assert (same.exit_code, same.output) == (0, "")


def test_rules_that_are_none_are_refused_with_a_repair(cli: CliRunner, tmp_path: Path):
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    for verb in ("check", "publish", "simulate"):
        found = cli.invoke(app, ["rules", verb, str(bad)])
        assert found.exit_code == 1
        assert "not a rule set" in found.output


def test_faulty_rules_are_not_published(cli: CliRunner, other: Path):
    other.write_text(other.read_text().replace("> 25", "> 27"))
    found = cli.invoke(app, ["rules", "publish", str(other)])
    assert found.exit_code == 1
    assert "no row for" in found.output


def test_simulation_of_an_empty_past_moves_nobody(cli: CliRunner, other: Path):
    found = cli.invoke(app, ["rules", "simulate", str(other), "--json"])
    assert found.exit_code == 0
    nothing = {"cases": 0, "erased": 0, "partial": 0, "would_move": 0, "moved": []}
    assert orjson.loads(found.stdout) == nothing
