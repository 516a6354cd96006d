"""`aiguillage alarms`: what a human must look at although the hub works."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from services.hub.cli.options import AsJson, Data
from services.hub.terminal import tell

if TYPE_CHECKING:
    from services.hub.operations.alarms import Listed

app = typer.Typer(no_args_is_help=True, help="What is to be looked at although the hub works.")


@app.command("list")
def list_alarms(data: Data = None, json: AsJson = False) -> None:
    """Every open alarm of every service; exit code 1 if there is any."""
    from infra.base.settings import load_settings
    from services.hub.operations import alarms

    listed = asyncio.run(alarms.list_alarms(load_settings(data=data)))
    if json:
        documents = [{"service": one.service, **one.alarm.document()} for one in listed]
        sys.stdout.write(orjson.dumps(documents).decode() + "\n")
    say(listed)
    raise SystemExit(1 if listed else 0)


@app.command()
def acknowledge(
    service: Annotated[str, typer.Argument(help="As `alarms list` names it.")],
    kind: Annotated[str, typer.Argument(help="As `alarms list` names it.")],
    subject: Annotated[str, typer.Argument(help="As `alarms list` names it.")],
    data: Data = None,
) -> None:
    """Take note of an alarm; it is shown again only if it is raised again."""
    from infra.base.settings import load_settings
    from services.hub.operations import alarms

    asyncio.run(alarms.acknowledge(load_settings(data=data), service, kind, subject))
    tell(f"  ✓ {service} {kind} {subject} acknowledged")


def say(listed: "list[Listed]") -> None:
    """Print alarms for people."""
    for one in listed:
        alarm = one.alarm
        since = f"since {alarm.since:%Y-%m-%d %H:%M}"
        line = f"{one.service} {alarm.kind} {alarm.subject}: {alarm.detail}"
        typer.secho(f"  ! {line} ({alarm.count} ×, {since} UTC)", err=True, fg="yellow")
