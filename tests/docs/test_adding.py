"""Whoever follows the how-tos gets a fact, and a kind of partner, that count everywhere."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from contracts.kinds import KINDS

ROOT = Path(__file__).parents[2]
HOWTO = ROOT / "docs" / "howto"
COPIED = ("contracts", "docs", "infra", "services", "tests")
BLOCK = re.compile(r"^ {3}```(diff|python|sh)\n(.*?)^ {3}```$", flags=re.MULTILINE | re.DOTALL)
RUN_SECONDS = 240


def run(copy: Path, *command: str) -> None:
    """Run a command in the copy, on the code of the copy."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=copy,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def apply(copy: Path, diff: str) -> None:
    """Make the one change that a block shows: its context says where."""
    first, *lines = diff.splitlines()
    path = copy / first.removeprefix("--- ")
    before, after = (
        "\n".join(line[1:] for line in lines if not line.startswith(sign)) for sign in "+-"
    )
    text = path.read_text()
    assert text.count(before) == 1, f"{first}: the how-to shows what does not stand there"
    path.write_text(text.replace(before, after))


def follow(page: str, copy: Path) -> None:
    """Do what a how-to says, block by block."""
    blocks = BLOCK.findall((HOWTO / page).read_text())
    assert {language for language, _ in blocks} >= {"diff", "sh"}
    for language, indented in blocks:
        block = textwrap.dedent(indented)
        if language == "diff":
            apply(copy, block)
        elif language == "python":
            run(copy, sys.executable, "-c", block)
        else:
            run(copy, "bash", "-euc", block)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    return tmp_path


def test_added_fact_counts_everywhere(copy: Path) -> None:
    follow("add-a-fact.md", copy)
    run(copy, sys.executable, "-m", "tests.docs.added_fact")


def test_added_kind_of_partner_counts_everywhere(copy: Path) -> None:
    follow("add-a-kind-of-partner.md", copy)
    run(copy, sys.executable, "-m", "tests.docs.added_kind")


def test_every_network_is_named_where_directories_are_imported() -> None:
    page = (HOWTO / "import-directory.md").read_text()
    networks = [network for kind in KINDS.values() for network in kind.networks]
    assert [network for network in networks if f"`{network}`" not in page] == []
