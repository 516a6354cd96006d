"""A partner with nothing but a mailbox: mail, link, page, answer; and what must not happen."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from contracts.days import PARIS, local_day
from contracts.referrals import AppointmentExcused, AppointmentSet, ReferralCancelled
from contracts.values import Author, ReferralStatus
from tests.support.mailbox import FORM, TO, Form, Post, posted
from tests.support.partners import (
    CANARY,
    FIELDS,
    PARTNER,
    SERVICE,
    Hub,
    call,
    destroy_key,
    platform_at,
    register,
)
from tests.support.postgres import Databases


@pytest.fixture
async def post(databases: Databases) -> AsyncIterator[Post]:
    async with posted(databases) as found:
        yield found


async def test_mail_holds_a_link_and_nothing_of_the_person(post: Post):
    (message,) = post.box.messages
    assert message["to"] == TO
    whole = message.as_string() + post.box.text()
    for value in FIELDS.values():
        assert value not in whole
    assert str(post.referral.person_id) not in whole
    (succeeded,) = await post.hub.events("delivery.succeeded")
    assert succeeded["referral_id"] == str(post.referral.referral_id)


async def test_following_the_link_shows_nothing_personal_and_changes_nothing(post: Post):
    before = await post.hub.rows("SELECT count(*) FROM events")
    for _ in range(3):  # a scanner of mail
        page = await post.get()
        assert page.status_code == 200
        assert CANARY not in page.text
    assert await post.hub.rows("SELECT count(*) FROM events") == before
    (link,) = await post.hub.rows("SELECT opened_at FROM answer_links")
    assert link["opened_at"] is None


async def test_opening_shows_what_was_agreed_and_is_written_down_once(post: Post):
    page = await post.post("open")
    assert CANARY in page.text
    await post.post("open")
    assert len(await post.hub.events("link.opened")) == 1
    (received,) = await post.hub.events("answer.received")
    assert (received["status"], received["business_status"]) == ("requested", "received")


async def test_pages_are_not_kept_nor_told_about(post: Post):
    for page in (await post.get(), await post.post("open")):
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "<script" not in page.text


async def test_every_field_of_the_form_has_a_label(post: Post):
    form = await post.opened()
    assert form.named <= form.labels


async def test_partner_accepts_with_an_appointment(post: Post):
    day = local_day(post.now + timedelta(days=30))
    page = await post.answered(
        "accepted", appointment_at=f"{day}T10:30", partner_reference="D-42"
    )
    assert page.status_code == 200
    accepted = (await post.hub.events("answer.received"))[-1]
    assert accepted["status"] == "accepted"
    at = datetime.fromisoformat(f"{day}T10:30").replace(tzinfo=PARIS)
    assert accepted["appointment_at"] == at.isoformat()


async def test_page_shows_the_appointment_that_is_proposed_as_it_is_now(post: Post):
    page = (await post.post("open")).text
    assert "Rendez-vous prévu" not in page
    about = post.referral
    said = {"referral_id": about.referral_id, "case_id": about.case_id}
    at = datetime(2027, 1, 11, 9, 30, tzinfo=UTC)
    given = AppointmentSet(**said, starts_at=at, author=Author.ADVISER)
    moved = given.model_copy(update={"starts_at": at + timedelta(days=1)})
    await post.hub.say(about.person_id, given, moved)
    await post.hub.hear()
    page = (await post.post("open")).text
    assert "Rendez-vous prévu avec la personne : le 12/01/2027 à 10 h 30." in page
    excused = AppointmentExcused(**said, starts_at=moved.starts_at, author=Author.ADVISER)
    await post.hub.say(about.person_id, excused)
    await post.hub.hear()
    assert "Rendez-vous prévu" not in (await post.post("open")).text


async def test_page_offers_only_what_the_state_allows(post: Post):
    assert "accepted" in (await post.opened()).choices
    assert "completed" not in (await post.opened()).choices
    await post.answered("accepted")
    assert "rejected" not in (await post.opened()).choices
    assert "completed" in (await post.opened()).choices


async def test_refusal_without_a_reason_names_the_field_and_keeps_what_was_typed(post: Post):
    page = await post.answered("rejected", comment="Nous sommes complets")
    assert page.status_code == 422
    assert 'id="error-reason"' in page.text
    assert "Nous sommes complets" in page.text
    statuses = {e["status"] for e in await post.hub.events("answer.received")}
    assert statuses == {"requested"}


async def test_refusal_with_a_reason_is_stored(post: Post):
    await post.answered("rejected", reason="no-capacity")
    assert (await post.hub.events("answer.received"))[-1]["reason"] == "no-capacity"


async def test_social_security_number_is_refused(post: Post):
    page = await post.answered("accepted", comment="NIR 2 69 05 49 588 157 80")
    assert page.status_code == 422
    assert "numéro de sécurité sociale" in page.text
    assert len(await post.hub.events("answer.received")) == 1


async def test_form_sent_twice_is_stored_once(post: Post):
    form = (await post.opened()).hidden | {"choice": "accepted"}
    assert (await post.post("answer", form)).status_code == 200
    assert (await post.post("answer", form)).status_code == 200
    statuses = [e["status"] for e in await post.hub.events("answer.received")]
    assert statuses == ["requested", "accepted"]


async def test_answer_to_a_state_that_has_changed_is_not_stored_and_says_so(post: Post):
    form = (await post.opened()).hidden | {"choice": "rejected", "reason": "no-capacity"}
    await post.answered("accepted")
    page = await post.post("answer", form)
    assert page.status_code == 409
    assert "a changé" in page.text
    assert (await post.hub.events("answer.received"))[-1]["status"] == "accepted"


async def test_form_of_another_site_is_refused(post: Post):
    answer = await call(
        post.hub, "POST", f"{post.path}/open", headers=FORM | {"sec-fetch-site": "cross-site"}
    )
    assert answer.status_code == 403
    assert await post.hub.events("link.opened") == []


@pytest.mark.parametrize("origin", ["http://[", "https://[v1.x]", "https://a:b", "://"])
async def test_form_of_a_site_that_cannot_be_is_refused_too(post: Post, origin: str):
    sent = FORM | {"origin": origin}
    answer = await call(post.hub, "POST", f"{post.path}/open", headers=sent)
    assert answer.status_code == 403


async def test_token_is_not_kept(post: Post):
    token = post.path.removeprefix("/r/").encode()
    (link,) = await post.hub.rows("SELECT * FROM answer_links")
    assert token not in repr(link).encode()


async def test_link_of_one_referral_answers_no_other(post: Post):
    await post.hub.refer()
    await post.hub.hear()
    first = post.path
    await post.turn()
    assert post.path != first
    await post.answered("accepted")
    answered = (await post.hub.events("answer.received"))[-1]
    assert answered["referral_id"] != str(post.referral.referral_id)


@pytest.mark.parametrize("token", ["x", "A" * 43, "A" * 4000, "%00"])
async def test_unknown_link_and_one_that_ran_out_look_the_same(post: Post, token: str):
    post.now += timedelta(days=9)
    ended = await post.get()
    unknown = await post.get(f"/r/{token}")
    assert ended.status_code == unknown.status_code == 404
    assert "<h1>" in unknown.text
    assert re.search("<h1>.*</h1>", ended.text)[0] in unknown.text  # type: ignore[index]
    assert (await post.post("open")).status_code == 404


async def test_link_that_ran_out_is_renewed_to_the_same_mailbox_once_an_hour(post: Post):
    post.now += timedelta(days=9)
    page = await post.post("renew")
    await post.post("renew")
    assert len(post.box.messages) == 2
    assert post.box.recipients == [TO, TO]
    assert (await call(post.hub, "POST", f"/r/{'B' * 43}/renew")).text == page.text
    post.path = re.findall(r"https://hub\.example(/r/\S+)", post.box.text())[-1]
    assert CANARY in (await post.post("open")).text


async def test_link_that_still_works_is_not_renewed(post: Post):
    await post.post("renew")
    assert len(post.box.messages) == 1


async def test_withdrawn_agreement_closes_the_link(post: Post):
    await post.hub.withdraw(post.referral.person_id, post.referral.agreement_id)
    assert (await post.post("open")).status_code == 404
    await post.hub.turn()
    assert "retiré son accord" in post.box.text()


async def test_erased_person_closes_the_link(post: Post, databases: Databases):
    await destroy_key(databases, post.referral.person_id)
    fresh = Hub(platform_at(databases, smtp_url=post.box.url))
    answer = await call(fresh, "POST", f"{post.path}/open", headers=FORM)
    await fresh.close()
    await fresh.platform.close()
    assert answer.status_code == 404


async def test_cancelled_request_is_shown_as_closed(post: Post):
    await post.hub.move(post.referral, ReferralCancelled, reason="sent-in-error")
    await post.hub.hear()
    page = await post.post("open")
    assert Form(page.text).choices == []
    assert "close" in page.text
    await post.hub.turn()
    assert "annulée" in post.box.text()


async def test_mailbox_that_refuses_leaves_the_request_to_the_next_channel(post: Post):
    await register(post.hub, "http://127.0.0.1:9/hook", rank=1)
    post.box.refused[TO] = "550 no such user"
    await post.hub.refer()
    await post.hub.hear()
    await post.hub.turn()
    (changed,) = await post.hub.events("delivery.channel-changed")
    assert (changed["from_channel"], changed["to_channel"]) == ("email", "webhook")
    assert changed["error"] == "mailbox-refused"


async def test_mailbox_cannot_be_registered_where_there_is_no_mail_server(hub: Hub):
    body = {"partner_id": PARTNER, "service_ids": [SERVICE], "url": f"mailto:{TO}"}
    answer = await call(hub, "POST", "/v1/endpoints", json=body | {"channel": "email"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "channel"


@pytest.mark.parametrize("url", ["mailto:", "mailto:a@b@c", "mailto:x@y\r\nBcc: z@w", "a@b.fr"])
async def test_address_that_is_no_mailbox_is_refused(post: Post, url: str):
    body = {"partner_id": PARTNER, "service_ids": [], "url": url, "channel": "email"}
    answer = await call(post.hub, "POST", "/v1/endpoints", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "url"


async def test_whole_loop_ends_by_the_page_alone(post: Post):
    await post.answered("accepted")
    await post.answered("started")
    await post.answered("completed", outcome="support-started")
    statuses = [e["status"] for e in await post.hub.events("answer.received")]
    assert statuses[-1] == ReferralStatus.COMPLETED
    assert (await post.opened()).choices == []
