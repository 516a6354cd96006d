"""Files that hold several messages, and partners that say what they have read."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.referrals import ReferralCancelled
from contracts.values import Reason
from infra.base.clock import system_clock
from tests.support.partners import PARTNER, SERVICE, Hub, call, platform_at, register
from tests.support.postgres import Databases
from tests.support.sftp import PASSWORD, Server, sftp_server

DAY = 24 * 60


@dataclass
class Box:
    """A hub, and a partner that takes one file a day."""

    hub: Hub
    server: Server
    now: datetime = field(default_factory=system_clock)

    @property
    def login(self) -> dict[str, str]:
        return {"host_key": self.server.host_key, "password": PASSWORD}

    async def refer(self, count: int) -> list[str]:
        """Requests, laid down if it is time; answers their ids."""
        made = [await self.hub.refer() for _ in range(count)]
        await self.hub.hear()
        await self.hub.turn()
        return [str(referral.referral_id) for referral in made]

    def lines(self, name: str) -> list[dict[str, str]]:
        text = (self.server.root / name).read_text("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=";"))

    async def collect(self) -> None:
        (ticker,) = [w for w in self.hub.service.workers if w.name == "files"]
        await ticker._step()  # type: ignore[attr-defined]

    def acknowledge(self, name: str) -> None:
        directory = self.server.root / "acknowledged"
        directory.mkdir(exist_ok=True)
        (directory / name).write_bytes(b"")

    async def read(self) -> list[dict[str, Any]]:
        return await self.hub.events("delivery.acknowledged")


@pytest.fixture
async def box(databases: Databases, tmp_path: Path) -> AsyncIterator[Box]:
    async with sftp_server(tmp_path / "sftp") as server:
        hub = Hub(platform_at(databases, clock=lambda: made.now))
        made = Box(hub, server)
        await hub.prepare()
        login = {"host_key": server.host_key, "password": PASSWORD}
        await register(hub, server.url, channel="sftp", credentials=login, batch_minutes=DAY)
        yield made
        await hub.close()
        await hub.platform.close()


async def test_what_waits_is_one_file_with_a_line_each(box: Box):
    ids = await box.refer(3)
    (name,) = box.server.files()
    assert name.startswith("lot_")
    lines = box.lines(name)
    assert sorted(line["reference"] for line in lines) == sorted(ids)
    assert len({line["identifiant"] for line in lines}) == 3
    assert len(await box.hub.events("delivery.succeeded")) == 3


async def test_next_file_is_laid_down_when_it_is_time(box: Box):
    await box.refer(2)
    later = await box.refer(1) + await box.refer(1)
    assert len(box.server.files()) == 1
    box.now += timedelta(minutes=DAY)
    await box.hub.turn()
    first, second = box.server.files()
    texts = [box.lines(name) for name in (first, second)]
    newest = [{line["reference"] for line in lines} for lines in texts]
    assert set(later) in newest


async def test_file_that_could_not_be_laid_down_is_tried_again_as_it_was(box: Box):
    away, login = "sftp://aiguillage@127.0.0.1:9/box", box.login
    box.now += timedelta(seconds=1)  # the newest address is the one
    await register(box.hub, away, channel="sftp", credentials=login, batch_minutes=DAY)
    await box.refer(2)
    (failed, _) = await box.hub.events("delivery.failed")
    assert failed["channel"] == "sftp"
    names = {r["file"] for r in await box.hub.rows("SELECT file FROM deliveries")}
    box.now += timedelta(seconds=1)
    await box.hub.turn()
    assert {r["file"] for r in await box.hub.rows("SELECT file FROM deliveries")} == names
    assert len(names) == 1
    attempts = await box.hub.rows("SELECT DISTINCT attempts FROM deliveries")
    assert attempts == [{"attempts": 2}]


async def test_message_that_may_not_leave_is_left_out_of_its_file(box: Box):
    kept = await box.hub.refer(agreed_until=box.now.date())
    await box.hub.refer()
    await box.hub.hear()
    box.now += timedelta(days=2)
    await box.hub.turn()
    (name,) = box.server.files()
    assert str(kept.referral_id) not in [line["reference"] for line in box.lines(name)]
    (dead,) = await box.hub.events("delivery.dead-lettered")
    assert dead["referral_id"] == str(kept.referral_id)


async def test_partner_says_once_that_it_has_read_a_file(box: Box):
    ids = await box.refer(2)
    (name,) = box.server.files()
    assert await box.read() == []
    box.acknowledge(name)
    await box.collect()
    read = await box.read()
    assert sorted(event["referral_id"] for event in read) == sorted(ids)
    assert {event["message"] for event in read} == {"referral.requested"}
    assert box.server.files("acknowledged") == []
    box.acknowledge(name)
    await box.collect()
    assert len(await box.read()) == 2
    listed = (await call(box.hub, "GET", "/v1/deliveries")).json()["deliveries"]
    assert {d["file"] for d in listed} == {name}
    assert all(d["acknowledged_at"] for d in listed)


async def test_acknowledgement_of_nothing_of_ours_is_put_aside(box: Box):
    await box.refer(1)
    box.acknowledge("dlv_ffffffffffffffffffffffffffffffff.csv")
    await box.collect()
    assert await box.read() == []
    assert box.server.files("acknowledged") == []
    assert len(box.server.files("acknowledged/unknown")) == 1


async def test_partner_acknowledges_nothing_of_another_one(box: Box, tmp_path: Path):
    await box.refer(1)
    (name,) = box.server.files()
    async with sftp_server(tmp_path / "other") as other:
        login = {"host_key": other.host_key, "password": PASSWORD}
        given = {"partner_id": "petite-foret--plie", "service_ids": []}
        await register(box.hub, other.url, channel="sftp", credentials=login, **given)
        (other.root / "acknowledged").mkdir()
        (other.root / "acknowledged" / name).write_bytes(b"")
        await box.collect()
        assert await box.read() == []


async def test_cancellation_follows_in_a_later_file(box: Box):
    referral = await box.hub.refer()
    await box.hub.hear()
    await box.hub.turn()
    await box.hub.move(referral, ReferralCancelled, reason=Reason.SENT_IN_ERROR)
    await box.hub.hear()
    await box.hub.turn()
    assert len(box.server.files()) == 1
    box.now += timedelta(minutes=DAY)
    await box.hub.turn()
    messages = {line["message"] for name in box.server.files() for line in box.lines(name)}
    assert messages == {"demande", "annulation"}


async def test_batches_go_with_files_only(hub: Hub):
    body = {
        "partner_id": PARTNER, "service_ids": [SERVICE], "url": "http://127.0.0.1:9/hook",
        "batch_minutes": 60,
    }  # fmt: skip
    answer = await call(hub, "POST", "/v1/endpoints", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "batch_minutes"
