"""`aiguillage partners`: import and export the directory."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from contracts.values import PartnerKind

app = typer.Typer(no_args_is_help=True, help="The directory of partners: import, export.")
Data = Annotated[Path | None, typer.Option("--data", help="Directory of what is kept.")]
File = Annotated[
    Path, typer.Argument(help="data·inclusion v1: JSON, or structures as CSV.", exists=True)
]


@app.command("import")
def import_(
    file: File,
    services: Annotated[
        Path | None, typer.Option("--services", help="Services as CSV.", exists=True)
    ] = None,
    kind: Annotated[
        PartnerKind | None, typer.Option("--kind", help="Of structures without a network.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report, store nothing.")] = False,
    withdraw_many: Annotated[
        bool, typer.Option("--withdraw-many", help="More than half may be withdrawn.")
    ] = False,
    data: Data = None,
) -> None:
    """Take in a source; exit code 1 if anything was refused."""
    from services import directories
    from services.partners.handlers.imports import Choices

    choices = Choices(kind, dry_run, withdraw_many)
    report = asyncio.run(directories.take_in(file, services, choices, data))
    directories.print_report(report)
    raise SystemExit(1 if report.refused else 0)


@app.command()
def export(data: Data = None) -> None:
    """Print the directory as data·inclusion v1."""
    from services import directories

    typer.echo(asyncio.run(directories.give_out(data)).decode())
