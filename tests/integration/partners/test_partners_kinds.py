"""Each kind of partner in its own language: CLAP reads a project, training bodies invite."""

import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from contracts.days import PARIS, local_day
from contracts.referrals import Disclosure
from contracts.values import PartnerKind
from infra.base.clock import system_clock
from tests.support.advisers import AtDesk
from tests.support.mailbox import FORM, TO, Form, Mailbox, mailbox
from tests.support.partners import Hub, call, platform_at, register
from tests.support.postgres import Databases

PROJECT = "Un atelier de vélos.\nAvec des jeunes du quartier."
CLAP = ("petite-foret--clap", "petite-foret--clap--projet")
TRAINING = (
    "petite-foret--organisme-formation",
    "petite-foret--organisme-formation--formation-qualifiante",
)


@pytest.fixture
async def mailed(databases: Databases) -> AsyncIterator[tuple[Hub, Mailbox]]:
    async with mailbox() as box:
        hub = Hub(platform_at(databases, smtp_url=box.url))
        await hub.prepare()
        yield hub, box
        await hub.close()
        await hub.platform.close()


async def opened(mailed: tuple[Hub, Mailbox], where: tuple[str, str], **given: Any) -> Any:
    """The page of a request behind its mailed link; answers its path too."""
    hub, box = mailed
    partner = {"partner_id": where[0], "service_ids": [], "channel": "email"}
    await register(hub, f"mailto:{TO}", **partner)
    await hub.refer(*where, **given)
    await hub.hear()
    await hub.turn()
    path = re.findall(r"https://hub\.example(/r/\S+)", box.text())[-1]
    return path, await call(hub, "POST", f"{path}/open", headers=FORM)


async def test_clap_reads_a_project_sheet_on_its_page_and_on_paper(
    mailed: tuple[Hub, Mailbox],
):
    told = Disclosure(fields={"family_name": "Dupont", "project": PROJECT})
    given = {"partner_kind": PartnerKind.CLAP, "sealed": told}
    _, page = await opened(mailed, CLAP, **given)
    assert "Fiche projet" in page.text
    assert PROJECT in page.text
    hub, _ = mailed
    async with hub.database.transaction() as tx:
        await tx.execute("UPDATE endpoints SET state = 'disabled'")
    advisers = await AtDesk.of(hub)
    await advisers.asked(partner_id=CLAP[0], service_id=CLAP[1], **given)
    sheet = await advisers.page(await advisers.only())
    assert "Fiche projet" in sheet
    assert PROJECT in sheet


async def test_training_body_invites_to_an_information_session(mailed: tuple[Hub, Mailbox]):
    given = {"partner_kind": PartnerKind.TRAINING_BODY}
    path, page = await opened(mailed, TRAINING, **given)
    form = Form(page.text)
    assert "information-session" in form.choices
    day = local_day(system_clock() + timedelta(days=30))
    answer = form.hidden | {
        "choice": "information-session", "appointment_at": f"{day}T14:00",
    }  # fmt: skip
    hub, _ = mailed
    stored = await call(hub, "POST", f"{path}/answer", headers=FORM, data=answer)
    assert stored.status_code == 200
    last = (await hub.events("answer.received"))[-1]
    assert (last["status"], last["business_status"]) == ("requested", "appointment-scheduled")
    at = datetime.fromisoformat(f"{day}T14:00").replace(tzinfo=PARIS)
    assert last["appointment_at"] == at.isoformat()
