"""Every channel says who asks, and none of them says what must stay hidden."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from contracts.referrals import Disclosure
from tests.support.advisers import AtDesk
from tests.support.mailbox import FORM, TO, Mailbox, mailbox
from tests.support.partners import FIELDS, PARTNER, Hub, Sink, call, platform_at, register
from tests.support.postgres import Databases
from tests.support.sftp import PASSWORD, sftp_server

HIDDEN, NAMED = "Le Foyer du Parc", "Médiathèque Jules-Verne"
DESKS: dict[str, Any] = {
    "default": {"name": "Espace Emploi", "kind": "municipal-desk", "phone": "+33327000001"},
    "requesters": [
        {
            "code": "foyer", "name": HIDDEN, "kind": "pension", "phone": "+33327999999",
            "sites": ["foyer"],
        },
        {
            "code": "media", "name": NAMED, "kind": "library", "email": "media@ville.example",
            "sites": ["media"],
        },
    ],
}  # fmt: skip


@dataclass
class Town:
    """A hub with a list of desks and a mail server; a directory for a partner's files."""

    hub: Hub
    box: Mailbox
    directory: Path

    async def asks(self, code: str | None, *where: str) -> None:
        """A request that one of the desks makes, sent."""
        await self.hub.refer(*where, sealed=Disclosure(fields=FIELDS, requester=code))
        await self.hub.hear()
        await self.hub.turn()

    async def reached_by(self, url: str, **given: Any) -> None:
        """The partner's best address is this one from now on."""
        async with self.hub.database.transaction() as tx:
            await tx.execute("UPDATE endpoints SET rank = 50")
        await register(self.hub, url, **given)


@pytest.fixture
async def town(databases: Databases, tmp_path: Path) -> AsyncIterator[Town]:
    path = tmp_path / "desks.json"
    path.write_bytes(orjson.dumps(DESKS))
    async with mailbox() as box:
        hub = Hub(platform_at(databases, requesters=path, smtp_url=box.url))
        await hub.prepare()
        yield Town(hub, box, tmp_path)
        await hub.close()
        await hub.platform.close()


async def everywhere(town: Town, sink: Sink, code: str | None) -> list[str]:
    """What a request says by webhook, file, mail, on its page and on a sheet."""
    said = []
    await town.reached_by(sink.url)
    await town.asks(code)
    said.append(sink.received[-1].body.decode())
    async with sftp_server(town.directory / "sftp") as server:
        login = {"host_key": server.host_key, "password": PASSWORD}
        await town.reached_by(server.url, channel="sftp", credentials=login)
        await town.asks(code)
        (name,) = server.files()
        said.append((server.root / name).read_text("utf-8-sig"))
    await town.reached_by(f"mailto:{TO}", channel="email")
    await town.asks(code)
    said.append(town.box.text())
    path = said[-1].partition("https://hub.example")[2].split()[0]
    said.append((await call(town.hub, "POST", f"{path}/open", headers=FORM)).text)
    await town.asks(code, "petite-foret--clap", "petite-foret--clap--projet")
    advisers = await AtDesk.of(town.hub)
    return [*said, await advisers.page(await advisers.only())]


@pytest.mark.parametrize(
    ("code", "expected", "absent"),
    [
        (None, "Espace Emploi", []),
        ("media", NAMED, []),
        ("foyer", "27000001", [HIDDEN, "pension", "Pension", "27999999"]),
        ("closed-since", "27000001", []),
    ],
)
async def test_every_channel_says_who_asks_as_the_partner_may_know_it(
    town: Town, sink: Sink, code: str | None, expected: str, absent: list[str]
):
    texts = await everywhere(town, sink, code)
    assert len(texts) == 5
    for text in texts:
        assert expected in text
        for word in absent:
            assert word not in text


async def test_partner_that_may_know_is_told(databases: Databases, sink: Sink, tmp_path: Path):
    path = tmp_path / "desks.json"
    foyer = DESKS["requesters"][0] | {"shown_to": [PARTNER]}
    path.write_bytes(orjson.dumps(DESKS | {"requesters": [foyer]}))
    hub = Hub(platform_at(databases, requesters=path))
    await hub.prepare()
    await register(hub, sink.url)
    await hub.refer(sealed=Disclosure(fields=FIELDS, requester="foyer"))
    await hub.hear()
    await hub.turn()
    assert sink.received[0].json["data"]["requester"] == {
        "kind": "pension", "name": HIDDEN, "phone": "+33327999999",
    }  # fmt: skip
    await hub.close()
    await hub.platform.close()


async def test_who_asks_stands_nowhere_in_clear(town: Town, sink: Sink):
    await town.reached_by(sink.url)
    await town.asks("foyer")
    assert len(sink.received) == 1
    for table in ("partners.deliveries", "partners.events"):
        for row in await town.hub.rows(f"SELECT t::text AS text FROM {table} t"):
            assert "foyer" not in row["text"]
