"""`aiguillage partners`, as an operator types it."""

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from services.hub.cli.main import app
from services.hub.operations import partners
from tests.integration.partners.test_partners_import import STRUCTURE, document, service, table
from tests.support.postgres import Databases


@pytest.fixture
def cli(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    # the runner's stderr is closed at its end: the log of later tests must not go there
    monkeypatch.setattr(partners, "configure_logging", lambda *args, **given: None)
    monkeypatch.setenv("AIGUILLAGE_DATABASE_URL", databases.url)
    monkeypatch.setenv("AIGUILLAGE_VAULT_URL", databases.vault_url)
    monkeypatch.setenv("AIGUILLAGE_DATA", str(databases.directory))
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner()


def written(path: Path, content: object) -> str:
    path.write_bytes(orjson.dumps(content))
    return str(path)


def test_source_goes_in_and_comes_out_in_both_formats(cli: CliRunner, tmp_path: Path):
    file = written(tmp_path / "source.json", document())
    tried = cli.invoke(app, ["partners", "import", file, "--dry-run"])
    assert (tried.exit_code, "rien n'a été enregistré" in tried.stderr) == (0, True)
    done = cli.invoke(app, ["partners", "import", file])
    assert "4 entrées : 4 nouvelles, 0 modifiées" in done.stderr
    for format in ("data-inclusion", "hsds"):
        out = cli.invoke(app, ["partners", "export", "--format", format])
        again = written(tmp_path / f"{format}.json", orjson.loads(out.stdout))
        back = cli.invoke(app, ["partners", "import", again, "--format", format])
        assert (back.exit_code, "4 inchangées" in back.stderr) == (0, True), back.stderr


def test_tables_are_read_and_refusals_are_told_in_french(cli: CliRunner, tmp_path: Path):
    structures, services = tmp_path / "structures.csv", tmp_path / "services.csv"
    structures.write_text(table([STRUCTURE], packed=False))
    rows = [service("a"), service("b", thematiques=["x[y]"])]
    services.write_text(table(rows, packed=False))
    arguments = ["partners", "import", str(structures), "--services", str(services)]
    done = cli.invoke(app, arguments)
    assert done.exit_code == 1
    assert "3 entrées : 2 nouvelles" in done.stderr
    assert "valeur inconnue de data·inclusion v1" in done.stderr


def test_file_that_would_empty_the_directory_needs_a_word(cli: CliRunner, tmp_path: Path):
    cli.invoke(app, ["partners", "import", written(tmp_path / "all.json", document())])
    arguments = ["partners", "import", written(tmp_path / "one.json", document(service("a")))]
    done = cli.invoke(app, arguments)
    assert (done.exit_code, "Rien n'a été importé" in done.stderr) == (1, True)
    done = cli.invoke(app, [*arguments, "--withdraw-many"])
    assert (done.exit_code, "2 retirées" in done.stderr) == (0, True)


def test_kind_is_given_where_no_network_tells_it(cli: CliRunner, tmp_path: Path):
    arguments = [
        "partners",
        "import",
        written(tmp_path / "a.json", document(reseaux_porteurs=[])),
    ]
    done = cli.invoke(app, arguments)
    assert (done.exit_code, "précisez --kind" in done.stderr) == (1, True)
    assert cli.invoke(app, [*arguments, "--kind", "clap"]).exit_code == 0
