"""`aiguillage`: the command line. Data on stdout, talk on stderr; errors name the repair.

A command imports what it needs: loading all of the hub takes two seconds.
"""

import asyncio
import errno
import os
import sys
from pathlib import Path
from random import Random
from typing import Annotated, Any

import orjson
import typer

from infra.base.settings import Settings, load_settings
from infra.base.telemetry import configure_logging
from services.hub.cli.alarms import app as alarms_app
from services.hub.cli.audit import app as audit_app
from services.hub.cli.keys import rotate_master
from services.hub.cli.log import app as log_app
from services.hub.cli.log import witness
from services.hub.cli.partners import app as partners_app
from services.hub.cli.privacy import app as privacy_app
from services.hub.cli.rules import app as rules_app

MOST_NAME = 100
"""Characters of a key's name: events say by it who did something."""
app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
keys_app = typer.Typer(no_args_is_help=True, help="API keys of callers; the master key.")
subscriptions_app = typer.Typer(no_args_is_help=True, help="Pause, resume, replay consumers.")
app.add_typer(keys_app, name="keys")
keys_app.command("rotate-master")(rotate_master)
app.add_typer(subscriptions_app, name="subscriptions")
app.add_typer(alarms_app, name="alarms")
app.add_typer(audit_app, name="audit")
audit_app.add_typer(log_app)
app.command()(witness)
app.add_typer(rules_app, name="rules")
app.add_typer(partners_app, name="partners")
app.add_typer(privacy_app)

Data = Annotated[Path | None, typer.Option("--data", help="Directory of what is kept.")]
Port = Annotated[int | None, typer.Option("--port", help="Port; 0 picks a free one.")]
AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON on stdout.")]
NO_HUB = 3
"""Exit code of a verb where no hub is."""


def main() -> None:
    """Entry point: errors in one line that names the repair."""
    os.umask(os.umask(0o022) | 0o022)  # others never change what a verb writes
    try:
        app()
    except OSError as error:
        _fail(f"{type(error).__name__}: {error}", _repair_of(error))
    except Exception as error:
        _fail_as_known(error)
        raise


def _repair_of(error: OSError) -> str:
    """What to do about what the system refused."""
    about = f" ({error.filename})" if error.filename else ""
    return {
        errno.EADDRINUSE: "another program uses the port: stop it, or give another --port",
        errno.EADDRNOTAVAIL: "this machine has no such address: give another --host",
        errno.ENOSPC: f"the disk is full{about}: free some space, then run it again",
        errno.EDQUOT: f"the user's share of the disk is used up{about}: free some space",
        errno.EROFS: f"the disk may only be read{about}: give a --data that may be written",
        errno.EACCES: f"the user lacks the right{about}: run it as the hub's owner, or give a "
        "port from 1024 on",
        errno.EPERM: f"the user lacks the right{about}: run it as the hub's owner",
        errno.EMFILE: "the process may not open so many files: raise `ulimit -n`",
    }.get(error.errno or 0, "aiguillage doctor")


def _fail_as_known(error: Exception) -> None:
    from infra.base.data_directory import NoHubError, NotOwnerError
    from infra.base.files import AlreadyRunningError
    from infra.base.requesters import RequestersError
    from infra.postgres.ddl import ForeignMigrationsError, NotMigratedError
    from infra.postgres.logins import UnknownPasswordError
    from infra.tlog.keyring import NoKeyError
    from infra.tlog.policy import PolicyError
    from services.hub.host import ErasuresNotReplayedError
    from services.hub.operations.alarms import NoSuchAlarmError
    from services.hub.operations.hub import UnknownNameError
    from services.hub.operations.proofs import NoProofError
    from services.hub.operations.reconcile import BusyError

    known: tuple[tuple[type[Exception], str], ...] = (
        (NoHubError, "give the --data of a hub, or begin one: aiguillage up"),
        (NotOwnerError, ""),
        (NotMigratedError, "aiguillage migrate"),
        (ForeignMigrationsError, "install the release that applied it"),
        (UnknownPasswordError, "put the file of the hub that made it there, as pgpass"),
        (AlreadyRunningError, "stop it first, or give another --data"),
        (UnknownNameError, "aiguillage status"),
        (NoSuchAlarmError, "aiguillage alarms list"),
        (BusyError, "aiguillage audit reconcile, later"),
        (NoProofError, "check the event's id and the address of the audit service"),
        (NoKeyError, "start the hub once, or give its --data and AIGUILLAGE_LOG_ORIGIN"),
        (PolicyError, "correct the file that AIGUILLAGE_LOG_POLICY names"),
        (RequestersError, "correct the file of AIGUILLAGE_REQUESTERS"),
        (
            ErasuresNotReplayedError,
            "aiguillage status: every service must run, nothing be paused or parked",
        ),
    )
    for kind, repair in known:
        if isinstance(error, kind):
            code = NO_HUB if isinstance(error, NoHubError) else 1
            _fail(str(error), getattr(error, "repair", repair), code)


def _fail(what: str, repair: str, code: int = 1) -> None:
    typer.secho(f"✗ {what}\n  Repair: {repair}", err=True, fg="red")
    raise SystemExit(code)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")
    sys.stdout.flush()


def _settings(**given: object) -> Settings:
    settings = load_settings(**given)
    configure_logging(settings.log_level, plain=sys.stderr.isatty())
    return settings


@app.command()
def up(data: Data = None, port: Port = None, json: AsJson = False) -> None:
    """Run the whole hub in this process; data are kept between runs."""
    from contracts.registry import SERVICES
    from services.hub.host import up as run_all

    settings = _settings(data=data, port=port)

    def announce(address: dict[str, Any]) -> None:
        if json:
            _print_json(address)
            return
        for name in SERVICES:
            _say(f"  ✓ {name:<10} {address[name]}/openapi.json")
        _say(f"  keys: {settings.data / 'keys.json'} · Ctrl-C stops")

    asyncio.run(run_all(settings, announce))


@app.command()
def run(
    service: Annotated[str, typer.Argument(help="intake, referrals, partners, audit or relay")],
    data: Data = None,
    port: Port = None,
    json: AsJson = False,
    only: Annotated[str | None, typer.Option(help="Relay only this service's events.")] = None,
) -> None:
    """Run one service as its own process (scaled out, with Kafka in between)."""
    from contracts.registry import SERVICES
    from infra.workers.event_loop import run_sending
    from services.hub.host import run as run_service

    if service not in (*SERVICES, "relay") or (only and only not in SERVICES):
        _fail(f"no service {service} {only or ''}", f"one of {', '.join(SERVICES)}, relay")
    settings = _settings(data=data, port=port)
    running = run_service(settings, service, _print_json if json else _announce, only)
    run_sending(running) if service == "partners" else asyncio.run(running)


def _announce(address: dict[str, Any]) -> None:
    for name, url in address.items():
        _say(f"  ✓ {name} {url}")


@app.command()
def demo(
    kafka: Annotated[bool, typer.Option("--kafka", help="Real Kafka in between.")] = False,
) -> None:
    """A day at Petite-Forêt, from the desk to the proof; the exit code says if it held."""
    from services.hub.demo.day import run_demo

    configure_logging("ERROR", plain=True)
    raise SystemExit(asyncio.run(run_demo(kafka=kafka)))


@app.command()
def migrate(data: Data = None) -> None:
    """Create databases, schemas and roles, and bring them up to date."""
    from services.hub.operations import hub as operations

    for schema, revision in asyncio.run(operations.migrate_all(_settings(data=data))).items():
        _say(f"  ✓ {schema} at {revision}")


@app.command()
def seed(name: str = "petite-foret", data: Data = None) -> None:
    """Load a directory of partners."""
    from services.hub.operations import hub as operations

    count = asyncio.run(operations.seed_directory(_settings(data=data), name))
    _say(f"  ✓ {count} new or changed partners and services")


@app.command()
def doctor(data: Data = None, json: AsJson = False) -> None:
    """Check what the hub stands on; each failure names its repair."""
    from services.hub.operations import hub as operations

    settings = _settings(data=data)
    checks = asyncio.run(operations.doctor(settings))
    if json:
        _print_json([check.__dict__ for check in checks])
    for check in checks:
        _say(f"  {'✓' if check.ok else '✗'} {check.name}: {check.detail}")
        if not check.ok:
            _say(f"    Repair: {check.repair}")
    raise SystemExit(0 if all(check.ok for check in checks) else 1)


@app.command()
def status(data: Data = None, json: AsJson = False) -> None:
    """Each subscription: where it stands, how far behind, paused, parked; open alarms."""
    from services.hub.cli.alarms import say
    from services.hub.operations import alarms
    from services.hub.operations import hub as operations

    settings = _settings(data=data)
    rows = asyncio.run(operations.status(settings))
    if json:
        _print_json(rows)
        return
    for row in rows:
        paused = f" PAUSED ({row['reason']})" if row["paused"] else ""
        _say(
            f"  {row['service']:<10} {row['subscription']:<14} at {row['next']:>8} "
            f"lag {row['lag'] if row['lag'] is not None else '?':>5} "
            f"parked {row['parked']:>3}{paused}"
        )
    say(asyncio.run(alarms.list_alarms(settings)))


@app.command()
def republish(service: str, data: Data = None) -> None:
    """Let the relay fill a service's Kafka topic again from its table; nothing is doubled."""
    from services.hub.operations import hub as operations

    count = asyncio.run(operations.republish(_settings(data=data), service))
    _say(f"  ✓ the relay publishes {count} events of {service} again")


@app.command()
def rebuild(service: str, data: Data = None) -> None:
    """Empty a service's read tables and fold its events again."""
    from services.hub.operations import hub as operations

    count = asyncio.run(operations.rebuild(_settings(data=data), service))
    _say(f"  ✓ {service}: {count} events folded")


@app.command()
def example(
    event_type: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="A contact, unless given.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Name the types.")] = False,
    seed_number: Annotated[
        int | None, typer.Option("--seed", help="Same seed, same event.")
    ] = None,
) -> None:
    """Print one valid CloudEvent: fresh ids, an invented person."""
    from contracts.public import PUBLIC_TYPES, PublicContact
    from contracts.tools.examples import example as make_example

    chosen = event_type or PublicContact.TYPE
    if listed:
        sys.stdout.write("\n".join(PUBLIC_TYPES) + "\n")
        return
    if chosen not in PUBLIC_TYPES:
        _fail(f"no public type {chosen}", "aiguillage example --list")
    random = Random() if seed_number is None else Random(seed_number)
    _print_json(make_example(chosen, random))


@keys_app.command("create")
def keys_create(
    service: str,
    role: str,
    name: str,
    scope: Annotated[list[str] | None, typer.Option(help="CloudEvents source allowed.")] = None,
    data: Data = None,
) -> None:
    """Create a key (or replace the one of that name); it is shown only now."""
    from services.hub.operations import hub as operations

    if len(name) > MOST_NAME:
        _fail(f"the name of a key has at most {MOST_NAME} characters", "give a shorter name")
    settings = _settings(data=data)
    key = asyncio.run(operations.create_api_key(settings, service, role, name, scope or []))
    sys.stdout.write(key + "\n")


@keys_app.command("revoke")
def keys_revoke(service: str, name: str, data: Data = None) -> None:
    """Revoke a key; callers are refused within half a minute."""
    from services.hub.operations import hub as operations

    if not asyncio.run(operations.revoke_api_key(_settings(data=data), service, name)):
        _fail(f"{service} has no key {name}", "aiguillage status")


@subscriptions_app.command("pause")
def pause(service: str, subscription: str, data: Data = None) -> None:
    """Hold a subscription still."""
    from services.hub.operations import hub as operations

    asyncio.run(operations.pause(_settings(data=data), service, subscription, True))


@subscriptions_app.command("resume")
def resume(service: str, subscription: str, data: Data = None) -> None:
    """Let a subscription go on."""
    from services.hub.operations import hub as operations

    asyncio.run(operations.pause(_settings(data=data), service, subscription, False))


@subscriptions_app.command("replay")
def replay(service: str, subscription: str, data: Data = None) -> None:
    """Handle parked messages again, in order."""
    from services.hub.operations import hub as operations

    left = asyncio.run(operations.replay(_settings(data=data), service, subscription))
    _say(f"  {'✓' if left == 0 else '✗'} {left} still parked")
    raise SystemExit(0 if left == 0 else 1)


@subscriptions_app.command("discard")
def discard(service: str, subscription: str, data: Data = None) -> None:
    """Forget where records lay that nobody can read; what is a person's stays parked."""
    from services.hub.operations import hub as operations

    found = asyncio.run(operations.discard(_settings(data=data), service, subscription))
    _say(f"  ✓ {found} places forgotten")


@subscriptions_app.command("rewind")
def rewind(service: str, subscription: str, data: Data = None) -> None:
    """Let a subscription that only fills read tables start again from the beginning."""
    from services.hub.operations import hub as operations

    asyncio.run(operations.rewind(_settings(data=data), service, subscription))


if __name__ == "__main__":
    main()
