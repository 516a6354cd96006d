"""`aiguillage audit`: keys and proofs of the log; and `aiguillage witness`."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import orjson
import typer

from services.hub.cli.options import AsJson, Data
from services.hub.terminal import repaired_by

app = typer.Typer()
VKeys = Annotated[
    list[str] | None, typer.Option("--vkey", help="A public key of the log; may be repeated.")
]


@app.command("rotate-key")
def rotate_key(
    overlap_days: Annotated[
        int, typer.Option(min=0, max=3650, help="Days in which the old key signs as well.")
    ] = 30,
    data: Data = None,
) -> None:
    """Give the log a new key; the old one goes on signing for a while, then is retired."""
    from infra.base.settings import load_settings
    from services.hub.operations import log as logkeeping

    for line in logkeeping.rotate_key(load_settings(data=data), timedelta(days=overlap_days)):
        typer.echo(line)


@app.command()
def reconcile(data: Data = None, json: AsJson = False) -> None:
    """Compare log, events and read tables; exit code 1 if anything differs."""
    from infra.base.settings import load_settings
    from services.hub.operations.reconcile import reconcile as compare

    async def run() -> int:
        differences = 0
        async for report in compare(load_settings(data=data)):
            differences += report.count
            if json:
                sys.stdout.write(orjson.dumps(report.document()).decode() + "\n")
            for line in report.lines():
                typer.echo(line, err=True)
        return differences

    raise SystemExit(1 if asyncio.run(run()) else 0)


@app.command()
def proof(
    event_id: Annotated[str, typer.Argument(help="Id of an event.")],
    url: Annotated[str, typer.Option(help="Address of the audit service.")],
    output: Annotated[Path | None, typer.Option(help="File to write; none: stdout.")] = None,
    opening: Annotated[
        Path | None, typer.Option(help="File to write what the entry says; needs --key.")
    ] = None,
    key: Annotated[
        str, typer.Option(envvar="AIGUILLAGE_AUDIT_KEY", help="An auditor's key.")
    ] = "",
) -> None:
    """Fetch the file that proves one event to be in the log, for `check-proof`."""
    from services.hub.operations import proofs

    fetched = asyncio.run(proofs.fetch(url, event_id))
    if opening is not None:
        opening.write_bytes(asyncio.run(proofs.fetch_opening(url, key, event_id, fetched)))
    if output is None:
        sys.stdout.write(fetched.decode())
    else:
        output.write_bytes(fetched)


@app.command("check-proof")
def check_proof(
    file: Annotated[Path, typer.Argument(help="A .tlog-proof file.", exists=True)],
    vkey: VKeys = None,
    policy: Annotated[
        Path | None, typer.Option(help="Logs and witnesses to trust (C2SP tlog-policy).")
    ] = None,
    entry: Annotated[
        Path | None, typer.Option(help="The entry, if not the one in the file.")
    ] = None,
    opening: Annotated[
        Path | None, typer.Option(help="What the entry says, as `proof --opening` wrote it.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Check a proof offline; exit code 0: proven, 1: not proven, 2: cannot be judged."""
    from services.hub.operations import proofs

    verdict = proofs.check(file, vkey or [], policy, entry, opening)
    if json:
        sys.stdout.write(orjson.dumps(verdict.document()).decode() + "\n")
    for line in verdict.lines():
        typer.echo(line, err=True)
    raise SystemExit(verdict.exit_code)


def witness(
    log: Annotated[list[str], typer.Option(help="Public key of a log to witness; repeatable.")],
    data: Annotated[Path, typer.Option(help="Directory of the witness's key and memory.")],
    name: Annotated[
        str | None, typer.Option(help="Its name for ever; none: after this machine.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 8600,
    ml_dsa: Annotated[bool, typer.Option(help="Cosign with ML-DSA-44 as well.")] = False,
    json: AsJson = False,
) -> None:
    """Run a witness: it cosigns logs, refuses those that go back or fork, needs no hub."""
    from infra.base.telemetry import configure_logging
    from infra.tlog.note import NoteError, VKey
    from services.hub import witness as running

    configure_logging("INFO", plain=sys.stderr.isatty())
    with repaired_by({NoteError: running.WitnessSetupError.repair}):
        logs = [VKey.parse(text) for text in log]
        signers = running.witness_signers(data, name, ml_dsa=ml_dsa)
    vkeys = [signer.vkey.encode() for signer in signers]

    def announce(url: str) -> None:
        if json:
            sys.stdout.write(orjson.dumps({"url": url, "vkeys": vkeys}).decode() + "\n")
            sys.stdout.flush()
            return
        for vkey in vkeys:
            typer.echo(f"  ✓ {url}  {vkey}", err=True)

    asyncio.run(running.run(data, signers, logs, host=host, port=port, announce=announce))
