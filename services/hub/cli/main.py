"""`aiguillage`: the command line. Data on stdout, talk on stderr; errors name the repair.

A command imports what it needs: loading all of the hub takes two seconds.
"""

import asyncio
import os
import sys
from random import Random
from typing import Annotated, Any

import orjson
import typer

from infra.base.repairable import Repairable
from infra.base.settings import Settings, load_settings
from infra.base.telemetry import configure_logging
from services.hub.cli.alarms import app as alarms_app
from services.hub.cli.audit import app as audit_app
from services.hub.cli.keys import rotate_master
from services.hub.cli.log import app as log_app
from services.hub.cli.log import witness
from services.hub.cli.options import AsJson, Data
from services.hub.cli.partners import app as partners_app
from services.hub.cli.privacy import app as privacy_app
from services.hub.cli.rules import app as rules_app
from services.hub.terminal import FramedGroup, tell

MOST_NAME = 100
"""Characters of a key's name: events say by it who did something."""
app = typer.Typer(cls=FramedGroup, no_args_is_help=True, add_completion=False, help=__doc__)
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

Port = Annotated[int | None, typer.Option("--port", help="Port; 0 picks a free one.")]


def main() -> None:
    """Run the command line; others never change what a verb writes."""
    os.umask(os.umask(0o022) | 0o022)
    app()


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
            tell(f"  ✓ {name:<10} {address[name]}/openapi.json")
        tell(f"  keys: {settings.data / 'keys.json'} · Ctrl-C stops")

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
        raise Repairable(
            f"no service {service} {only or ''}", f"one of {', '.join(SERVICES)}, relay"
        )
    settings = _settings(data=data, port=port)

    def announce(address: dict[str, Any]) -> None:
        if json:
            _print_json(address)
            return
        for name, url in address.items():
            tell(f"  ✓ {name} {url}")

    running = run_service(settings, service, announce, only)
    run_sending(running) if service == "partners" else asyncio.run(running)


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
        tell(f"  ✓ {schema} at {revision}")


@app.command()
def seed(name: str = "petite-foret", data: Data = None) -> None:
    """Load a directory of partners."""
    from services.hub.operations import hub as operations

    count = asyncio.run(operations.seed_directory(_settings(data=data), name))
    tell(f"  ✓ {count} new or changed partners and services")


@app.command()
def doctor(data: Data = None, json: AsJson = False) -> None:
    """Check what the hub stands on; each failure names its repair."""
    from services.hub.operations import hub as operations

    settings = _settings(data=data)
    checks = asyncio.run(operations.doctor(settings))
    if json:
        _print_json([check.__dict__ for check in checks])
    for check in checks:
        tell(f"  {'✓' if check.ok else '✗'} {check.name}: {check.detail}")
        if not check.ok:
            tell(f"    Repair: {check.repair}")
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
        tell(
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
    tell(f"  ✓ the relay publishes {count} events of {service} again")


@app.command()
def rebuild(service: str, data: Data = None) -> None:
    """Empty a service's read tables and fold its events again."""
    from services.hub.operations import hub as operations

    count = asyncio.run(operations.rebuild(_settings(data=data), service))
    tell(f"  ✓ {service}: {count} events folded")


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
        raise Repairable(f"no public type {chosen}", "aiguillage example --list")
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
        raise Repairable(
            f"the name of a key has at most {MOST_NAME} characters", "give a shorter name"
        )
    settings = _settings(data=data)
    key = asyncio.run(operations.create_api_key(settings, service, role, name, scope or []))
    sys.stdout.write(key + "\n")


@keys_app.command("revoke")
def keys_revoke(service: str, name: str, data: Data = None) -> None:
    """Revoke a key; callers are refused within half a minute."""
    from services.hub.operations import hub as operations

    if not asyncio.run(operations.revoke_api_key(_settings(data=data), service, name)):
        raise Repairable(f"{service} has no key {name}", "aiguillage status")


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
    tell(f"  {'✓' if left == 0 else '✗'} {left} still parked")
    raise SystemExit(0 if left == 0 else 1)


@subscriptions_app.command("discard")
def discard(service: str, subscription: str, data: Data = None) -> None:
    """Forget where records lay that nobody can read; what is a person's stays parked."""
    from services.hub.operations import hub as operations

    count = asyncio.run(operations.discard(_settings(data=data), service, subscription))
    tell(f"  ✓ {count} places forgotten")


@subscriptions_app.command("rewind")
def rewind(service: str, subscription: str, data: Data = None) -> None:
    """Let a subscription that only fills read tables start again from the beginning."""
    from services.hub.operations import hub as operations

    asyncio.run(operations.rewind(_settings(data=data), service, subscription))


if __name__ == "__main__":
    main()
