"""The documentation is complete, and its links lead somewhere."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from contracts.registry import EVENT_TYPES, SERVICES
from contracts.tools import catalogue
from infra.base.settings import Settings
from infra.web.problems import Problem

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
RECORDS = sorted((DOCS / "adr").glob("[0-9]*.md"))
HEADS = ["Context", "Decision", "Consequences", "Alternatives", "Enforced by", "References"]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
METRIC_KINDS = {"Counter", "Gauge", "Histogram", "Metric"}
SOURCES = [p for top in ("infra", "services") for p in sorted((ROOT / top).rglob("*.py"))]


def headings(page: Path, level: int = 2) -> set[str]:
    """Headings of one level, without their markup."""
    found = re.findall(rf"^#{{{level}}} (.+)$", page.read_text(), flags=re.MULTILINE)
    return {heading.strip().strip("`") for heading in found}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2], node


def text_at(call: ast.Call, index: int) -> str | None:
    found = call.args[index] if index < len(call.args) else None
    return found.value if isinstance(found, ast.Constant) and _is_text(found) else None


def _is_text(node: ast.Constant) -> bool:
    return isinstance(node.value, str)


def slugs() -> set[str]:
    """Kinds of problem that the code can answer with: every class of them."""
    for service in SERVICES:
        import_module(f"services.{service}.problems")
    waiting, found = [Problem], set()
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            found.add(kind.slug)
    return found


def metrics() -> set[str]:
    """Names of the metrics that the code defines, as Prometheus shows them."""
    found = set()
    for path in SOURCES:
        for kind, call in calls(ast.parse(path.read_text())):
            name = text_at(call, 0)
            if kind in METRIC_KINDS and name and name.startswith("aiguillage_"):
                counts = kind in {"Counter", "Metric"}
                found.add(f"{name}_total" if counts and not name.endswith("_total") else name)
    return found


def verbs() -> set[str]:
    """Every command of the command line, with those below it."""
    from services.hub.cli.main import app

    found: set[str] = set()
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    for name, command in root.commands.items():
        below = command.commands if isinstance(command, TyperGroup) else None
        found |= {f"{name} {each}" for each in below} if below else {name}
    return found


def test_every_setting_is_documented() -> None:
    expected = {f"AIGUILLAGE_{name.upper()}" for name in Settings.model_fields}
    assert headings(REFERENCE / "settings.md") == expected


def test_settings_page_states_each_default() -> None:
    page = (REFERENCE / "settings.md").read_text()
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S))
    for name, field in Settings.model_fields.items():
        default = "none" if field.default in (None, "") else str(field.default)
        assert f"Default: `{default}`" in sections[f"AIGUILLAGE_{name.upper()}"], name


def test_every_problem_is_documented() -> None:
    assert headings(REFERENCE / "problems.md") == slugs()


def test_every_verb_is_documented() -> None:
    assert headings(REFERENCE / "cli.md") == {f"aiguillage {verb}" for verb in verbs()}


def test_every_metric_is_documented() -> None:
    listed = set(re.findall(r"^\| `(aiguillage_\w+)`", _text("metrics.md"), flags=re.M))
    assert listed == metrics()


def _text(page: str) -> str:
    return (REFERENCE / page).read_text()


def test_event_reference_is_what_the_models_say() -> None:
    assert catalogue.PAGE.read_text() == catalogue.page(), (
        "run python -m contracts.tools.catalogue"
    )


def test_every_event_has_a_heading() -> None:
    assert set(EVENT_TYPES) <= headings(catalogue.PAGE, 3)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in LINK.findall(page.read_text()):
        file, _, anchor = target.partition("#")
        if "://" in file:
            continue
        found = (page.parent / file).resolve() if file else page
        if not found.exists() or (anchor and anchor not in _anchors(found)):
            dead.append(target)
    assert dead == []


def _anchors(page: Path) -> set[str]:
    lines = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_page_can_be_reached_from_the_readme(page: Path) -> None:
    assert page in _reachable(ROOT / "README.md")


def _reachable(start: Path) -> set[Path]:
    seen, queue = {start}, [start]
    while queue:
        page = queue.pop()
        for target in LINK.findall(page.read_text()):
            found = (page.parent / target.partition("#")[0]).resolve()
            found = found / "README.md" if found.is_dir() else found
            if "://" not in target and found.suffix == ".md" and found.exists():
                if found not in seen:
                    queue.append(found)
                seen.add(found)
    return seen


def test_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_readme_begins_with_the_two_commands() -> None:
    first = re.findall(r"^\$ (\S+ \S+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert first[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("record", RECORDS, ids=name_of)
def test_decision_has_every_head_and_stands_in_the_index(record: Path) -> None:
    text = record.read_text()
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == HEADS
    assert re.search(r"^Status: .+ · Date: \d{4}-\d\d-\d\d$", text, flags=re.MULTILINE)
    assert text.startswith(f"# {record.name[:4]}: ")
    assert record.name in (DOCS / "adr" / "README.md").read_text()


def test_decisions_that_the_code_cites_exist() -> None:
    numbers = {record.name[:4] for record in RECORDS}
    cited = {
        number
        for path in [*SOURCES, *(ROOT / "contracts").rglob("*.py")]
        for number in re.findall(r"docs/adr/(\d{4})", path.read_text())
    }
    assert cited <= numbers
