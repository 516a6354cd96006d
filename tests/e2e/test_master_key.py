"""A running hub gets a new master key: killed on the way, completed, the old one destroyed."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import orjson
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from infra.base.settings import Settings
from infra.keys.key_ring import epoch_of
from infra.keys.master_key import CannotUnsealError
from infra.keys.vault import PERSON_KEYS
from infra.platform import open_vault
from infra.postgres.database import vault_url
from services.hub.demo.processes import cli
from tests.e2e.hubs import Up, cases, contact, emit, until

MISSION_LOCALE = "petite-foret--mission-locale"
PERSON_ROWS = "SELECT * FROM vault.person_keys"


@pytest.fixture
async def up() -> AsyncIterator[Up]:
    with TemporaryDirectory(prefix="aiguillage-rotate-") as directory:
        made = Up(Path(directory) / "data")
        await made.start()
        yield made
        if made.hub is not None:
            await made.stop()


class Partner:
    """Takes messages whose signature is right."""

    def __init__(self) -> None:
        self.webhook: Webhook | None = None
        self.told: list[dict[str, Any]] = []

    async def hook(self, request: web.Request) -> web.Response:
        assert self.webhook is not None
        self.told.append(self.webhook.verify(await request.read(), dict(request.headers)))
        return web.Response(status=204)

    async def hears_of(self, up: Up, event: dict[str, Any]) -> dict[str, Any]:
        """Emit a contact, and wait for the request that comes of it; answers what it says."""
        assert up.hub is not None
        hub, heard = up.hub, len(self.told)
        person = (await emit(hub, event))["person_id"]

        async def found() -> Any:
            referrals = [r for case in await cases(hub, person) for r in case["referrals"]]
            for referral in referrals:
                if referral["status"] == "draft":
                    path = f"/v1/referrals/{referral['referral_id']}/confirm"
                    await hub.post("referrals", path, "adviser", {})
            ids = {referral["referral_id"] for referral in referrals}
            new = [told["data"] for told in self.told[heard:]]
            return next((data for data in new if data["referral_id"] in ids), None)

        said: dict[str, Any] = await until(found)
        return said


@pytest.fixture
async def partner(up: Up) -> AsyncIterator[Partner]:
    made, app = Partner(), web.Application()
    app.add_routes([web.post("/hook", made.hook), web.options("/hook", _consent)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    endpoint = {"partner_id": MISSION_LOCALE, "service_ids": [], "url": url}
    assert up.hub is not None
    _, answer = await up.hub.post("partners", "/v1/endpoints", "partner_admin", endpoint)
    made.webhook = Webhook(answer["secret"])
    yield made
    await runner.cleanup()


async def _consent(_: web.Request) -> web.Response:
    return web.Response(headers={"webhook-allowed-origin": "*"})


async def vault_rows(up: Up, query: str) -> list[Any]:
    assert up.hub is not None
    connection = await asyncpg.connect(vault_url(up.hub.address["database_url"]))
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


async def killed_once_it_has_begun(up: Up) -> None:
    """`aiguillage keys rotate-master`, killed while it waits for the processes."""
    arguments = cli("keys", "rotate-master", "--data", str(up.directory))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stderr=asyncio.subprocess.DEVNULL
    )

    async def begun() -> bool:
        return len(await vault_rows(up, "SELECT 1 FROM vault.epochs")) == 2

    await until(begun)
    process.kill()
    await process.wait()


async def dead(up: Up, copied: list[Any]) -> bool:
    """Whether nothing of a copy opens with all the keys that there are now."""
    assert up.hub is not None
    url = vault_url(up.hub.address["database_url"])
    vault = open_vault(Settings(data=up.directory), url)
    keys, opened = await vault.master.keys(), 0
    for row in copied:
        try:
            keys.unwrap(row["wrapped"], PERSON_KEYS.binding(row))
            opened += 1
        except CannotUnsealError:
            continue
    await vault.close()
    return opened == 0


async def test_hub_serves_while_its_master_key_changes(up: Up, partner: Partner):
    assert up.hub is not None
    told = await partner.hears_of(up, contact("known before", 31))
    assert told["person"]["family_name"]
    copied = await vault_rows(up, PERSON_ROWS)
    persons, stop = [], asyncio.Event()

    async def desk() -> None:
        assert up.hub is not None
        while not stop.is_set():
            number = 1000 + len(persons)
            persons.append(
                (await emit(up.hub, contact(f"meanwhile {number}", number)))["person_id"]
            )
            await asyncio.sleep(0.1)

    working = asyncio.create_task(desk())
    await killed_once_it_has_begun(up)
    done = await up.run("keys", "rotate-master")
    assert done.code == 0, done.err
    assert not await dead(up, copied)  # the old key is there still
    done = await up.run("keys", "rotate-master", "--destroy-old", "--json")
    assert done.code == 0, done.err
    first, second = orjson.loads(done.out)
    assert first["destroyed_at"]
    assert set(first["wrapped"].values()) == {0}
    assert second["wrapped"]["partners.endpoint_secrets"] == 1
    stop.set()
    await working

    assert not (up.directory / "master-1.key").exists()
    assert await dead(up, copied)
    now = await vault_rows(up, PERSON_ROWS)
    assert {epoch_of(row["wrapped"]) for row in now} == {2}
    assert {str(row["person_id"]) for row in now} >= {*persons}
    # what is told of them was sealed when the old key was in force, and not said again
    returns = contact("known before", 32, person={"ref": "known before"})
    assert (await partner.hears_of(up, returns))["person"] == told["person"]
    await up.kill()
    await up.start()
    assert await partner.hears_of(up, contact("after a restart", 33))
