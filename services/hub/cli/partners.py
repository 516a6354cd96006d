"""`aiguillage partners`: import and export the directory."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from contracts.values import PartnerKind
from services.hub.cli.options import Data

app = typer.Typer(no_args_is_help=True, help="The directory of partners: import, export.")


class Format(StrEnum):
    """How a directory is written."""

    DATA_INCLUSION = "data-inclusion"
    HSDS = "hsds"


As = Annotated[Format, typer.Option("--format", help="data·inclusion v1, or HSDS 3.x.")]
Files = Annotated[
    list[Path],
    typer.Argument(
        help="One source: JSON (in parts or pages, if need be), or the structures as CSV.",
        exists=True,
        dir_okay=False,
    ),
]
Services = Annotated[
    Path | None,
    typer.Option("--services", help="The services as CSV.", exists=True, dir_okay=False),
]
Source = Annotated[str | None, typer.Option("--source", help="The source's name.")]


@app.command("import")
def import_(
    files: Files,
    services: Services = None,
    format: As = Format.DATA_INCLUSION,
    source: Source = None,
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
    from services.hub.operations import partners
    from services.partners.handlers.imports import Choices
    from services.partners.handlers.rows import ImportRefusedError

    choices = Choices(kind, dry_run, withdraw_many)
    try:
        documents = partners.read_files(format, files, services, source)
        report = asyncio.run(partners.take_in(documents, choices, data))
    except ImportRefusedError as error:
        typer.secho(f"  ✗ Rien n'a été importé : {error}", err=True, fg="red")
        raise SystemExit(1) from error
    partners.print_report(report, dry_run=dry_run)
    raise SystemExit(1 if report.refused else 0)


@app.command()
def export(
    format: As = Format.DATA_INCLUSION, source: Source = None, data: Data = None
) -> None:
    """Print the directory, or one source of it."""
    from services.hub.operations import partners

    typer.echo(asyncio.run(partners.give_out(format, source, data)).decode())
