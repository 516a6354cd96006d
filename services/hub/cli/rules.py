"""`aiguillage rules`: check, publish, simulate, diff."""

import asyncio
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from services.hub.cli.options import AsJson, Data, day
from services.hub.terminal import repaired_by

app = typer.Typer(no_args_is_help=True, help="The rules of routing: check, publish, try.")
File = Annotated[Path, typer.Argument(help="A decision graph (JDM).")]


@app.command()
def check(file: File) -> None:
    """Say what keeps a rule set from being published; exit code 1 if anything does."""
    from services.hub.operations import rules as rulesets
    from services.referrals.handlers.rules import read
    from services.referrals.model.rulecheck import findings

    with repaired_by(rulesets.REPAIRS):
        faults = findings(read(file))
    rulesets.print_findings(faults)
    raise SystemExit(1 if faults else 0)


@app.command()
def publish(file: File, data: Data = None) -> None:
    """Put a rule set into force, if the check passes."""
    from services.hub.operations import rules as rulesets

    with repaired_by(rulesets.REPAIRS):
        rules = asyncio.run(rulesets.publish(file, data))
    typer.echo(f"  ✓ {rules.name} version {rules.version}, {rules.digest}", err=True)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="A file, or `current`.")],
    new: Annotated[str, typer.Argument(help="A file, or `current`.")],
    data: Data = None,
) -> None:
    """Rows and weights that differ; exit code 1 if any do."""
    from services.hub.operations import rules as rulesets
    from services.referrals.model.rulecheck import differences

    with repaired_by(rulesets.REPAIRS):
        changes = differences(rulesets.named(old, data), rulesets.named(new, data))
    for change in changes:
        typer.echo(str(change))
    raise SystemExit(1 if changes else 0)


@app.command()
def simulate(
    file: File,
    since: Annotated[date | None, typer.Option(parser=day, metavar="YYYY-MM-DD")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many cases.")] = 1_000_000,
    json: AsJson = False,
    data: Data = None,
) -> None:
    """Rank past cases again under a rule set, and print who would move where, and why."""
    from services.hub.operations import rules as rulesets

    with repaired_by(rulesets.REPAIRS):
        simulation = asyncio.run(rulesets.simulate(file, since, limit, data))
    rulesets.print_simulation(simulation, as_json=json)
