"""How far long work is: a bar on a terminal, a plain line now and then elsewhere; on stderr."""

import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

PLAIN_SECONDS = 5.0


class ProgressBar:
    """Shows how much of something is done, at what rate, and when it will be over."""

    def __init__(self, what: str, *, shown: bool = True) -> None:
        self._what = what
        self._shown = shown
        self._begun = self._said = time.monotonic()
        self._first: int | None = None
        self._bar: Progress | None = None
        if shown and sys.stderr.isatty():
            columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(),
                       _Rate(), TimeRemainingColumn())  # fmt: skip
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
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
        elif self._shown and time.monotonic() - self._said >= PLAIN_SECONDS:
            self._say(done, total)

    def _say(self, done: int, total: int) -> None:
        self._said = time.monotonic()
        rate = (done - (self._first or 0)) / max(self._said - self._begun, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if rate else ""
        line = f"  {self._what}: {done:,} of {total:,}, {rate:,.0f}/s{left}\n"
        sys.stderr.write(line)


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """As text."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
