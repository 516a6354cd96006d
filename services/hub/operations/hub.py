"""Operator's work: look, repair, rebuild. One function per command of the CLI."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy.engine import make_url

from contracts.registry import SERVICES
from infra.base.data_directory import require
from infra.base.repairable import Repairable
from infra.base.requesters import RequestersError, load_requesters
from infra.base.settings import Settings
from infra.eventstore.store import EventStore
from infra.messaging.publications import end_generation
from infra.messaging.subscription import Subscription, set_paused
from infra.platform import Databases, Platform, command_context, databases_of, service_context
from infra.postgres.database import Database, render
from infra.postgres.ddl import ForeignMigrationsError, NotMigratedError
from infra.postgres.migrations import check, migrate
from infra.postgres.transaction import Transaction
from infra.web.auth import create_key
from services.audit import projections as audit
from services.hub.host import build, relay
from services.hub.operations import alarms, kafka
from services.hub.operations.doctor import Check, data_directory, master_keys, secret_files
from services.hub.operations.log import log_state, signer_row
from services.intake import projections as intake
from services.partners import projections as partners
from services.partners.handlers.directory import seed
from services.referrals import projections as referrals

REBUILD = {
    tables.schema: tables
    for tables in (
        intake.READ_TABLES,
        referrals.READ_TABLES,
        partners.READ_TABLES,
        audit.READ_TABLES,
    )
}
REWINDABLE = {("referrals", "directory")}
"""Subscriptions that only fill read tables: handling everything again changes nothing else."""


class UnknownNameError(Repairable):
    """No service, subscription or key of that name; the text lists those there are."""

    repair = "aiguillage status"


@asynccontextmanager
async def _database(settings: Settings, service: str) -> AsyncIterator[Database]:
    if service not in SERVICES:
        raise UnknownNameError(f"no service {service}: one of {', '.join(SERVICES)}")
    async with service_context(settings, service) as (_, database):
        yield database


async def migrate_all(settings: Settings) -> dict[str, str]:
    """Make what a hub needs, and bring every schema up to date; return revision by schema."""
    async with databases_of(settings, create=True) as databases:
        return await migrate(databases.main, databases.vault)


async def seed_directory(settings: Settings, name: str) -> int:
    """Load a directory of partners; return how many entries were new or changed."""
    async with command_context(settings) as platform:
        return (await seed(platform, name)).changed


async def rebuild(settings: Settings, service: str) -> int:
    """Empty a service's read tables and fold its events again; return how many events."""
    if service not in REBUILD:
        raise UnknownNameError(f"nothing to rebuild in {service}: {', '.join(REBUILD)}")
    async with (
        service_context(settings, service) as (platform, database),
        database.transaction() as tx,
    ):
        return await REBUILD[service].rebuild(tx, platform.vault)


async def create_api_key(
    settings: Settings, service: str, role: str, name: str, scope: Sequence[str]
) -> str:
    """Create a key, or replace the one of that name; return it."""
    async with _database(settings, service) as database, database.transaction() as tx:
        return await create_key(tx, name, role, scope)


async def revoke_api_key(settings: Settings, service: str, name: str) -> bool:
    """Revoke a key; return whether there was one."""
    async with _database(settings, service) as database, database.transaction() as tx:
        done = await tx.execute(
            "UPDATE api_keys SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL",
            name,
        )
    return bool(done == "UPDATE 1")


async def pause(settings: Settings, service: str, subscription: str, paused: bool) -> None:
    """Hold a subscription still, or let it go on."""
    async with _database(settings, service) as database, database.transaction() as tx:
        await set_paused(tx, subscription, paused, "by hand" if paused else None)


async def replay(settings: Settings, service: str, subscription: str) -> int:
    """Handle parked messages again, in order; return how many are left."""
    async with _subscription(settings, service, subscription) as worker:
        return await worker.replay()


async def discard(settings: Settings, service: str, subscription: str) -> int:
    """Drop the places of parked records that are nobody's; return how many there were."""
    async with _subscription(settings, service, subscription) as worker:
        return await worker.discard()


async def republish(settings: Settings, service: str) -> int:
    """Let the relay publish a service's table from its first event; return how many there are.

    The topic begins a new generation: what it held before counts no more, and readers go on
    from their marks. Creates the topic, if it is gone.
    """
    async with _database(settings, service) as database, database.transaction() as tx:
        await end_generation(tx)
        return await EventStore(service).head(tx)


async def rewind(settings: Settings, service: str, subscription: str) -> None:
    """Let a read-table subscription start again from the beginning."""
    if (service, subscription) not in REWINDABLE:
        raise UnknownNameError(f"{service} {subscription} does more than fill a read table")
    async with _subscription(settings, service, subscription) as worker:
        await worker.rewind()


@asynccontextmanager
async def _subscription(
    settings: Settings, service: str, name: str
) -> AsyncIterator[Subscription[Any]]:
    async with command_context(settings) as platform:
        built = relay(platform, service) if name == "relay" else build(service, platform)
        named = [w for w in built.workers if isinstance(w, Subscription) and w.name == name]
        if not named:
            names = ", ".join(w.name for w in built.workers)
            raise UnknownNameError(f"{service} has no subscription {name}: {names}")
        yield named[0]
        await built.stop()


async def status(settings: Settings) -> list[dict[str, Any]]:
    """Each subscription: where it stands, how far behind its table, paused, parked."""
    rows: list[dict[str, Any]] = []
    async with command_context(settings) as platform:
        for service in SERVICES:
            database = platform.database(service)
            async with database.reading() as connection:
                rows += await _status(connection, service)
            if service == "audit":
                rows.append(await signer_row(platform, database))
            await database.close()
    known = await kafka.ends(settings, (r["source"] for r in rows if r["lag"] is None))
    for row in rows:
        if row["lag"] is None:
            row["lag"] = kafka.lag(row, known)
    return rows


async def _status(connection: Transaction, service: str) -> list[dict[str, Any]]:
    offsets = await connection.fetch(
        "SELECT o.subscription, o.source, o.partition, o.next, o.position, o.updated_at, "
        "coalesce(s.paused, false) AS paused, s.reason, (SELECT count(*) FROM dead_letters d "
        "WHERE d.subscription = o.subscription AND d.partition = o.partition) AS parked "
        "FROM offsets o LEFT JOIN subscriptions s USING (subscription) "
        "ORDER BY o.subscription, o.partition"
    )
    rows = []
    for row in offsets:
        lag, source = None, row["source"]
        if source in SERVICES:  # of a topic, Kafka knows
            head = f"SELECT coalesce(max(position), 0) FROM {source}.events"
            lag = max(0, await connection.fetchval(head) - row["position"])
        rows.append({"service": service, **row, "lag": lag})
    return rows


async def count_services(url: str) -> int:
    """Return how many services the router knows of."""
    database = Database(url, "referrals", pool_size=1)
    async with database.reading() as connection:
        count = int(await connection.fetchval("SELECT count(*) FROM services"))
    await database.close()
    return count


async def doctor(settings: Settings) -> list[Check]:
    """Check what the hub stands on, each failure with its repair; changes nothing.

    Raises ``NoHubError`` and ``NotOwnerError``.
    """
    require(settings.data)
    checks = [data_directory(settings)]
    async with AsyncExitStack() as stack:
        try:
            databases = await stack.enter_async_context(databases_of(settings, create=False))
        except (OSError, RuntimeError) as error:
            repair = "see postgresql/server.log in the data directory"
            checks.append(Check("database", False, type(error).__name__, repair))
        else:
            checks += await _databases(settings, databases)
    checks.append(secret_files(settings))
    try:
        known = load_requesters(settings.requesters)
        names = f"{known.default.name}, and {len(known.requesters)} more"
        checks.append(Check("desks that ask", True, names))
    except RequestersError as error:
        checks.append(Check("desks that ask", False, str(error), error.repair))
    return checks + await kafka.checks(settings)


async def _databases(settings: Settings, databases: Databases) -> list[Check]:
    checks = [await _reachable(databases.main, embedded=databases.server is not None)]
    if checks[-1].ok:
        try:
            await check(databases.main, databases.vault)
            detail = "applied as this release has them"
            checks.append(Check("migrations", True, detail))
        except (NotMigratedError, ForeignMigrationsError) as error:
            checks.append(Check("migrations", False, str(error), error.repair))
    if not checks[-1].ok:
        return checks
    platform = Platform(settings, databases.main, databases.vault)
    try:
        checks += [*await master_keys(platform), await _signed(platform)]
        checks.append(await alarms.check(platform))
    finally:
        await platform.close()
    return checks


async def _reachable(url: str, *, embedded: bool) -> Check:
    kind = "embedded" if embedded else "by URL"
    try:
        postgres = render(make_url(url).set(database="postgres"))
        connection = await asyncpg.connect(postgres, timeout=5)
        version = await connection.fetchval("SHOW server_version")
        await connection.close()
    except Exception as error:
        repair = "start PostgreSQL, or correct AIGUILLAGE_DATABASE_URL"
        return Check("database", False, f"{kind}: {type(error).__name__}", repair)
    return Check("database", True, f"PostgreSQL {version}, {kind}")


async def _signed(platform: Platform) -> Check:
    database = platform.database("audit")
    try:
        state = await log_state(platform, database)
    except Exception as error:
        return Check("audit log", False, type(error).__name__, "aiguillage status")
    finally:
        await database.close()
    if state.refusal:
        return Check("audit log", False, state.refusal, "docs/howto/log-refused.md")
    return Check("audit log", True, f"{state.signed_size} of {state.size} entries are signed")
