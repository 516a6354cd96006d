"""What people and machines do with a mailed link; nothing is lost, and nothing told."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest

from contracts.referrals import DeadlinePassed, Disclosure
from contracts.values import DeadlineStep
from services.partners.handlers.answers import Answers
from tests.support.mailbox import FORM, TO, Form, Post, posted
from tests.support.partners import CANARY, FIELDS, SERVICE, call, register
from tests.support.postgres import Databases


@pytest.fixture
async def post(databases: Databases) -> AsyncIterator[Post]:
    async with posted(databases) as found:
        yield found


async def said(post: Post) -> list[tuple[str, str | None]]:
    """Status and business status of every answer, in order."""
    answers = await post.hub.events("answer.received")
    return [(answer["status"], answer.get("business_status")) for answer in answers]


async def reminded(post: Post) -> None:
    """An answer stays out; the partner gets a mail with a link of its own."""
    about = post.referral
    overdue = DeadlinePassed(
        referral_id=about.referral_id, case_id=about.case_id, partner_id=about.partner_id,
        service_id=SERVICE, step=DeadlineStep.REMIND, due_on=date(2026, 11, 26),
        requested_on=date(2026, 11, 23), expire_on=date(2026, 12, 7),
    )  # fmt: skip
    await post.hub.say(about.person_id, overdue)
    await post.hub.hear()
    await post.turn()


async def test_reminder_holds_a_link_of_its_own_and_nothing_of_the_person(post: Post):
    first = post.path
    await reminded(post)
    assert post.path != first
    assert "23/11/2026" in post.box.text()
    whole = post.box.messages[-1].as_string() + post.box.text()
    assert not any(value in whole for value in FIELDS.values())


async def test_opening_a_reminder_does_not_take_back_what_was_answered(post: Post):
    await post.answered("under-study")
    await reminded(post)
    await post.opened()
    assert await said(post) == [("requested", "received"), ("requested", "under-study")]
    assert len(await post.hub.events("link.opened")) == 2


async def test_receipt_that_a_crash_kept_back_is_stored_at_the_next_opening(
    post: Post, monkeypatch: pytest.MonkeyPatch
):
    async def crash(*_: Any) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as broken:
        broken.setattr(Answers, "accept_unsigned", crash)
        with pytest.raises(RuntimeError):
            await post.post("open")
    await post.opened()
    assert await said(post) == [("requested", "received")]
    assert len(await post.hub.events("link.opened")) == 1


async def test_two_openings_at_once_are_one(post: Post):
    pages = await asyncio.gather(*(post.post("open") for _ in range(4)))
    assert {page.status_code for page in pages} == {200}
    assert await said(post) == [("requested", "received")]
    assert len(await post.hub.events("link.opened")) == 1


async def test_request_cancelled_while_it_is_opened_is_shown_as_closed(post: Post):
    async with post.hub.database.transaction() as tx:
        await tx.execute("UPDATE referral_states SET status = 'cancelled'")
        opening = asyncio.create_task(post.post("open"))
        await asyncio.sleep(0.5)  # it has read `requested`, and waits for the row
        assert not opening.done()
    page = await opening
    assert (page.status_code, Form(page.text).choices) == (200, [])
    assert await said(post) == []


async def test_form_sent_again_with_another_answer_is_not_said_to_be_stored(post: Post):
    form = (await post.opened()).hidden | {"choice": "accepted"}
    await post.post("answer", form | {"comment": "Lundi"})
    page = await post.post("answer", form | {"comment": "Mardi"})
    assert page.status_code == 409
    assert "est enregistrée" not in page.text
    assert len(await said(post)) == 2


@pytest.mark.parametrize("size", [40_000, 33_000])
async def test_text_that_is_far_too_long_is_said_on_the_page(post: Post, size: int):
    page = await post.answered("accepted", comment="x" * size)
    assert page.status_code == 422
    assert 'id="error-comment"' in page.text
    assert len(await said(post)) == 1


async def test_comment_that_is_too_long_is_said_so_and_kept(post: Post):
    page = await post.answered("accepted", comment="x" * 4001)
    assert page.status_code == 422
    assert "trop long" in page.text
    assert "x" * 4001 in page.text


async def test_line_ends_of_browsers_count_once(post: Post):
    page = await post.answered("accepted", comment="\r\n".join(["x"] * 1990))
    assert page.status_code == 200


async def test_form_with_a_hundred_fields_is_refused(post: Post):
    form = (await post.opened()).hidden | {f"f{n}": "x" for n in range(100)}
    assert (await post.post("answer", form)).status_code == 422


async def test_reason_that_is_not_the_partners_is_refused_by_name(post: Post):
    page = await post.answered("rejected", reason="no-response")
    assert page.status_code == 422
    assert 'id="error-reason"' in page.text


async def test_social_security_number_in_the_reference_names_the_reference(post: Post):
    page = await post.answered("accepted", partner_reference="269054958815780")
    assert page.status_code == 422
    assert 'id="error-partner_reference"' in page.text


async def test_errors_lead_to_a_field_that_is_there(post: Post):
    form = (await post.opened()).hidden
    page = await post.post("answer", form)
    assert 'href="#choice' in page.text
    (target,) = {part.split('"')[0] for part in page.text.split('href="#')[1:]}
    assert target in Form(page.text).named


async def test_fields_are_shown_in_french(post: Post):
    fields = {
        "birth_date": "2004-02-29",
        "recognised_disability": True,
        "situation": "job-seeker",
        "study_level": "cap-bep",
        "minimum_benefit": "rsa",
    }
    await post.hub.refer(sealed=Disclosure(fields=fields))
    await post.hub.hear()
    await post.turn()
    page = (await post.post("open")).text
    for shown in ("29/02/2004", "Oui", "CAP ou BEP", "RSA"):
        assert f"<dd><bdi>{shown}</bdi></dd>" in page
    assert "True" not in page
    assert "job-seeker" not in page


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "https://hub.example.evil.fr"])
async def test_form_of_another_origin_is_refused_by_old_browsers_too(post: Post, origin: str):
    given = FORM | {"origin": origin}
    answer = await call(post.hub, "POST", f"{post.path}/open", headers=given)
    assert answer.status_code == 403
    assert await post.hub.events("link.opened") == []


@pytest.mark.parametrize("origin", ["https://hub.example", "http://hub", "null"])
async def test_form_of_our_own_page_is_taken(post: Post, origin: str):
    given = FORM | {"origin": origin}
    answer = await call(post.hub, "POST", f"{post.path}/open", headers=given)
    assert answer.status_code == 200


@pytest.mark.parametrize("tail", ["open", "answer", "renew"])
async def test_page_asked_for_again_by_its_address_leads_back_to_the_first(
    post: Post, tail: str
):
    page = await post.get(f"{post.path}/{tail}")
    assert (page.status_code, page.headers["location"]) == (303, f"../{post.path[3:]}")
    assert page.headers["cache-control"] == "no-store"
    assert await post.hub.events("link.opened") == []


async def test_mailbox_registered_again_keeps_the_links_it_has(post: Post):
    await register(post.hub, f"mailto:{TO}", channel="email", rank=1)
    assert CANARY in (await post.post("open")).text


async def test_mailbox_that_is_disabled_loses_its_links(post: Post):
    async with post.hub.database.transaction() as tx:
        await tx.execute("UPDATE endpoints SET state = 'disabled', reason = 'gone'")
    assert (await post.post("open")).status_code == 404


async def test_token_is_in_no_log(
    post: Post, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # the test's own client
    await post.get()
    await post.answered("accepted", comment=CANARY)
    await post.answered("nonsense")
    await post.post("renew")
    written = caplog.text + "".join(capfd.readouterr())
    assert post.path.removeprefix("/r/") not in written
    assert CANARY not in written
