"""What an operator does with rule sets; the commands are in ``cli_rules``."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from infra.base.settings import load_settings
from infra.base.telemetry import configure_logging
from infra.platform import service_context
from services.referrals.app import RULES
from services.referrals.handlers import rules as handler
from services.referrals.model.rulecheck import Finding
from services.referrals.model.rules import InvalidRulesError, Rules

CURRENT = "current"


async def publish(file: Path, data: Path | None) -> Rules:
    """Put a rule set into force; raises as ``handler.publish`` does."""
    async with (
        service_context(load_settings(data=data), "referrals") as (platform, database),
        database.transaction() as tx,
    ):
        writer = platform.writer("referrals")
        return await handler.publish(tx, writer, platform.clock, file, "operator")


def named(name: str, data: Path | None) -> Rules:
    """The rules of a file, or those in force (``current``)."""
    return asyncio.run(_current(data)) if name == CURRENT else handler.read(Path(name))


async def _current(data: Path | None) -> Rules:
    async with (
        service_context(load_settings(data=data), "referrals") as (_, database),
        database.reading() as connection,
    ):
        return await handler.in_force(connection, RULES)


async def simulate(
    file: Path, since: date | None, limit: int, data: Path | None
) -> handler.Simulation:
    """Try a rule set on past cases, with a progress bar on stderr."""
    rules = handler.read(file)
    found = handler.Simulation()
    bar = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with service_context(load_settings(data=data), "referrals") as (platform, database):
        writer = platform.writer("referrals")
        with Progress(*bar, console=Console(stderr=True)) as progress:
            task = progress.add_task("cases", total=None)
            async for found in handler.simulate(database, writer, rules, since, limit):
                total = min(found.total, limit)
                progress.update(task, total=total, completed=found.seen)
    return found


def print_simulation(found: handler.Simulation, *, as_json: bool) -> None:
    """Who would move where, and why: ids and conditions, never facts."""
    flows = sorted(found.flows.items(), key=lambda f: (-f[1], str(f[0])))
    if as_json:
        shown = {
            "cases": found.seen,
            "erased": found.erased,
            "partial": found.partial,
            "would_move": found.flows.total(),
            "moved": [
                {"case_id": m.case_id, "from": m.before, "to": m.after, "because": m.because}
                for m in found.moved
            ],
        }
        sys.stdout.write(orjson.dumps(shown).decode() + "\n")
        return
    count = found.flows.total()
    typer.echo(f"{found.seen} cases, {count} would move, {found.erased} erased")
    if found.partial:
        typer.echo(f"{found.partial} of them judged among the services that were described")
    for (before, after), count in flows:
        typer.echo(f"{count:>7}  {before or 'nobody'} → {after or 'nobody'}")
    for moved in found.moved[:50]:
        typer.echo(f"  {moved.case_id}: {', '.join(moved.because)}")


def print_findings(found: list[Finding]) -> None:
    """What keeps rules from being published."""
    for finding in found:
        typer.echo(f"  ✗ {finding}", err=True)
    if not found:
        typer.echo("  ✓ may be published", err=True)


@contextmanager
def named_errors() -> Iterator[None]:
    """Errors in one line that names the repair."""
    configure_logging("ERROR", plain=True)
    try:
        yield
    except handler.RefusedRulesError as error:
        print_findings(error.findings)
        raise SystemExit(1) from error
    except InvalidRulesError as error:
        typer.secho(f"✗ {error}\n  Repair: aiguillage rules check FILE", err=True, fg="red")
        raise SystemExit(1) from error
