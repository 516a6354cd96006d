"""`aiguillage erase`, `retention`, `backup`, `restore`: data that go, and data that stay."""

import asyncio
from datetime import date
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from contracts.erasure import ErasureReason
from services.hub.cli.options import Data, day

app = typer.Typer(no_args_is_help=True)
retention_app = typer.Typer(no_args_is_help=True, help="What is archived and erased by time.")
app.add_typer(retention_app, name="retention")
Keys = Annotated[Path, typer.Option("--keys", help="Directory of the keys' dump, elsewhere.")]


@app.command()
def erase(
    person_id: Annotated[UUID, typer.Argument(help="Any id of the person.")],
    reason: Annotated[ErasureReason, typer.Option(help="Why.")] = ErasureReason.ASKED,
    data: Data = None,
) -> None:
    """Erase a person everywhere; asked twice, done once. The running hub carries it out."""
    from services.hub.operations import privacy

    erasures = asyncio.run(privacy.erase(person_id, reason, data))
    for erasure in erasures:
        state = "erased" if erasure.erased_at else "under way"
        typer.echo(f"  ✓ {erasure.person_id} {state}", err=True)


@retention_app.command("preview")
def preview(
    on: Annotated[
        date | None,
        typer.Option(parser=day, metavar="YYYY-MM-DD", help="Day; today if not given."),
    ] = None,
    data: Data = None,
) -> None:
    """Say what retention would do on a day, if nobody came until then."""
    from services.hub.operations import privacy

    for item in asyncio.run(privacy.preview(on, data)):
        typer.echo(f"{item.step}\t{item.person_id}\t{item.last_contact_on}")


@retention_app.command("run")
def run(data: Data = None) -> None:
    """Do at once what is due today; the hub does so by itself, every hour."""
    from services.hub.operations import privacy

    count = asyncio.run(privacy.retain(data))
    typer.echo(f"  ✓ {count} archived, or about to be erased", err=True)


@app.command()
def backup(
    directory: Annotated[Path, typer.Argument(help="Where the main database is dumped.")],
    keys: Keys,
    data: Data = None,
) -> None:
    """Dump databases while the hub runs: data into one place, wrapped keys into another."""
    from services.hub.operations import privacy

    made = asyncio.run(privacy.back_up(directory, keys, data))
    events = sum(made.events.values())
    typer.echo(f"  ✓ {events} events, log of {made.log_size} entries", err=True)
    typer.echo("    Key files are in neither place: keep them apart from both.", err=True)


@app.command()
def restore(
    directory: Annotated[Path, typer.Argument(help="Of the main database's dump.")],
    keys: Keys,
    ledger: Annotated[
        list[Path], typer.Option(help="Ledgers of erasures, the newest above all.")
    ],
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoints of the log, the newest that anybody holds."),
    ] = None,
    data: Data = None,
) -> None:
    """Load a backup into an empty data directory; the hub replays erasures before it serves."""
    from services.hub.operations import privacy

    count = asyncio.run(privacy.restore(directory, keys, ledger, checkpoint or [], data))
    typer.echo(f"  ✓ restored; {count} erasures are replayed at the next start", err=True)
