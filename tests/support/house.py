"""The files of this repository and their syntax, for the rules of the house."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("contracts", "infra", "services")


def committed() -> list[Path]:
    """Files that git knows, or would after `git add`; without git, all but what is built."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        paths = [ROOT / line for line in listed.stdout.splitlines()]
        return [path for path in paths if path.is_file()]
    return [path for path in _walked(ROOT) if path.suffix != ".pyc"]


def _walked(folder: Path) -> Iterator[Path]:
    ignored = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    for path in sorted(folder.iterdir()):
        if any(path.match(pattern) for pattern in ignored):
            continue
        if path.is_dir():
            yield from _walked(path)
        elif not path.is_symlink():
            yield path


def name_of(path: Path) -> str:
    """A path as documents say it, from the root."""
    return path.relative_to(ROOT).as_posix()


def python_files(*folders: str) -> list[Path]:
    """Files of Python below these folders."""
    return [
        path
        for path in committed()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders
    ]


@cache
def syntax(path: Path) -> ast.Module:
    """The syntax of a file, read once for all rules."""
    return ast.parse(path.read_text())


def public_definitions(tree: ast.Module) -> Iterator[ast.stmt]:
    """Public classes and functions of a module, and public methods of public classes."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef) and not _is_protocol(node):
                yield from (
                    child
                    for child in node.body
                    if isinstance(child, kinds) and not child.name.startswith("_")
                )


def _is_protocol(node: ast.ClassDef) -> bool:
    return any("Protocol" in ast.unparse(base) for base in node.bases)


def overrides(node: ast.stmt) -> bool:
    """Whether a method says that it overrides another, which has the docstring."""
    decorators = getattr(node, "decorator_list", [])
    return any("override" in ast.unparse(decorator) for decorator in decorators)
