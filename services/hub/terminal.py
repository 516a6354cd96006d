"""The terminal of an operator: errors in one line, and how far long work is; on stderr."""

import errno
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import typer
import typer.core
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from infra.base.repairable import Repairable

PLAIN_SECONDS = 5.0


class FramedGroup(typer.core.TyperGroup):
    """Commands whose errors are shown in one line, with one that names the repair."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; whatever is no ``Repairable`` and not the system's passes."""
        try:
            return super().invoke(ctx)
        except Repairable as error:
            failure = error
        except OSError as error:
            failure = Repairable(f"{type(error).__name__}: {error}", repair_of(error))
        typer.secho(f"✗ {failure}\n  Repair: {failure.repair}", err=True, fg="red")
        raise SystemExit(failure.exit_code)


@contextmanager
def repaired_by(repairs: Mapping[type[Exception], str]) -> Iterator[None]:
    """Raise ``Repairable`` for errors of these types; the first that fits names the repair."""
    try:
        yield
    except Repairable:
        raise
    except tuple(repairs) as error:
        repair = next(text for kind, text in repairs.items() if isinstance(error, kind))
        raise Repairable(str(error), repair) from error


def repair_of(error: OSError) -> str:
    """Return what to do about what the system refused."""
    about = f" ({error.filename})" if error.filename else ""
    return {
        errno.EADDRINUSE: "another program uses the port: stop it, or give another --port",
        errno.EADDRNOTAVAIL: "this machine has no such address: give another --host",
        errno.ENOSPC: f"the disk is full{about}: free some space, then run it again",
        errno.EDQUOT: f"the user's share of the disk is used up{about}: free some space",
        errno.EROFS: f"the disk may only be read{about}: give a --data that may be written",
        errno.EACCES: f"the user lacks the right{about}: run it as the hub's owner, or give a "
        "port from 1024 on",
        errno.EPERM: f"the user lacks the right{about}: run it as the hub's owner",
        errno.EMFILE: "the process may not open so many files: raise `ulimit -n`",
    }.get(error.errno or 0, "aiguillage doctor")


def tell(line: str) -> None:
    """Print a line to people, on stderr."""
    typer.echo(line, err=True)


class ProgressBar:
    """Shows how much of something is done, at what rate, and when it will be over."""

    def __init__(self, what: str, *, shown: bool = True) -> None:
        self._what = what
        self._shown = shown
        self._begun = self._shown_at = time.monotonic()
        self._first: int | None = None
        self._bar: Progress | None = None
        if shown and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Rate(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> Self:
        """Begin to show it."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Show it no longer."""
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """So much is done, out of so much."""
        if self._first is None:
            self._first, self._begun = done, time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=done, total=total)
        elif self._shown and time.monotonic() - self._shown_at >= PLAIN_SECONDS:
            self._shown_at = time.monotonic()
            rate = (done - self._first) / max(self._shown_at - self._begun, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if rate else ""
            tell(f"  {self._what}: {done:,} of {total:,}, {rate:,.0f}/s{left}")


class StepBars:
    """Shows how much of each step is done: a bar for each, which stays."""

    def __init__(self) -> None:
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Begin to show them."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave them as they are."""
        self._progress.stop()

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show that so much of a step is done, out of so much."""
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step)
        self._progress.update(self._tasks[step], total=total, completed=done)


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """As text."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
