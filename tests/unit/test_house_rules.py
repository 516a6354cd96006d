"""Rules of the house that no linter knows. Each names the file at fault."""

import ast
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from contracts.registry import SERVICES
from tests.support.house import (
    ROOT,
    SOURCES,
    committed,
    name_of,
    overrides,
    public_definitions,
    python_files,
    syntax,
)

MAX_LINES = 400
LOCKS = {"requirements.lock": ("build",), "requirements-dev.lock": ("build", "dev")}
FILES_OF_A_SERVICE = {
    "__init__", "app", "handlers", "model", "pages", "problems", "projections", "routes",
    "subscriptions", "tables",
}  # fmt: skip
FOLDERS_OF_A_SERVICE = {"adapters", "channels", "migrations", "seed", "templates"}
TEXTS = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".sql", ".txt", ".xml", ".html", ""}
ADDRESS_OF_MACHINE = re.compile(r"/(?:root|work|home|Users)/|/tmp/[a-z]")
ALLOWED_TMP = {"infra/postgres/embedded.py"}  # PostgreSQL's sockets must have a short path


DAYS_WITHOUT_CLOCK = {
    "contracts/days.py", "services/hub/cli/privacy.py", "services/partners/adapters/csvfile.py",
    "services/hub/operations/rules.py",
}  # fmt: skip
"""The rule itself, and days that somebody wrote as days."""


def test_no_day_is_taken_from_a_clock_but_by_the_calendar_in_france():
    clocks = re.compile(r"\.date\(\)|date\.today\(|[a-z_]\w*_at::date|now\(\)::date")
    named = [
        name_of(path)
        for path in python_files(*SOURCES)
        if clocks.search(path.read_text()) and name_of(path) not in DAYS_WITHOUT_CLOCK
    ]
    assert named == []


def test_no_file_is_longer_than_one_can_keep_in_mind() -> None:
    long = {
        name_of(path): lines
        for path in python_files(*SOURCES, "tests")
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


def test_every_room_has_its_place_and_no_module_lies_loose_between_them() -> None:
    loose = {name_of(path) for path in python_files("services", "infra")
             if len(path.relative_to(ROOT).parts) == 2 and path.stem != "__init__"}  # fmt: skip
    assert loose == {"infra/platform.py"}
    rooms = {name_of(path.parent) for path in python_files("infra", "contracts", "services")}
    inside = {  # a service is one row; alembic and its scripts belong to their room
        room for room in rooms
        if room.startswith(tuple(f"services/{service}/" for service in SERVICES))
        or room.endswith(("/alembic", "/migrations"))
    }  # fmt: skip
    page = (ROOT / "ARCHITECTURE.md").read_text()
    listed = set(re.findall(r"\]\(((?:services|infra|contracts)[a-z/]*)\)", page))
    assert listed == rooms - inside - {"services", "infra"}


@pytest.mark.parametrize("service", SERVICES)
def test_services_use_the_same_file_names_and_no_others(service: str) -> None:
    folder = ROOT / "services" / service
    files = {path.stem for path in folder.glob("*.py")}
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert files <= FILES_OF_A_SERVICE
    assert packages <= FILES_OF_A_SERVICE | FOLDERS_OF_A_SERVICE
    assert {"app", "migrations"} <= files | packages


def test_public_names_say_what_they_mean() -> None:
    silent = []
    for path in python_files(*SOURCES):
        if "migrations" in name_of(path) or "alembic" in name_of(path):
            continue
        tree = syntax(path)
        if tree.body and not ast.get_docstring(tree):
            silent.append(name_of(path))
        silent += [
            f"{name_of(path)}: {node.name}"  # type: ignore[attr-defined]
            for node in public_definitions(tree)
            if not ast.get_docstring(node) and not overrides(node)  # type: ignore[arg-type]
        ]
    assert silent == []


def test_nothing_is_left_for_later_in_the_code() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")
    found = [
        f"{name_of(path)}:{number}"
        for path in python_files(*SOURCES)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if unfinished.search(line)
    ]
    assert found == []


def test_no_test_is_skipped_for_good() -> None:
    forbidden = re.compile(r"pytest\.mark\.(skip|xfail)\b|importorskip")
    found = [
        name_of(path)
        for path in python_files("tests")
        if path != Path(__file__) and forbidden.search(path.read_text())
    ]
    assert found == []


def test_no_text_names_a_place_on_a_machine() -> None:
    found = [
        f"{name_of(path)}:{number}"
        for path in committed()
        if path.suffix in TEXTS and path != Path(__file__) and name_of(path) not in ALLOWED_TMP
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if ADDRESS_OF_MACHINE.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_holds_no_addresses_and_a_hash_for_everything(name: str) -> None:
    lock = (ROOT / name).read_text()
    assert "://" not in lock
    entries = re.split(r"\n(?=[a-z0-9])", lock)
    pinned = [entry for entry in entries if re.match(r"[a-z0-9]", entry)]
    assert len(pinned) > 50
    assert [entry.split()[0] for entry in pinned if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_covers_what_the_project_asks_for(name: str) -> None:
    pins = _pins(name)
    missing = [text for text in _wanted(name) if not _covered(Requirement(text), pins)]
    assert missing == [], "make locks"


def test_lock_for_running_holds_no_tool_of_the_tests() -> None:
    tools = {"pytest", "mypy", "ruff", "hypothesis", "testcontainers"}
    assert not tools & set(_pins("requirements.lock"))
    shared = _pins("requirements.lock").items() - _pins("requirements-dev.lock").items()
    assert shared == set()


def _wanted(lock: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups, wanted = project["dependency-groups"], list(project["project"]["dependencies"])
    for group in LOCKS[lock]:
        wanted += [found for found in groups[group] if isinstance(found, str)]
    return wanted


def _pins(lock: str) -> dict[NormalizedName, str]:
    lines = (ROOT / lock).read_text().splitlines()
    return {
        canonicalize_name(name.partition("[")[0]): version.split()[0]
        for name, found, version in (line.partition("==") for line in lines)
        if found and not name.lstrip().startswith("#")
    }


def _covered(wanted: Requirement, pins: Mapping[NormalizedName, str]) -> bool:
    version = pins.get(canonicalize_name(wanted.name))
    return version is not None and wanted.specifier.contains(version, prereleases=True)
