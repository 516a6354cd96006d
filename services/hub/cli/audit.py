"""`aiguillage audit`: export, verify, replay, diff."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from infra.base.repairable import Repairable
from services.hub.cli.options import Data
from services.hub.terminal import repaired_by, tell

app = typer.Typer(no_args_is_help=True, help="The audit log: export, verify, replay, diff.")
Url = Annotated[str | None, typer.Option("--url", help="Address of the audit service.")]
Key = Annotated[
    str, typer.Option("--key", envvar="AIGUILLAGE_AUDIT_KEY", help="An auditor's key.")
]
Last = Annotated[
    Path | None,
    typer.Option(
        "--last-checkpoint",
        exists=True,
        dir_okay=False,
        help="A checkpoint kept from before, which the log must extend.",
    ),
]
From = Annotated[str | None, typer.Option("--from", help="First index, or day.")]
To = Annotated[str | None, typer.Option("--to", help="Last index, or day; included.")]
Person = Annotated[str | None, typer.Option("--person", help="One person's pathway.")]
Case = Annotated[str | None, typer.Option("--case", help="One case.")]
Referral = Annotated[str | None, typer.Option("--referral", help="One referral.")]
Partner = Annotated[str | None, typer.Option("--partner", help="One partner.")]
Statistics = Annotated[bool, typer.Option("--statistics", help="The numbers alone.")]
Exported = Annotated[
    Path | None,
    typer.Option("--export", exists=True, file_okay=False, help="Read an export instead."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Lines of JSON on stdout.")]


@app.command()
def verify(
    directory: Annotated[
        Path | None, typer.Argument(help="An export.", exists=True, file_okay=False)
    ] = None,
    vkey: Annotated[
        list[str] | None,
        typer.Option("--vkey", help="A public key of the log; each, if it had several."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Logs to trust, and witnesses to have cosigned (C2SP tlog-policy).",
        ),
    ] = None,
    last_checkpoint: Last = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one a processor by default.")
    ] = None,
    url: Url = None,
    key: Key = "",
) -> None:
    """Check an export, or the log of a service, with the public key alone.

    The last line says what was found, and so does the exit code: 0 intact, 1 broken, 2
    incomplete.
    """
    from services.hub.operations import audit

    if (directory is None) == (url is None):
        raise Repairable("give a directory or --url", "aiguillage audit verify --help")
    trusted = audit.Trusted(vkey or [], policy)
    if directory:
        verdict = audit.verify(directory, trusted, last_checkpoint, workers)
    else:
        verdict = asyncio.run(audit.verify_service(str(url), key, trusted))
    raise SystemExit(audit.say(verdict))


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(help="Empty, or an unfinished export.")],
    from_: From = None,
    to: To = None,
    person: Person = None,
    case: Case = None,
    last_checkpoint: Last = None,
    url: Url = None,
    key: Key = "",
    data: Data = None,
) -> None:
    """Write the log, a period of it, or one pathway, with its proofs, to a directory.

    From this machine's database, or from a service with --url and an auditor's key. What was
    interrupted goes on where it stopped. No key that opens anything is ever in an export.
    """
    from services.hub.operations import audit
    from services.hub.operations import export as exporting

    with repaired_by(audit.REPAIRS):
        asked = exporting.Asked(from_, to, person, case, last_checkpoint)
        manifest = asyncio.run(exporting.export(directory, asked, url, key, data))
    tell(f"  ✓ {manifest.entries} entries, {manifest.checkpoints} earlier checkpoints")


@app.command()
def replay(
    at: Annotated[int | None, typer.Option(min=0, help="As of an index, included.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="As of a day's end, or a moment.")
    ] = None,
    person: Person = None,
    case: Case = None,
    referral: Referral = None,
    partner: Partner = None,
    statistics: Statistics = False,
    from_: Annotated[int, typer.Option("--from", min=0, help="Show entries from here.")] = 0,
    export: Exported = None,
    json: AsJson = False,
    data: Data = None,
) -> None:
    """Rebuild anything as of any date from the log alone: its entries, then its states."""
    from services.hub.operations import audit

    with repaired_by(audit.REPAIRS):
        subject = audit.subject_of(person, case, referral, partner)
        if at is not None and as_of is not None:
            raise ValueError("give --at or --as-of, not both")
        then = str(at) if at is not None else as_of
        shown = audit.Shown(from_, statistics, json)
        asyncio.run(audit.replay(audit.Where(export, data), subject, then, shown))


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="An index, day or moment.")],
    after: Annotated[str, typer.Argument(metavar="B", help="An index, day or moment.")],
    person: Person = None,
    case: Case = None,
    referral: Referral = None,
    partner: Partner = None,
    statistics: Statistics = False,
    export: Exported = None,
    json: AsJson = False,
    data: Data = None,
) -> None:
    """What changed in the states between two positions or dates; exit code 1 if any did."""
    from services.hub.operations import audit

    with repaired_by(audit.REPAIRS):
        subject = audit.subject_of(person, case, referral, partner)
        if not statistics:
            subject = audit.states_of(subject)
        where = audit.Where(export, data)
        changed = asyncio.run(audit.diff(where, subject, (before, after), json))
    raise SystemExit(1 if changed else 0)
