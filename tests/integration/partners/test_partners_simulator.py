"""The simulated partner, as a process of its own, against the partner service over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from contracts.days import local_day
from contracts.referrals import DeadlinePassed, ReferralRequested
from contracts.values import DeadlineStep, PartnerKind
from infra.base.clock import system_clock
from infra.web.server import Server, bind
from services.hub.demo.partner_simulator import BEHAVIOURS
from services.hub.demo.processes import Child, ChildFailedError
from tests.support.partners import PARTNER, SERVICE, Hub, platform_at, register
from tests.support.postgres import Databases

PLIE = "petite-foret--plie"
COMMISSION = f"{PLIE}--parcours"
EXPECTED: dict[str, list[tuple[str, str | None]]] = {  # behaviour → (status, business status)
    "accept": [
        ("requested", "received"),
        ("accepted", None),
        ("in-progress", None),
        ("completed", None),
    ],
    "study": [
        ("requested", "under-study"),
        ("accepted", None),
        ("on-hold", "waitlisted"),
    ],
    "refuse": [("rejected", None)],
    "waitlist": [("requested", "waitlisted")],
    "no-show": [("accepted", None), ("accepted", "no-show"), ("failed", None)],
    "remind": [("accepted", None), ("in-progress", None), ("completed", None)],
    "commission": [
        ("requested", "under-study"),
        ("requested", "commission-scheduled"),
        ("accepted", None),
        ("in-progress", None),
        ("completed", None),
    ],
    "transfer": [("rejected", None)],
    "silent": [],
}
ANSWERED = """
SELECT count(*) FROM events WHERE type LIKE '%answer.received%' HAVING count(*) >= $1
"""


@asynccontextmanager
async def served(databases: Databases) -> AsyncIterator[Hub]:
    """The partner service on a free port, under the address that it tells partners."""
    listening = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    hub = Hub(platform_at(databases, public_url=url))
    await hub.prepare()
    config = uvicorn.Config(hub.service.app, lifespan="off", access_log=False, log_config=None)
    server = Server(config)
    task = asyncio.create_task(server.serve([listening]))
    try:
        async with hub.service.running():
            yield hub
    finally:
        server.stop()
        await task
        await hub.close()
        await hub.platform.close()


@asynccontextmanager
async def partner(
    hub: Hub, log: Path, behaviour: str, *more: str, **about: Any
) -> AsyncIterator[str]:
    """A simulated partner that the hub knows the address of; answers its URL."""
    arguments = ["-m", "services.hub.demo.partner_simulator", "--behaviour", behaviour, *more]
    child = Child(behaviour, arguments, log)
    url = f"http://127.0.0.1:{await child.start()}"
    try:
        await child.say((await register(hub, f"{url}/hook", **about))["secret"])
        yield url
    finally:
        await child.kill()


async def idle(url: str, seen: int) -> dict[str, int]:
    """What the partner counted, once it has seen so many messages and answered them."""
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/stats") as response:
                counts: dict[str, int] = await response.json()
            if counts["verified"] >= seen and not counts["busy"]:
                return counts
            await asyncio.sleep(0.02)


def overdue(referral: ReferralRequested) -> DeadlinePassed:
    return DeadlinePassed(
        referral_id=referral.referral_id, case_id=referral.case_id,
        partner_id=referral.partner_id, service_id=referral.service_id,
        step=DeadlineStep.REMIND, due_on=date(2026, 11, 26), requested_on=date(2026, 11, 23),
    )  # fmt: skip


def said(events: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(event["status"], event.get("business_status")) for event in events]


def test_every_behaviour_is_tried():
    assert EXPECTED.keys() == BEHAVIOURS.keys()


@pytest.mark.parametrize("behaviour", ["accept", "study", "refuse", "waitlist", "no-show"])
async def test_simulated_partner_answers_as_its_behaviour_says(
    databases: Databases, tmp_path: Path, behaviour: str
):
    expected = EXPECTED[behaviour]
    async with served(databases) as hub, partner(hub, tmp_path / "log", behaviour) as url:
        await hub.refer()
        await hub.until(ANSWERED, len(expected))
        counts = await idle(url, 1)
        assert said(await hub.events("answer.received")) == expected
    assert (counts["answers"], counts["refused"], counts["forged"]) == (len(expected), 0, 0)


async def test_simulated_commission_meets_before_it_accepts(
    databases: Databases, tmp_path: Path
):
    about = {"partner_id": PLIE, "service_ids": [COMMISSION]}
    async with (
        served(databases) as hub,
        partner(hub, tmp_path / "log", "commission", **about) as url,
    ):
        await hub.refer(PLIE, COMMISSION, partner_kind=PartnerKind.PLIE)
        await hub.until(ANSWERED, 5)
        counts = await idle(url, 1)
        answers = await hub.events("answer.received")
    assert said(answers) == EXPECTED["commission"]
    assert answers[1]["commission_on"] <= str(local_day(system_clock()))
    assert counts["refused"] == 0


async def test_simulated_transfer_names_the_service_it_was_given(
    databases: Databases, tmp_path: Path
):
    given = ("--suggest", COMMISSION)
    async with (
        served(databases) as hub,
        partner(hub, tmp_path / "log", "transfer", *given) as url,
    ):
        await hub.refer()
        await hub.until(ANSWERED, 1)
        counts = await idle(url, 1)
        (answer,) = await hub.events("answer.received")
    assert (answer["reason"], answer["suggested_service_id"]) == (
        "referred-onward",
        COMMISSION,
    )
    assert counts["refused"] == 0


async def test_simulated_partner_that_waits_to_be_reminded_answers_then(
    databases: Databases, tmp_path: Path
):
    async with served(databases) as hub, partner(hub, tmp_path / "log", "remind") as url:
        referral = await hub.refer(PARTNER, SERVICE)
        await hub.until("SELECT 1 FROM deliveries WHERE state = 'succeeded'")
        assert (await idle(url, 1))["answers"] == 0
        await hub.say(referral.person_id, overdue(referral))
        await hub.until(ANSWERED, 3)
        assert (await idle(url, 2))["refused"] == 0
        assert said(await hub.events("answer.received")) == EXPECTED["remind"]


async def test_silent_partner_takes_request_and_reminder_without_a_word(
    databases: Databases, tmp_path: Path
):
    async with served(databases) as hub, partner(hub, tmp_path / "log", "silent") as url:
        referral = await hub.refer()
        await hub.until("SELECT 1 FROM deliveries WHERE state = 'succeeded'")
        await hub.say(referral.person_id, overdue(referral))
        counts = await idle(url, 2)
        assert await hub.events("answer.received") == []
    assert counts == {
        "verified": 2, "repeated": 0, "forged": 0, "answers": 0, "refused": 0, "busy": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [["--behaviour", "transfer"], ["--behaviour", "accept", "--suggest", "x"]]
)
async def test_suggestion_goes_with_a_transfer_and_with_nothing_else(
    tmp_path: Path, arguments: list[str]
):
    child = Child(
        "refused", ["-m", "services.hub.demo.partner_simulator", *arguments], tmp_path / "log"
    )
    with pytest.raises(ChildFailedError):
        await child.start()
    text = (tmp_path / "log").read_text()
    assert "--suggest goes with --behaviour transfer, and is needed there" in text
