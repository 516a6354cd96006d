"""Figures of the house that may only fall: more fails, and far less too: lower them here."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import pytest

from tests.support.house import SOURCES, name_of, public_definitions, python_files, syntax

LIMITS = {
    "private helpers used once, in thousandths of all functions": 156,
    "names that say too many things": 8,
    "docstrings that begin with a clause": 233,
    "calls with six positional arguments or more": 9,
    "rows of any type": 13,
    "columns taken from a row by text": 81,
    "lines that ruff may not format": 26,
}
VAGUE = {"said", "told", "heard", "asks", "words"}
CLAUSES = {
    "As", "By", "How", "Somebody", "Nobody", "Everybody", "What", "Whatever", "When", "Where",
    "Which", "Who", "Whoever", "Whom", "Whose", "Why",
}  # fmt: skip
"""First words that leave open what the thing is; "Whether" is what a boolean says."""
MOST_ARGUMENTS = 5
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module(NamedTuple):
    """A file of the code."""

    name: str
    text: str
    tree: ast.Module
    nodes: Sequence[ast.AST]


@cache
def modules() -> Sequence[Module]:
    """Every file of the code but migrations, which are never edited."""
    return [
        Module(name_of(path), path.read_text(), tree := syntax(path), [*ast.walk(tree)])
        for path in python_files(*SOURCES)
        if "migrations" not in path.parts
    ]


def helpers_used_once(module: Module) -> Iterator[str]:
    """Private functions that one place of their own file calls."""
    uses = Counter(node.id for node in module.nodes if isinstance(node, ast.Name))
    uses.update(node.attr for node in module.nodes if isinstance(node, ast.Attribute))
    for node in module.nodes:
        if (
            isinstance(node, Function)
            and re.match(r"_[^_]", node.name)
            and uses[node.name] == 1
        ):
            yield f"{module.name}:{node.lineno} {node.name}"


def functions(module: Module) -> int:
    """How many functions and methods a module has."""
    return sum(isinstance(node, Function) for node in module.nodes)


def vague_names(module: Module) -> Iterator[str]:
    """Variables, parameters, functions and classes that are called so."""
    for node in module.nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                pass
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                pass
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.alias(asname=str(name)):
                pass
            case _:
                continue
        if name.strip("_") in VAGUE:
            yield f"{module.name}:{getattr(node, 'lineno', 0)} {name}"


def clauses(module: Module) -> Iterator[str]:
    """Public names whose docstring begins with a clause instead of a verb or a noun."""
    for node in public_definitions(module.tree):
        documented: str = ast.get_docstring(node) or ""  # type: ignore[arg-type]
        first = re.match(r"\w*", documented)
        if first and first.group() in CLAUSES:
            yield f"{module.name}:{node.lineno} {documented.splitlines()[0]}"


def many_arguments(module: Module) -> Iterator[str]:
    """Calls whose reader has to count."""
    for node in module.nodes:
        if isinstance(node, ast.Call) and len(node.args) > MOST_ARGUMENTS:
            yield f"{module.name}:{node.lineno}"


def matching(pattern: str) -> Callable[[Module], Iterator[str]]:
    """Places that match a pattern."""

    def places(module: Module) -> Iterator[str]:
        for found in re.finditer(pattern, module.text):
            yield f"{module.name}:{module.text.count(chr(10), 0, found.start()) + 1}"

    return places


RULES: dict[str, Callable[[Module], Iterator[str]]] = dict(
    zip(
        LIMITS,
        [
            helpers_used_once,
            vague_names,
            clauses,
            many_arguments,
            matching(r"\b(?:row|raw|rows): Any"),
            matching(r'row\["'),
            matching(r"# fmt: skip"),
        ],
        strict=True,
    )
)


@pytest.mark.parametrize("rule", LIMITS)
def test_figure_of_the_house_only_falls(rule: str) -> None:
    places = [place for module in modules() for place in RULES[rule](module)]
    measured, limit = len(places), LIMITS[rule]
    if RULES[rule] is helpers_used_once:
        measured = 1000 * measured // sum(functions(module) for module in modules())
    assert measured <= limit, "\n".join([f"{rule}: {measured}, may be {limit}:", *places])
    assert measured >= limit - max(20, limit // 3), f"{rule}: {measured}. Lower LIMITS to it."
