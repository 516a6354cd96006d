"""A partner's own number of a file comes back in what it is told later, sealed meanwhile."""

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import orjson
import pytest

from contracts.referrals import (
    DeadlinePassed,
    ReferralCancelled,
    ReferralReceived,
    ReferralRequested,
    SpokenSealed,
)
from contracts.values import Author, BusinessStatus, DeadlineStep, Reason, ReferralStatus
from infra.keys.vault import CannotUnsealError
from services.partners.handlers.references import open_reference
from tests.support.advisers import AtDesk
from tests.support.mailbox import Post, posted
from tests.support.partners import (
    PARTNER,
    Desk,
    Hub,
    Sink,
    call,
    destroy_key,
    platform_at,
    register,
)
from tests.support.postgres import Databases
from tests.support.sftp import PASSWORD, sftp_server

NUMBER = "ML-2026-4711"
STUDIED = {"business_status": "under-study", "partner_reference": NUMBER}


async def told(hub: Hub, sink: Sink) -> Desk:
    """A partner whose system has a request and gave it a number."""
    endpoint = await register(hub, sink.url)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    desk = Desk(hub, endpoint["secret"], referral)
    assert (await desk.answer("requested", "m1", **STUDIED)).status_code == 202
    return desk


def overdue(referral: ReferralRequested) -> DeadlinePassed:
    return DeadlinePassed(
        referral_id=referral.referral_id, case_id=referral.case_id,
        partner_id=referral.partner_id, service_id=referral.service_id,
        step=DeadlineStep.REMIND, due_on=date(2026, 11, 26), requested_on=date(2026, 11, 23),
    )  # fmt: skip


async def later(hub: Hub, referral: ReferralRequested) -> None:
    """A reminder, a withdrawal and a cancellation are made."""
    await hub.say(referral.person_id, overdue(referral))
    await hub.hear()
    await hub.withdraw(referral.person_id, referral.agreement_id)
    await hub.move(referral, ReferralCancelled, reason=Reason.AGREEMENT_WITHDRAWN)
    await hub.hear()


async def test_webhooks_after_it_carry_the_number(hub: Hub, sink: Sink):
    desk = await told(hub, sink)
    assert "partner_reference" not in sink.received[0].json["data"]
    await hub.say(desk.referral.person_id, overdue(desk.referral))
    await hub.hear()
    await hub.turn()
    await later(hub, desk.referral)
    await hub.turn()
    for received in sink.received[1:]:
        assert received.json["data"]["partner_reference"] == NUMBER
    assert {r.json["type"] for r in sink.received[1:]} == {
        "referral.reminded", "agreement.withdrawn", "referral.cancelled",
    }  # fmt: skip


async def test_number_goes_to_the_referral_that_it_is_about_only(hub: Hub, sink: Sink):
    await told(hub, sink)
    other = await hub.refer()
    await hub.hear()
    await hub.turn()
    await hub.move(other, ReferralCancelled, reason=Reason.SENT_IN_ERROR)
    await hub.hear()
    await hub.turn()
    assert sink.received[-1].json["type"] == "referral.cancelled"
    assert "partner_reference" not in sink.received[-1].json["data"]


async def test_newest_number_counts_and_an_answer_without_one_keeps_it(hub: Hub, sink: Sink):
    desk = await told(hub, sink)
    await desk.answer("accepted", "m2", partner_reference="ML-2026-4712")
    await desk.answer("in-progress", "m3")
    await hub.move(desk.referral, ReferralCancelled, reason=Reason.SENT_IN_ERROR)
    await hub.hear()
    await hub.turn()
    assert sink.received[-1].json["data"]["partner_reference"] == "ML-2026-4712"


async def test_number_is_sealed_wherever_it_is_kept(hub: Hub, sink: Sink):
    desk = await told(hub, sink)
    await later(hub, desk.referral)
    for table in ("referral_states", "deliveries", "events", "answers"):
        rows = await hub.rows(f"SELECT t::text AS text FROM {table} t")
        assert rows
        for row in rows:
            assert NUMBER not in row["text"]
            assert NUMBER.encode().hex() not in row["text"]


async def test_number_dies_with_the_persons_key(hub: Hub, sink: Sink, databases: Databases):
    desk = await told(hub, sink)
    person = desk.referral.person_id
    await destroy_key(databases, person)
    (row,) = await hub.rows("SELECT partner_reference FROM referral_states")
    fresh = platform_at(databases)
    another = (await fresh.vault.ensure({person}))[person]
    with pytest.raises(CannotUnsealError):
        open_reference(another, desk.id, row["partner_reference"])
    await fresh.close()


async def test_system_that_pulls_finds_the_number(hub: Hub, sink: Sink):
    desk = await told(hub, sink)
    await hub.move(desk.referral, ReferralCancelled, reason=Reason.SENT_IN_ERROR)
    await hub.hear()
    answer = await call(hub, "POST", f"/v1/partners/{PARTNER}/keys", json={"name": "crm"})
    headers = {"authorization": f"Bearer {answer.json()['key']}"}
    pulled = await call(hub, "GET", "/v1/partner/messages", headers=headers)
    last = pulled.json()["messages"][-1]
    assert (last["type"], last["data"]["partner_reference"]) == ("referral.cancelled", NUMBER)


async def test_file_has_a_column_for_the_number(hub: Hub, tmp_path: Path):
    async with sftp_server(tmp_path / "sftp") as server:
        login = {"host_key": server.host_key, "password": PASSWORD}
        endpoint = await register(hub, server.url, channel="sftp", credentials=login)
        referral = await hub.refer()
        await hub.hear()
        await hub.turn()
        desk = Desk(hub, endpoint["secret"], referral)
        await desk.answer("requested", "m1", **STUDIED)
        await hub.move(referral, ReferralCancelled, reason=Reason.SENT_IN_ERROR)
        await hub.hear()
        await hub.turn()
        texts = [(server.root / name).read_text("utf-8-sig") for name in server.files()]
    assert all("reference_partenaire" in text for text in texts)
    assert sorted(NUMBER in text for text in texts) == [False, True]


@pytest.fixture
async def post(databases: Databases) -> AsyncIterator[Post]:
    async with posted(databases) as found:
        yield found


@pytest.mark.parametrize(
    ("reference", "mailed"), [(NUMBER, True), ("Dossier Lefebvre 12", False)]
)
async def test_mail_names_the_number_but_no_words(post: Post, reference: str, mailed: bool):
    await post.answered("under-study", partner_reference=reference)
    await later(post.hub, post.referral)
    await post.hub.turn()
    texts = [post.box.text(n) for n in range(1, len(post.box.messages))]
    assert len(texts) == 2  # an agreement that is withdrawn needs no reminder
    for text in texts:
        assert (f"Votre dossier : {reference}" in text) == mailed
        assert ("Lefebvre" in text) is False


async def test_number_that_an_adviser_typed_in_is_kept_too(hub: Hub):
    advisers = await AtDesk.of(hub)
    referral = await advisers.asked()
    await advisers.handed_over(await advisers.only())
    typed = {
        "status": ReferralStatus.REQUESTED, "business_status": BusinessStatus.UNDER_STUDY,
        "on_behalf_of": Author.PARTNER,
    }  # fmt: skip
    sealed = SpokenSealed(partner_reference=NUMBER)
    await hub.move(referral, ReferralReceived, sealed=sealed, **typed)
    await hub.move(referral, ReferralCancelled, reason=Reason.SENT_IN_ERROR)
    await hub.hear()
    (item,) = await advisers.waiting()
    sheet = (await advisers.sheet(item["delivery_id"])).json()
    assert sheet["data"]["partner_reference"] == NUMBER
    assert NUMBER in await advisers.page(item["delivery_id"])
    assert NUMBER not in orjson.dumps(await advisers.listed()).decode()
