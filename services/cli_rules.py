"""`aiguillage rules`: check, publish, simulate, diff."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from infra.settings import load_settings
from infra.telemetry import configure_logging
from services.operations import platform_of
from services.referrals.app import RULES
from services.referrals.handlers import rules as handler
from services.referrals.model.rulecheck import Finding, differences, findings
from services.referrals.model.rules import InvalidRulesError, Rules

app = typer.Typer(no_args_is_help=True, help="The rules of routing: check, publish, try.")
File = Annotated[Path, typer.Argument(help="A decision graph (JDM).")]
Data = Annotated[Path | None, typer.Option("--data", help="Directory of what is kept.")]
CURRENT = "current"


@app.command()
def check(file: File) -> None:
    """Say what keeps a rule set from being published; exit code 1 if anything does."""
    with _named_errors():
        found = findings(handler.read(file))
    _print_findings(found)
    raise SystemExit(1 if found else 0)


@app.command()
def publish(file: File, data: Data = None) -> None:
    """Put a rule set into force, if the check passes."""
    with _named_errors():
        rules = asyncio.run(_publish(file, data))
    typer.echo(f"  ✓ {rules.name} version {rules.version}, {rules.digest}", err=True)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="A file, or `current`.")],
    new: Annotated[str, typer.Argument(help="A file, or `current`.")],
    data: Data = None,
) -> None:
    """Rows and weights that differ; exit code 1 if any do."""
    with _named_errors():
        changes = differences(_named(old, data), _named(new, data))
    for change in changes:
        typer.echo(str(change))
    raise SystemExit(1 if changes else 0)


@app.command()
def simulate(
    file: File,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many cases.")] = 1_000_000,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON on stdout.")] = False,
    data: Data = None,
) -> None:
    """Rank past cases again under a rule set, and print who would move where, and why."""
    with _named_errors():
        found = asyncio.run(_simulate(file, since, limit, data))
    _print(found, as_json=json)


async def _publish(file: Path, data: Path | None) -> Rules:
    async with platform_of(load_settings(data=data)) as platform:
        database = platform.database("referrals")
        try:
            async with database.transaction() as tx:
                writer = platform.writer("referrals")
                return await handler.publish(tx, writer, platform.clock, file, "operator")
        finally:
            await database.close()


def _named(name: str, data: Path | None) -> Rules:
    return asyncio.run(_current(data)) if name == CURRENT else handler.read(Path(name))


async def _current(data: Path | None) -> Rules:
    async with platform_of(load_settings(data=data)) as platform:
        database = platform.database("referrals")
        try:
            async with database.reading() as connection:
                return await handler.in_force(connection, RULES)
        finally:
            await database.close()


async def _simulate(
    file: Path, since: datetime | None, limit: int, data: Path | None
) -> handler.Simulation:
    rules, day = handler.read(file), since.replace(tzinfo=UTC).date() if since else None
    found = handler.Simulation()
    bar = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with platform_of(load_settings(data=data)) as platform:
        database, writer = platform.database("referrals"), platform.writer("referrals")
        with Progress(*bar, console=Console(stderr=True)) as progress:
            task = progress.add_task("cases", total=None)
            async for found in handler.simulate(database, writer, rules, day, limit):
                total = min(found.total, limit)
                progress.update(task, total=total, completed=found.seen)
        await database.close()
    return found


def _print(found: handler.Simulation, *, as_json: bool) -> None:
    flows = sorted(found.flows.items(), key=lambda f: (-f[1], str(f[0])))
    if as_json:
        shown = {
            "cases": found.seen,
            "erased": found.erased,
            "moved": [
                {"case_id": m.case_id, "from": m.before, "to": m.after, "because": m.because}
                for m in found.moved
            ],
        }
        sys.stdout.write(orjson.dumps(shown).decode() + "\n")
        return
    typer.echo(f"{found.seen} cases, {len(found.moved)} would move, {found.erased} erased")
    for (before, after), count in flows:
        typer.echo(f"{count:>7}  {before or 'nobody'} → {after or 'nobody'}")
    for moved in found.moved[:50]:
        typer.echo(f"  {moved.case_id}: {', '.join(moved.because)}")


def _print_findings(found: list[Finding]) -> None:
    for finding in found:
        typer.echo(f"  ✗ {finding}", err=True)
    if not found:
        typer.echo("  ✓ may be published", err=True)


@contextmanager
def _named_errors() -> Iterator[None]:
    configure_logging("ERROR", plain=True)
    try:
        yield
    except handler.RefusedRulesError as error:
        _print_findings(error.findings)
        raise SystemExit(1) from error
    except InvalidRulesError as error:
        typer.secho(f"✗ {error}\n  Repair: aiguillage rules check FILE", err=True, fg="red")
        raise SystemExit(1) from error
