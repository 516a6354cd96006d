"""The largest event of every type goes all the way: nothing behind a writer refuses it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from contracts.bounds import ROW_BYTES
from contracts.partners import PartnerRegistered
from contracts.registry import EVENT_TYPES, SERVICES
from contracts.sizes import EventTooLargeError, largest
from contracts.values import PartnerKind
from infra.eventstore.store import EventStore
from infra.eventstore.writer import Pending
from infra.messaging.relay import relay_subscription
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from services.audit.handlers.signing import vkey
from services.hub.cli.main import app
from services.hub.demo.kafka_broker import Broker
from services.hub.operations import audit, export
from tests.support.audit_log import Hub, audit_hub
from tests.support.largest import largest_event
from tests.support.platform import append
from tests.support.postgres import Databases
from tests.support.whole import until

SIX_BYTES = "\x01"
"""A character that takes the most in JSON: no door lets it in, so nothing real is as large."""
STORED = " UNION ALL ".join(
    "SELECT type, octet_length(data::text) + coalesce(octet_length(sealed), 0) AS size "
    f"FROM {service}.events"
    for service in SERVICES
)


async def store_them(hub: Hub) -> None:
    """The largest event of each type, each about a person of its own, as its service would."""
    persons = {name: uuid4() for name in EVENT_TYPES}
    await hub.platform.vault.ensure(persons.values())
    for service in SERVICES:
        pending = [
            Pending(f"largest-{uuid4()}", [largest_event(name, SIX_BYTES)], person)
            for name, person in persons.items()
            if name.split(".")[2] == service
        ]
        database = hub.platform.database(service)
        async with database.transaction() as tx:
            await hub.platform.writer(service).write(tx, pending)
        await database.close()


@asynccontextmanager
async def running(*members: Subscription[object]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(member.run()) for member in members]
    try:
        yield
    finally:
        for member in members:
            member.stop()
        await asyncio.gather(*tasks)


async def typed(*words: object) -> tuple[int, str]:
    """`aiguillage audit …`, in a thread: it runs a loop of its own."""
    done = await asyncio.to_thread(CliRunner().invoke, app, ["audit", *map(str, words)])
    return done.exit_code, done.stderr


async def test_writer_refuses_what_is_larger_and_stores_nothing(platform: Platform):
    told = {"description": "x" * 2 * ROW_BYTES}
    too_large = PartnerRegistered(
        partner_id="b", kind=PartnerKind.PLIE, name="b", structure=told
    )
    fine = too_large.model_copy(update={"partner_id": "a", "structure": {}})
    with pytest.raises(EventTooLargeError):
        await append(platform, "partners", "directory", [fine, too_large])
    database = platform.database("partners")
    async with database.reading() as connection:
        assert await EventStore("partners").head(connection) == 0
    await database.close()


@pytest.mark.kafka
async def test_largest_event_of_each_type_goes_through_table_topic_log_export_and_verifiers(
    databases: Databases,
    broker: Broker,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    kafka = {"kafka_bootstrap": broker.bootstrap, "topic_prefix": topic_prefix}
    for verbs in (audit, export):
        monkeypatch.setattr(verbs, "configure_logging", lambda *args, **given: None)
    monkeypatch.setenv("AIGUILLAGE_DATABASE_URL", databases.url)
    monkeypatch.setenv("AIGUILLAGE_VAULT_URL", databases.vault_url)
    monkeypatch.setenv("AIGUILLAGE_DATA", str(databases.directory))
    async with audit_hub(databases, **kafka) as hub:
        await store_them(hub)
        pools = [hub.platform.database(service) for service in SERVICES]
        relays = [
            relay_subscription(
                hub.platform.settings, hub.platform.record_key(), pool, pool.schema
            )
            for pool in pools
        ]

        async def logged() -> bool:
            (row,) = await hub.rows("SELECT count(*) FROM entries")
            return bool(row["count"] >= len(EVENT_TYPES))

        async with running(*relays, *hub.sequencers):
            await until(logged)
        for pool in pools:
            await pool.close()
        parked = await hub.rows("SELECT subscription FROM dead_letters")
        assert parked == []
        sizes = {row["type"]: row["size"] for row in await hub.rows(STORED)}
        assert {name for name, size in sizes.items() if size > largest(name)} == set()
        await hub.signer.step()
        folder, key = tmp_path / "export", vkey(hub.platform.settings)
        code, said = await typed("export", folder)
        assert code == 0, said
        code, said = await typed("verify", folder, "--vkey", key)
        assert (code, "intact" in said) == (0, True), said
    alone = [sys.executable, "-I", folder / "verify.py", folder, "--vkey", key]
    done = await asyncio.to_thread(subprocess.run, alone, capture_output=True, text=True)
    assert (done.returncode, done.stdout[:7]) == (0, "intact:")
