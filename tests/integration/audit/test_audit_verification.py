"""The log as `aiguillage audit verify` sees it: over HTTP, and changed behind its back."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx2
import pytest
import uvicorn

from infra.eventstore.store import Append
from infra.tlog import merkle
from infra.tlog.checks import Outcome, Verdict
from infra.tlog.verify.remote import verify_remote
from infra.web.auth import create_key
from services.audit.handlers.signing import vkey
from tests.support.audit_log import Hub, audit_hub, plain
from tests.support.postgres import Databases

SIZE = 700


async def fill(hub: Hub, count: int = SIZE) -> None:
    """Events of many streams, signed."""
    await hub.fill(count)


async def root_of(hub: Hub, size: int) -> bytes:
    return merkle.root_of((await hub.leaf_hashes())[:size])


@asynccontextmanager
async def served(hub: Hub) -> AsyncIterator[tuple[str, str]]:
    """The service behind a real socket: its address, and an auditor's key."""
    async with hub.service.database.transaction() as tx:
        key = await create_key(tx, "auditor", "auditor")
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        config = uvicorn.Config(hub.service.app, log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", key
        finally:
            server.should_exit = True
            await task


async def verify(hub: Hub, **given: str) -> Verdict:
    async with served(hub) as (url, key):
        wanted = {"url": url, "key": key, "vkeys": [vkey(hub.platform.settings)], **given}
        return await verify_remote(**wanted)


async def test_a_log_is_verified_over_http(hub: Hub) -> None:
    seen: list[tuple[int, int]] = []
    await fill(hub)
    await fill(hub, 600)
    async with served(hub) as (url, key):
        verdict = await verify_remote(
            url, key, [vkey(hub.platform.settings)], lambda *counts: seen.append(counts)
        )
    assert (verdict.outcome, verdict.checked) == (Outcome.INTACT, 1300)
    assert seen == [(1000, 1300), (1300, 1300)]
    assert verdict.root == await root_of(hub, 1300)


MOVE = "UPDATE audit.entries SET idx = CASE idx WHEN 40 THEN 9001 ELSE 9002 END "
BACK = "UPDATE audit.entries SET idx = CASE idx WHEN 9001 THEN 41 ELSE 40 END WHERE idx > 9000"


@pytest.mark.parametrize(
    ("changes", "at", "why"),
    [
        (["UPDATE audit.entries SET data = '{\"n\": 99}' WHERE idx = 42"], 42, "data"),
        (["UPDATE audit.entries SET sealed = 'x' WHERE idx = 42"], 42, "sealed"),
        (
            [
                "UPDATE audit.entries SET header = overlay(header placing 'x' from 20) "
                "WHERE idx = 42"
            ],
            42,
            "header",
        ),
        (["UPDATE audit.entries SET salt = sha256('x') WHERE idx = 42"], 42, "header"),
        (["UPDATE audit.entries SET entry = 'x' WHERE idx = 42"], 42, "was hashed"),
        (["UPDATE audit.entries SET leaf_hash = sha256('x') WHERE idx = 42"], 42, "was hashed"),
        (["DELETE FROM audit.entries WHERE idx = 42"], 42, "missing"),
        ([MOVE + "WHERE idx IN (40, 41)", BACK], 40, "version 2"),
        ([MOVE + "WHERE idx IN (44, 40)", BACK.replace("41", "44")], 40, "version 5"),
    ],
)
async def test_what_was_changed_in_the_database_is_named(
    hub: Hub, changes: list[str], at: int, why: str
) -> None:
    await fill(hub, 100)
    for change in changes:
        await hub.tamper(change)
    verdict = await verify(hub)
    assert (verdict.outcome, verdict.exit_code, verdict.at) == (Outcome.BROKEN, 1, at)
    assert why in verdict.reason


async def test_streams_that_changed_places_are_found_between_two_checkpoints(hub: Hub) -> None:
    for count in (20, 10, 15):
        streams = [Append(f"s-{uuid4()}", plain(1)) for _ in range(count)]
        await hub.append_all("intake", streams)
        await hub.read_all()
        await hub.signer.step()
    await hub.tamper(MOVE.replace("40", "22") + "WHERE idx IN (22, 23)")
    await hub.tamper(BACK.replace("41", "23").replace("40", "22"))
    verdict = await verify(hub)
    assert (verdict.outcome, verdict.at) == (Outcome.BROKEN, 20)
    assert "entries 20 to 29" in verdict.reason


async def test_a_log_that_cannot_be_read_is_incomplete(hub: Hub) -> None:
    await fill(hub, 20)
    assert (await verify(hub, key="agk_wrong")).reason == "the service answered 401"
    await hub.tamper("DELETE FROM audit.entries WHERE idx >= 12")
    verdict = await verify(hub)
    assert (verdict.outcome, verdict.exit_code) == (Outcome.INCOMPLETE, 2)
    assert verdict.reason == "only 12 of 20 entries were handed out"


async def test_workers_fill_and_sign_the_log_by_themselves(hub: Hub) -> None:
    async with hub.service.running():
        await hub.append("intake", "s-1", plain(7))
        async with asyncio.timeout(30):
            while not await hub.rows("SELECT 1 FROM checkpoints WHERE size = 7"):
                await asyncio.sleep(0.05)
        assert hub.service.stuck() == []


async def test_building_and_starting_needs_no_database(databases: Databases) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    away = Databases(nowhere, nowhere, databases.directory)
    async with audit_hub(away) as hub, hub.service.running():
        transport = httpx2.ASGITransport(hub.service.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://audit") as client:
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/readyz")).status_code == 503
