"""Processes: all services in one (`up`), or one each (`run`)."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar
from uuid import UUID

import orjson
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from contracts.registry import SERVICES
from infra.base import data_directory
from infra.base.files import locked
from infra.base.repairable import Repairable
from infra.base.settings import Settings
from infra.messaging.relay import relay_subscription
from infra.platform import Platform, databases_of
from infra.postgres.database import Database
from infra.postgres.ddl import ForeignMigrationsError
from infra.postgres.embedded import EmbeddedPostgres
from infra.web.app import Service, create_app
from infra.web.auth import create_key
from infra.web.problems import on_http_error
from infra.web.readiness import ReadinessGate
from infra.web.server import bind, serve, url_of

log = structlog.get_logger()
FIRST_KEYS = (  # (name in the answer, service, role, scope)
    ("municipal", "intake", "municipal", ("*",)),
    ("adviser", "intake", "adviser", ()),
    ("adviser", "referrals", "adviser", ()),
    ("adviser", "partners", "adviser", ()),
    ("adviser", "audit", "adviser", ()),
    ("partner_admin", "partners", "partner_admin", ()),
    ("auditor", "audit", "auditor", ()),
    ("privacy", "intake", "privacy", ()),
    ("privacy", "audit", "privacy", ()),
)
WATCH_SECONDS = 1.0
OPEN_SECONDS = 2.0
"""How long a process waits for its database before it says that it is there."""
CATCH_UP_SECONDS = 60
REPLAY_SECONDS = 900
T = TypeVar("T")


class ErasuresNotReplayedError(Repairable):
    """Persons whom a restored backup brought back are not erased again: nothing is served."""

    repair = "aiguillage status: every service must run, nothing be paused or parked"


@dataclass
class Running:
    """Services that `up` has started."""

    address: dict[str, Any]
    platform: Platform
    services: Sequence[Service]


@contextlib.asynccontextmanager
async def all_services(settings: Settings, base_url: str) -> AsyncIterator[Running]:
    """Every service in this process, on a migrated database with keys and a directory."""
    from infra.postgres.migrations import migrate  # only where all services are loaded
    from services.audit.handlers.signing import vkey
    from services.partners.handlers.directory import seed

    async with databases_of(settings, create=True) as (url, keys_url, server):
        await migrate(url, keys_url)
        shown = settings.model_copy(
            update={"public_url": settings.public_url or f"{base_url}/partners"}
        )
        platform = Platform(shown, url, keys_url)
        services = [build(name, platform) for name in SERVICES]
        watch = asyncio.create_task(_keep_running(server)) if server else None
        try:
            keys = await first_keys(platform)
            if settings.seed:
                await seed(platform, settings.seed)
            reopened = await _reopened(platform, services)
            for service in services:
                await service.start()
            await _erased_again(platform, reopened)
            await _caught_up(services)
            addresses = {name: f"{base_url}/{name}" for name in SERVICES}
            address = {**addresses, "database_url": url, "vkey": vkey(shown), "keys": keys}
            yield Running(address, platform, services)
        finally:
            if watch:
                watch.cancel()
            await asyncio.gather(*(service.stop() for service in services))
            await platform.close()


def mounted(services: Sequence[Service]) -> Starlette:
    """All services under one port, each below its name."""
    return Starlette(
        routes=[Mount(f"/{s.name}", s.app) for s in services],
        exception_handlers={HTTPException: on_http_error},
    )


async def up(settings: Settings, announce: Callable[[dict[str, Any]], None]) -> None:
    """Run everything in this process until told to stop."""
    data_directory.create(settings.data)
    with locked(settings.data / "lock"):
        listening = bind(settings.host, settings.port)
        base_url = url_of(settings.host, listening.getsockname()[1])
        async with all_services(settings, base_url) as running:
            app = mounted(running.services)
            await serve(
                app,
                listening,
                lambda: announce(running.address),
                root_path=settings.root_path,
            )


async def run(
    settings: Settings, name: str, announce: Callable[[dict[str, Any]], None], only: str | None
) -> None:
    """Run one service (or the relay of all, or of ``only`` one) until told to stop.

    Needs the key files in the data directory, and a migrated database; waits for that one if
    it is not there yet. Raises ``NoHubError``, and what `migrations.check` raises.
    """
    async with databases_of(settings, create=False) as (url, keys_url, _):
        listening = bind(settings.host, settings.port)
        base_url = url_of(settings.host, listening.getsockname()[1])
        shown = settings.model_copy(update={"public_url": settings.public_url or base_url})
        platform = Platform(shown, url, keys_url)
        service = relay(platform, only) if name == "relay" else build(name, platform)
        gate = ReadinessGate(service.app)
        opening = asyncio.create_task(_open(gate, platform, service, only))
        try:
            await asyncio.wait({opening}, timeout=OPEN_SECONDS)
            address = {name: base_url}
            await serve(gate, listening, lambda: announce(address), opening, settings.root_path)
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            await service.stop()
            await platform.close()


async def _open(
    gate: ReadinessGate, platform: Platform, service: Service, only: str | None
) -> None:
    """Work and serve as soon as the database is there, ours, and nobody erased is back."""
    from infra.postgres.migrations import check

    reads = [only] if only else SERVICES
    schemas = reads if service.name == "relay" else (service.name, "vault")
    await _patiently(lambda: check(platform.database_url, platform.vault_url, schemas))
    reopened = await _patiently(lambda: _reopened(platform, [service]))
    await service.start()
    await _patiently(lambda: _erased_again(platform, reopened))
    gate.opened = True


async def _patiently(step: Callable[[], Awaitable[T]]) -> T:
    """A step taken as soon as the database answers, and is migrated."""
    while True:
        try:
            return await step()
        except (ErasuresNotReplayedError, ForeignMigrationsError):
            raise
        except Exception as error:
            log.warning("waiting for the database", error=type(error).__name__)
            await asyncio.sleep(WATCH_SECONDS)


def build(name: str, platform: Platform) -> Service:
    """A service from its composition root; a process loads no other's code."""
    service: Service = import_module(f"services.{name}.app").build(platform)
    return service


def relay(platform: Platform, only: str | None = None) -> Service:
    """The process that copies tables to the topics of the same names."""
    names = [only] if only else list(SERVICES)
    databases = {name: Database(platform.database_url, name, pool_size=3) for name in names}
    return Service(
        "relay",
        create_app("Aiguillage: relay", "Copies each service's events to its Kafka topic."),
        databases[names[0]],
        [
            relay_subscription(platform.settings, platform.record_key(), databases[name], name)
            for name in names
        ],
        stuck_seconds=platform.settings.stuck_seconds,
        stop_seconds=platform.settings.stop_seconds,
        on_close=[databases[name].close for name in names[1:]],
    )


async def _reopened(platform: Platform, services: Sequence[Service]) -> set[UUID]:
    """Persons whom a restored backup brought back; fenced again before anything runs."""
    persons: set[UUID] = set()
    for service in services:
        if service.name in SERVICES:
            persons |= await platform.erasures.reopen(service.database)
    return persons


async def _erased_again(platform: Platform, persons: set[UUID]) -> None:
    """Nothing is served before whoever was brought back is gone again.

    Raises ``ErasuresNotReplayedError`` if that does not come to an end.
    """
    if not persons:
        return
    log.warning("a restored backup: erasures are replayed before serving", count=len(persons))
    try:
        async with asyncio.timeout(REPLAY_SECONDS):
            while not await platform.erasures.over(persons):
                await asyncio.sleep(0.1)
    except TimeoutError:
        what = "of a restored backup are not erased again: nothing is served"
        raise ErasuresNotReplayedError(f"{len(persons)} persons {what}") from None


async def first_keys(platform: Platform) -> dict[str, str]:
    """The keys of the first run, kept in a file that only its owner can read."""
    path = platform.settings.data / "keys.json"
    keys: dict[str, str] = orjson.loads(path.read_bytes()) if path.exists() else {}
    for name, service, role, scope in FIRST_KEYS:
        database = platform.database(service)
        async with database.transaction() as tx:
            keys[name] = await create_key(tx, name, role, scope, keys.get(name))
        await database.close()
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(orjson.dumps(keys))
    return keys


async def _keep_running(server: EmbeddedPostgres) -> None:
    """Start the embedded server again if it goes away; everything else waits for it."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            if not await asyncio.to_thread(server.running):
                log.warning("embedded PostgreSQL is gone; starting it again")
                await asyncio.to_thread(server.start)
        except Exception as error:
            log.warning("embedded PostgreSQL does not start", error=type(error).__name__)


async def _caught_up(services: Sequence[Service]) -> None:
    """Wait until the directory has reached the router: no early case finds it empty."""
    referrals = next(s for s in services if s.name == "referrals")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CATCH_UP_SECONDS):
            while (await referrals.readiness())["directory"] != 0:
                await asyncio.sleep(0.05)
