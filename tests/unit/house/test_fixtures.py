"""Fixtures have one place and one meaning: a reader of a test knows where to look."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.support.house import name_of, python_files, syntax

SHARED = ("hub", "databases", "platform", "whole", "sink", "processes", "broker")


def fixtures(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Fixtures that a file defines."""
    for node in syntax(path).body:
        decorated = getattr(node, "decorator_list", [])
        if any("pytest.fixture" in ast.unparse(decorator) for decorator in decorated):
            assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield node


def test_a_shared_fixture_is_one_thing_in_a_folder():
    kinds: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path in python_files("tests"):
        for fixture in fixtures(path):
            if fixture.name in SHARED and fixture.returns:
                kind = re.sub(
                    r"^(?:Async)?Iterator\[(.*)\]$", r"\1", ast.unparse(fixture.returns)
                )
                kinds[name_of(path.parent), fixture.name].add(kind)
    assert {place: kind for place, kind in kinds.items() if len(kind) > 1} == {}


def test_no_test_imports_a_fixture():
    """A folder's ``conftest.py`` does, and pytest finds it there."""
    defined = {f.name for path in python_files("tests") for f in fixtures(path)}
    importing = []
    for path in python_files("tests"):
        if path.name.startswith("test_"):
            tree = syntax(path)
            arguments = {
                a.arg for n in ast.walk(tree) if isinstance(n, ast.arguments) for a in n.args
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
                    names = {alias.asname or alias.name for alias in node.names}
                    importing += [f"{name_of(path)}: {n}" for n in names & defined & arguments]
    assert importing == []
