"""What an operator does with rule sets; the commands are in ``cli_rules``."""

import asyncio
import sys
from datetime import date
from pathlib import Path

import orjson
import typer

from infra.base.settings import load_settings
from infra.base.telemetry import configure_logging
from infra.platform import service_context
from services.hub.terminal import ProgressBar, tell
from services.referrals.app import RULES
from services.referrals.handlers import rules as handler
from services.referrals.model.rulecheck import Finding
from services.referrals.model.rules import InvalidRulesError, Rules

CURRENT = "current"
REPAIRS: dict[type[Exception], str] = {InvalidRulesError: "aiguillage rules check FILE"}
"""What to do about errors of the commands on rules."""


async def publish(file: Path, data: Path | None) -> Rules:
    """Put a rule set into force, or print what keeps it from that, and end."""
    configure_logging("ERROR", plain=True)
    async with (
        service_context(load_settings(data=data), "referrals") as (platform, database),
        database.transaction() as tx,
    ):
        writer = platform.writer("referrals")
        try:
            return await handler.publish(tx, writer, platform.clock, file, "operator")
        except handler.RefusedRulesError as error:
            print_findings(error.findings)
            raise SystemExit(1) from error


def named(name: str, data: Path | None) -> Rules:
    """Return the rules of a file, or those in force (``current``)."""
    configure_logging("ERROR", plain=True)
    if name != CURRENT:
        return handler.read(Path(name))

    async def current() -> Rules:
        async with (
            service_context(load_settings(data=data), "referrals") as (_, database),
            database.reading() as tx,
        ):
            return await handler.in_force(tx, RULES)

    return asyncio.run(current())


async def simulate(
    file: Path, since: date | None, limit: int, data: Path | None
) -> handler.Simulation:
    """Try a rule set on past cases, with a progress bar on stderr."""
    configure_logging("ERROR", plain=True)
    rules = handler.read(file)
    simulation = handler.Simulation()
    async with service_context(load_settings(data=data), "referrals") as (platform, database):
        writer = platform.writer("referrals")
        tried = handler.simulate(database, writer, rules, since, limit)
        with ProgressBar("cases") as progress:
            async for simulation in tried:
                progress(simulation.seen, min(simulation.total, limit))
    return simulation


def print_simulation(simulation: handler.Simulation, *, as_json: bool) -> None:
    """Who would move where, and why: ids and conditions, never facts."""
    flows = sorted(simulation.flows.items(), key=lambda f: (-f[1], str(f[0])))
    if as_json:
        shown = {
            "cases": simulation.seen,
            "erased": simulation.erased,
            "partial": simulation.partial,
            "would_move": simulation.flows.total(),
            "moved": [
                {"case_id": m.case_id, "from": m.before, "to": m.after, "because": m.because}
                for m in simulation.moved
            ],
        }
        sys.stdout.write(orjson.dumps(shown).decode() + "\n")
        return
    count = simulation.flows.total()
    typer.echo(f"{simulation.seen} cases, {count} would move, {simulation.erased} erased")
    if simulation.partial:
        typer.echo(
            f"{simulation.partial} of them judged among the services that were described"
        )
    for (before, after), count in flows:
        typer.echo(f"{count:>7}  {before or 'nobody'} → {after or 'nobody'}")
    for moved in simulation.moved[:50]:
        typer.echo(f"  {moved.case_id}: {', '.join(moved.because)}")


def print_findings(findings: list[Finding]) -> None:
    """What keeps rules from being published."""
    for finding in findings:
        tell(f"  ✗ {finding}")
    if not findings:
        tell("  ✓ may be published")
