"""What advisers hand over: the list of the day, the sheet, the hand-over, the call in vain."""

from datetime import date, timedelta
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from contracts.referrals import DeadlinePassed, ReferralCancelled, ReferralRejected
from contracts.values import Author, DeadlineStep, PartnerKind, Reason, ReferralStatus
from infra.base.clock import system_clock
from services.partners.model.choices import CHOICES
from tests.support.advisers import AtDesk, refused
from tests.support.mailbox import mailbox
from tests.support.partners import (
    CANARY,
    FIELDS,
    PARTNER,
    SERVICE,
    Hub,
    Sink,
    call,
    destroy_key,
    platform_at,
    problem,
    register,
)
from tests.support.postgres import Databases

# --- the list -----------------------------------------------------------------------------


async def test_request_without_an_address_waits_for_an_adviser_urgent_first(advisers: AtDesk):
    later = await advisers.asked()
    first = await advisers.asked(urgent=True, do_not_contact=True)
    (urgent, other) = await advisers.waiting()
    assert [urgent["referral_id"], other["referral_id"]] == [
        str(first.referral_id), str(later.referral_id),
    ]  # fmt: skip
    assert (urgent["urgent"], urgent["do_not_contact"], urgent["calls"]) == (True, True, 0)
    assert urgent["partner"] == "Mission Locale Jeunes du Valenciennois"
    assert (urgent["message"], urgent["error"]) == ("referral.requested", "no-endpoint")
    (event, *_) = await advisers.hub.events("delivery.manual")
    assert (event["message"], event["error"]) == ("referral.requested", "no-endpoint")


async def test_list_says_nothing_of_the_person(advisers: AtDesk):
    referral = await advisers.asked()
    text = (await advisers.call("GET", "")).text
    for value in (*FIELDS.values(), str(referral.person_id)):
        assert value not in text


async def test_list_of_one_partner_holds_nothing_of_others(advisers: AtDesk):
    await advisers.asked()
    assert (await advisers.listed(partner_id="petite-foret--clap"))["waiting"] == []
    assert len((await advisers.listed(partner_id=PARTNER))["waiting"]) == 1


@pytest.mark.parametrize("path", ["", f"/{UUID(int=7)}/sheet"])
async def test_nobody_but_advisers_sees_what_goes_by_hand(advisers: AtDesk, path: str):
    assert (await call(advisers.hub, "GET", f"/v1/manual{path}", headers={})).status_code == 401
    assert (await call(advisers.hub, "GET", f"/v1/manual{path}")).status_code == 403


# --- the sheet ----------------------------------------------------------------------------


async def test_sheet_holds_the_message_that_another_channel_would_bring(advisers: AtDesk):
    referral = await advisers.asked()
    shown = (await advisers.sheet(await advisers.only())).json()
    assert shown["data"]["person"] == FIELDS
    assert shown["data"]["referral_id"] == str(referral.referral_id)
    assert shown["contact"]["partner"] == "Mission Locale Jeunes du Valenciennois"
    assert "accepted" in [answer["code"] for answer in shown["answers"]]


async def test_opening_a_sheet_discloses_nothing_yet_but_says_who_looked(advisers: AtDesk):
    referral = await advisers.asked()
    delivery = await advisers.only()
    before = await advisers.hub.rows("SELECT count(*) FROM events")
    await advisers.page(delivery)
    (looked,) = await advisers.hub.events("record.viewed")
    assert looked["person_id"] == str(referral.person_id)
    assert looked["view"] == "sheet"
    assert looked["fields"] == sorted(FIELDS)
    after = await advisers.hub.rows("SELECT count(*) FROM events")
    assert after[0]["count"] == before[0]["count"] + 1
    assert await advisers.hub.events("disclosure.made") == []


async def test_sheet_does_not_open_while_the_person_is_restricted(advisers: AtDesk):
    referral = await advisers.asked()
    delivery = await advisers.only()
    async with advisers.hub.database.transaction() as tx:
        insert = "INSERT INTO limits VALUES ($1, 'restricted', now())"
        await tx.execute(insert, referral.person_id)
    assert (await advisers.listed())["waiting"] == []
    for answer in (await advisers.sheet(delivery), await advisers.handed_over(delivery)):
        assert refused(answer) == (409, "person-restricted")


async def test_page_shows_the_agreed_fields_and_the_answers_to_tick(advisers: AtDesk):
    referral = await advisers.asked()
    page = await advisers.page(await advisers.only())
    for value in (CANARY, FIELDS["phone"], str(referral.referral_id)):
        assert value in page
    assert "01/01/2099" in page
    for choice in CHOICES:
        possible = choice.status in (
            ReferralStatus.REQUESTED, ReferralStatus.ACCEPTED, ReferralStatus.REJECTED,
        )  # fmt: skip
        possible &= not choice.kinds
        assert (choice.label.replace("'", "&#39;") in page) == possible
    assert str(referral.person_id) not in page
    assert "<script" not in page
    assert "@page { size: A4" in page


async def test_do_not_contact_is_said_first(advisers: AtDesk):
    await advisers.asked(do_not_contact=True)
    body = (await advisers.page(await advisers.only())).partition("<main>")[2]
    assert body.index("Ne pas contacter la personne") < body.index("<h1>")
    await advisers.asked()
    (_, other) = await advisers.waiting()
    assert "Ne pas contacter" not in await advisers.page(other["delivery_id"])


async def test_sheet_says_whom_to_call_and_where(advisers: AtDesk):
    listed = {
        "telephone": "+33327000000", "adresse": "1 rue Neuve", "code_postal": "59300",
        "commune": "Valenciennes",
    }  # fmt: skip
    async with advisers.hub.database.transaction() as tx:
        change = "structure = (structure::jsonb || $1::jsonb)::json"
        await tx.execute(f"UPDATE partners SET {change}", str(listed).replace("'", '"'))
    await advisers.asked()
    page = await advisers.page(await advisers.only())
    assert "+33327000000" in page
    assert "1 rue Neuve, 59300 Valenciennes" in page


async def test_sheet_of_a_request_whose_referral_has_ended_is_refused(advisers: AtDesk):
    referral = await advisers.asked()
    delivery = await advisers.only()
    rejected = {"status": ReferralStatus.REJECTED, "on_behalf_of": Author.PARTNER}
    await advisers.hub.move(referral, ReferralRejected, reason=Reason.NO_CAPACITY, **rejected)
    await advisers.hub.hear()
    assert refused(await advisers.sheet(delivery)) == (409, "not-by-hand")
    assert (await advisers.handed_over(delivery)).status_code == 200  # it was told


async def test_sheet_of_nothing_is_not_found(advisers: AtDesk):
    for answer in (
        await advisers.sheet(str(uuid4())),
        await advisers.handed_over(str(uuid4())),
    ):
        assert answer.json() == problem(
            "not-found", "There is no such thing", 404, detail="No such delivery"
        )


# --- the hand-over ------------------------------------------------------------------------


async def test_hand_over_says_how_and_to_whom_and_discloses_once(advisers: AtDesk):
    referral = await advisers.asked()
    delivery = await advisers.only()
    answer = await advisers.handed_over(delivery, note=f"vu avec {CANARY}")
    assert answer.json() == {"delivery_id": delivery, "state": "succeeded"}
    (succeeded,) = await advisers.hub.events("delivery.succeeded")
    assert succeeded == {
        "delivery_id": delivery, "referral_id": str(referral.referral_id),
        "partner_id": PARTNER, "message": "referral.requested", "attempts": 1,
        "channel": "manual", "by": "phone", "to": "reception",
    }  # fmt: skip
    (disclosed,) = await advisers.hub.events("disclosure.made")
    assert disclosed["fields"] == sorted(FIELDS)
    listed = await advisers.listed()
    assert listed["waiting"] == []
    assert [item["delivery_id"] for item in listed["done"]] == [delivery]
    assert refused(await advisers.handed_over(delivery)) == (409, "not-by-hand")
    assert refused(await advisers.unreached(delivery)) == (409, "not-by-hand")
    (actor,) = await advisers.hub.rows(
        "SELECT meta ->> 'actor' AS actor FROM events WHERE type LIKE '%delivery.succeeded%'"
    )
    assert actor["actor"] == "adviser:desk"


async def test_note_is_sealed_and_holds_no_social_security_number(advisers: AtDesk):
    await advisers.asked()
    delivery = await advisers.only()
    answer = await advisers.handed_over(delivery, note="NIR 2 69 05 49 588 157 80")
    assert refused(answer) == (422, "nir-refused")
    await advisers.unreached(delivery, note=f"{CANARY} rappelle")
    await advisers.handed_over(delivery, note=f"vu avec {CANARY}")
    for row in await advisers.hub.rows("SELECT e::text AS text FROM events e"):
        assert CANARY not in row["text"]
        assert CANARY.encode().hex() not in row["text"]


async def test_call_in_vain_stays_on_the_list_and_is_kept(advisers: AtDesk):
    await advisers.asked()
    delivery = await advisers.only()
    for _ in range(2):
        assert (await advisers.unreached(delivery)).status_code == 200
    (item,) = await advisers.waiting()
    assert (item["calls"], item["error"]) == (2, "no-endpoint")
    failed = await advisers.hub.events("delivery.failed")
    assert [(e["channel"], e["error"]) for e in failed] == [("manual", "nobody-reached")] * 2
    path = f"/v1/deliveries/{delivery}/attempts"
    attempts = (await call(advisers.hub, "GET", path)).json()["attempts"]
    assert [(a["attempt"], a["channel"], a["error"]) for a in attempts] == [
        (1, "manual", "nobody-reached"), (2, "manual", "nobody-reached"),
    ]  # fmt: skip
    assert (await advisers.handed_over(delivery)).status_code == 200
    assert (await advisers.hub.events("delivery.succeeded"))[0]["attempts"] == 3


async def test_partner_that_was_not_reached_needs_no_cancellation(advisers: AtDesk):
    referral = await advisers.asked()
    await advisers.unreached(await advisers.only())
    await advisers.hub.move(referral, ReferralCancelled, reason=Reason.CLIENT_DECLINED)
    await advisers.hub.hear()
    assert await advisers.waiting() == []
    assert len(await advisers.hub.rows("SELECT 1 FROM deliveries")) == 1


async def test_partner_that_was_phoned_is_phoned_again_when_it_is_cancelled(advisers: AtDesk):
    referral = await advisers.asked()
    await advisers.handed_over(await advisers.only())
    await advisers.hub.move(referral, ReferralCancelled, reason=Reason.SENT_IN_ERROR)
    await advisers.hub.hear()
    (item,) = await advisers.waiting()
    assert item["message"] == "referral.cancelled"
    assert (await advisers.hub.events("delivery.manual"))[-1]["message"] == "referral.cancelled"
    page = await advisers.page(item["delivery_id"])
    assert "Envoyée par erreur" in page
    assert CANARY not in page
    await advisers.handed_over(item["delivery_id"])
    assert len(await advisers.hub.events("disclosure.made")) == 1


async def test_reminder_and_withdrawal_go_by_hand_too(advisers: AtDesk):
    referral = await advisers.asked()
    await advisers.handed_over(await advisers.only())
    overdue = DeadlinePassed(
        referral_id=referral.referral_id, case_id=referral.case_id,
        partner_id=PARTNER, service_id=SERVICE, step=DeadlineStep.REMIND,
        due_on=date(2026, 11, 26), requested_on=date(2026, 11, 23),
        expire_on=date(2026, 12, 7),
    )  # fmt: skip
    await advisers.hub.say(referral.person_id, overdue)
    await advisers.hub.hear()
    (reminder,) = await advisers.waiting()
    page = await advisers.page(reminder["delivery_id"])
    assert reminder["message"] == "referral.reminded"
    assert "23/11/2026" in page
    assert "07/12/2026" in page
    await advisers.hub.withdraw(referral.person_id, referral.agreement_id)
    withdrawn = (await advisers.waiting())[-1]
    assert withdrawn["message"] == "agreement.withdrawn"
    assert "effacer" in await advisers.page(withdrawn["delivery_id"])
    assert {e["message"] for e in await advisers.hub.events("delivery.manual")} == {
        "referral.requested", "referral.reminded", "agreement.withdrawn",
    }  # fmt: skip


# --- what keeps a message back ------------------------------------------------------------


async def test_withdrawn_agreement_closes_the_sheet(advisers: AtDesk):
    referral = await advisers.asked()
    delivery = await advisers.only()
    await advisers.hub.withdraw(referral.person_id, referral.agreement_id)
    for answer in (await advisers.sheet(delivery), await advisers.handed_over(delivery)):
        assert refused(answer) == (409, "not-by-hand")
    assert await advisers.waiting() == []


async def test_agreement_that_ran_out_closes_the_sheet_and_the_hand_over(databases: Databases):
    now = system_clock()
    hub = Hub(platform_at(databases, clock=lambda: now))
    await hub.prepare()
    advisers = await AtDesk.of(hub)
    await advisers.asked(agreed_until=now.date())
    delivery = await advisers.only()
    assert (await advisers.sheet(delivery)).status_code == 200
    now += timedelta(days=2)
    for answer in (await advisers.sheet(delivery), await advisers.handed_over(delivery)):
        assert refused(answer) == (409, "agreement-missing")
    assert await hub.events("disclosure.made") == []
    await hub.close()
    await hub.platform.close()


async def test_erased_person_closes_the_sheet(advisers: AtDesk, databases: Databases):
    referral = await advisers.asked()
    delivery = await advisers.only()
    await destroy_key(databases, referral.person_id)
    fresh = AtDesk(Hub(platform_at(databases)))
    for answer in (await fresh.sheet(delivery), await fresh.handed_over(delivery)):
        assert refused(answer) == (410, "person-erased")
    await fresh.hub.close()
    await fresh.hub.platform.close()


# --- the last channel of everybody --------------------------------------------------------


async def test_what_every_channel_fails_to_bring_is_left_to_an_adviser(
    advisers: AtDesk, sink: Sink
):
    await register(advisers.hub, sink.url)
    sink.replies = [web.Response(status=410)]
    await advisers.asked()
    await advisers.hub.turn()
    (item,) = await advisers.waiting()
    assert item["error"] == "http-410"
    (manual,) = await advisers.hub.events("delivery.manual")
    assert (manual["from_channel"], manual["error"]) == ("webhook", "http-410")
    assert CANARY in await advisers.page(item["delivery_id"])
    await advisers.handed_over(item["delivery_id"])
    assert len(await advisers.hub.events("disclosure.made")) == 1
    listed = (await call(advisers.hub, "GET", "/v1/deliveries?state=succeeded")).json()
    assert len(listed["deliveries"]) == 1


async def test_request_that_nobody_waits_for_is_left_to_nobody(advisers: AtDesk, sink: Sink):
    await register(advisers.hub, sink.url)
    referral = await advisers.asked()
    rejected = {"status": ReferralStatus.REJECTED, "on_behalf_of": Author.PARTNER}
    await advisers.hub.move(referral, ReferralRejected, reason=Reason.NO_CAPACITY, **rejected)
    await advisers.hub.hear()
    sink.replies = [web.Response(status=410)]
    await advisers.hub.turn()
    assert await advisers.waiting() == []
    (dead,) = await advisers.hub.events("delivery.dead-lettered")
    assert dead["error"] == "http-410"


async def test_message_that_its_receiver_aborted_may_still_be_said_by_phone(
    advisers: AtDesk, sink: Sink
):
    await register(advisers.hub, sink.url)
    sink.replies = [web.Response(status=400, headers={"webhook-delivery": "abort-message"})]
    await advisers.asked()
    await advisers.hub.turn()
    (dead,) = await advisers.hub.rows("SELECT delivery_id, state FROM deliveries")
    assert dead["state"] == "dead"
    assert await advisers.waiting() == []
    assert (await advisers.handed_over(str(dead["delivery_id"]))).status_code == 200


# --- the commune's own services -----------------------------------------------------------

OWN = {
    PartnerKind.DIGITAL_SPACE: (
        "petite-foret--espace-numerique", "petite-foret--espace-numerique--accompagnement",
    ),
    PartnerKind.INFORMATION_JEUNESSE: (
        "petite-foret--information-jeunesse",
        "petite-foret--information-jeunesse--information",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(OWN))
async def test_service_of_the_commune_needs_no_address(advisers: AtDesk, kind: PartnerKind):
    partner_id, service_id = OWN[kind]
    await advisers.asked(partner_id=partner_id, service_id=service_id, partner_kind=kind)
    (item,) = (await advisers.listed(partner_id=partner_id))["waiting"]
    assert item["kind"] == kind
    answer = await advisers.handed_over(item["delivery_id"], by="in-person", to="adviser")
    assert answer.status_code == 200
    (succeeded,) = await advisers.hub.events("delivery.succeeded")
    assert (succeeded["by"], succeeded["to"]) == ("in-person", "adviser")


async def test_service_of_the_commune_may_have_a_mailbox_of_its_own(databases: Databases):
    partner_id, service_id = OWN[PartnerKind.DIGITAL_SPACE]
    async with mailbox() as box:
        hub = Hub(platform_at(databases, smtp_url=box.url))
        await hub.prepare()
        to, about = "numerique@petite-foret.example", {"partner_id": partner_id}
        await register(hub, f"mailto:{to}", channel="email", service_ids=[], **about)
        await hub.refer(partner_id, service_id, partner_kind=PartnerKind.DIGITAL_SPACE)
        await hub.hear()
        await hub.turn()
        assert box.recipients == [to]
        await hub.close()
        await hub.platform.close()
