"""What an operator does with the master key; the command is in ``cli_keys``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from infra.base.settings import load_settings
from infra.base.telemetry import configure_logging
from infra.keys.rotation import NotRotatedError, Rotation, Status, StillWrappedError
from infra.platform import command_context
from services.hub.operations.encrypted_columns import rotation

COLUMNS = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
AGAIN = "aiguillage keys rotate-master"


async def rotate(data: Path | None) -> Status:
    """Wrap everything under a new key, with a progress bar on stderr for each table."""
    async with (
        command_context(load_settings(data=data)) as platform,
        rotation(platform) as found,
    ):
        with Progress(*COLUMNS, console=Console(stderr=True)) as progress:
            await _shown(found, progress)
        return await found.status()


async def destroy_old(data: Path | None) -> Status:
    """Destroy the older keys, for good."""
    async with (
        command_context(load_settings(data=data)) as platform,
        rotation(platform) as found,
    ):
        for epoch in await found.destroy_old():
            typer.echo(f"  ✓ the key of epoch {epoch} is destroyed", err=True)
        return await found.status()


async def status(data: Path | None) -> Status:
    """What is wrapped under which key."""
    async with (
        command_context(load_settings(data=data)) as platform,
        rotation(platform) as found,
    ):
        return await found.status()


def print_status(found: Status, *, as_json: bool) -> None:
    """Every epoch, and what is wrapped under it."""
    if as_json:
        sys.stdout.write(orjson.dumps([_line(found, n) for n in found.epochs]).decode() + "\n")
        return
    for epoch in found.epochs:
        line = _line(found, epoch)
        rows = [f"{count} in {name}" for name, count in line["wrapped"].items() if count]
        state = "destroyed" if epoch.destroyed_at else "live"
        said = f"epoch {epoch.number} ({epoch.provider}, since {epoch.created_at:%Y-%m-%d})"
        typer.echo(f"  {said} {state}: {', '.join(rows) or 'nothing wrapped'}", err=True)


@contextmanager
def named_errors() -> Iterator[None]:
    """Errors in one line that names the repair."""
    configure_logging(load_settings().log_level, plain=sys.stderr.isatty())
    try:
        yield
    except StillWrappedError as error:
        _fail(f"still wrapped under an older key: {error}", f"{AGAIN}, then aiguillage doctor")
    except NotRotatedError:
        _fail("the rotation has not come to its end", AGAIN)


async def _shown(found: Rotation, progress: Progress) -> None:
    tasks: dict[str, TaskID] = {}
    async for step in found.run():
        if step.name not in tasks:
            tasks[step.name] = progress.add_task(step.name)
        progress.update(tasks[step.name], total=step.total, completed=step.done)


def _line(found: Status, epoch: Any) -> dict[str, Any]:
    return {
        "epoch": epoch.number,
        "provider": epoch.provider,
        "created_at": epoch.created_at,
        "rewrapped_at": epoch.rewrapped_at,
        "destroyed_at": epoch.destroyed_at,
        "wrapped": {n: counts.get(epoch.number, 0) for n, counts in found.counts.items()},
    }


def _fail(what: str, repair: str) -> None:
    typer.secho(f"✗ {what}\n  Repair: {repair}", err=True, fg="red")
    raise SystemExit(1)
