"""Partners report themselves whether they have room: with a key, by a link, with an answer."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from contracts.days import local_day
from infra.base.clock import system_clock
from tests.support.mailbox import FORM, TO, Form, Mailbox, Post, mailbox, posted
from tests.support.partners import (
    PARTNER,
    SERVICE,
    Desk,
    Hub,
    call,
    platform_at,
    problem,
    register,
)
from tests.support.postgres import Databases

OTHERS = "petite-foret--clap--projet"
DIRECTORY = "accueil@annuaire.example"


def day(after: int) -> str:
    """A day in France, so many after today."""
    return str(local_day(system_clock()) + timedelta(days=after))


async def with_key(hub: Hub, path: str, body: Any = None) -> httpx2.Response:
    """A partner's own system calls."""
    answer = await call(hub, "POST", f"/v1/partners/{PARTNER}/keys", json={"name": "crm"})
    headers = {"authorization": f"Bearer {answer.json()['key']}"}
    return await call(hub, "POST", f"/v1/partner/{path}", headers=headers, json=body)


# --- with a key ---------------------------------------------------------------------------


async def test_partner_reports_on_its_own_service(hub: Hub):
    session = f"{day(9)}T14:00:00+01:00"
    body = {"status": "waitlist", "seats": 0, "until": day(30), "sessions": [session]}
    answer = await with_key(hub, f"services/{SERVICE}/capacity", body)
    assert answer.status_code == 201, answer.text
    (event,) = await hub.events("capacity.reported")
    assert (event["status"], event["until"]) == ("waitlist", day(30))
    listed = (await call(hub, "GET", f"/v1/services?partner_id={PARTNER}")).json()["services"]
    (shown,) = [s for s in listed if s["service_id"] == SERVICE]
    assert (shown["capacity"], len(shown["sessions"])) == ("waitlist", 1)
    (actor,) = await hub.rows(
        "SELECT meta ->> 'actor' AS actor FROM events WHERE type LIKE '%capacity.reported%'"
    )
    assert actor["actor"] == f"partner:{PARTNER}"


@pytest.mark.parametrize("path", ["capacity", "capacity-link"])
async def test_service_of_another_partner_is_not_found(hub: Hub, path: str):
    body = {"status": "capacity"} if path == "capacity" else None
    answer = await with_key(hub, f"services/{OTHERS}/{path}", body)
    assert answer.json() == problem(
        "not-found", "There is no such thing", 404, detail="No such service"
    )
    assert await hub.events("capacity.reported") == []


async def test_session_that_is_over_names_its_field(hub: Hub):
    body = {"status": "capacity", "sessions": [f"{day(-2)}T09:00:00Z"]}
    answer = await with_key(hub, f"services/{SERVICE}/capacity", body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "sessions"


async def test_link_needs_a_mail_server(hub: Hub):
    answer = await call(hub, "POST", f"/v1/services/{SERVICE}/capacity-link")
    assert answer.json() == problem(
        "no-mailbox", "No link can be mailed", 409, detail="no mail server is set (smtp_url)"
    )


# --- by a link ----------------------------------------------------------------------------


@dataclass
class Mailed:
    """A hub with a mail server, and the link that was mailed last."""

    hub: Hub
    box: Mailbox
    now: datetime = field(default_factory=system_clock)

    async def send(self) -> httpx2.Response:
        return await call(self.hub, "POST", f"/v1/services/{SERVICE}/capacity-link")

    @property
    def path(self) -> str:
        return re.findall(r"https://hub\.example(/c/\S+)", self.box.text())[-1]

    async def get(self, path: str | None = None) -> httpx2.Response:
        return await call(self.hub, "GET", path or self.path, headers={})

    async def post(self, tail: str, path: str | None = None, **form: str) -> httpx2.Response:
        url = f"{path or self.path}/{tail}"
        return await call(self.hub, "POST", url, headers=FORM, data=form)

    async def known(self) -> list[dict[str, Any]]:
        return await self.hub.events("capacity.reported")


@pytest.fixture
async def mailed(databases: Databases) -> AsyncIterator[Mailed]:
    async with mailbox() as box:
        hub = Hub(platform_at(databases, clock=lambda: made.now, smtp_url=box.url))
        made = Mailed(hub, box)
        await hub.prepare()
        await register(hub, f"mailto:{TO}", channel="email")
        answer = await made.send()
        assert (answer.status_code, answer.json()) == (202, {"outcome": "ok", "error": None})
        yield made
        await hub.close()
        await hub.platform.close()


async def test_mailbox_gets_one_link_of_a_service_an_hour(mailed: Mailed):
    again = await mailed.send()
    assert (again.status_code, again.headers["retry-after"]) == (429, "3600")
    assert again.json()["type"].endswith("/mailed-lately")
    assert len(mailed.box.recipients) == 1
    mailed.now += timedelta(hours=1)
    assert (await mailed.send()).status_code == 202
    assert len(mailed.box.recipients) == 2


async def test_link_that_could_not_be_mailed_may_be_asked_for_again_at_once(mailed: Mailed):
    mailed.now += timedelta(hours=1)
    mailed.box.replies.append("451 try again later")
    assert (await mailed.send()).json()["outcome"] != "ok"
    assert (await mailed.send()).json()["outcome"] == "ok"


async def test_link_goes_to_the_registered_mailbox_and_reports(mailed: Mailed):
    assert mailed.box.recipients == [TO]
    page = await mailed.post("report", status="no-capacity", until=day(20))
    assert page.status_code == 200
    (event,) = await mailed.known()
    assert (event["service_id"], event["status"], event["until"]) == (
        SERVICE, "no-capacity", day(20),
    )  # fmt: skip
    assert "Plus de place" in (await mailed.get()).text


async def test_following_the_link_changes_nothing(mailed: Mailed):
    before = await mailed.hub.rows("SELECT count(*) FROM events")
    for _ in range(3):  # a scanner of mail
        page = await mailed.get()
        assert page.status_code == 200
        assert page.headers["cache-control"] == "no-store"
        assert "<script" not in page.text
    assert await mailed.hub.rows("SELECT count(*) FROM events") == before


async def test_every_field_of_the_form_has_a_label(mailed: Mailed):
    form = Form((await mailed.get()).text)
    assert form.named <= form.labels
    assert form.choices == ["capacity", "waitlist", "no-capacity"]


@pytest.mark.parametrize(
    ("form", "wrong"),
    [
        ({}, "status"),
        ({"status": "full"}, "status"),
        ({"status": "no-capacity", "seats": "3"}, "seats"),
        ({"status": "capacity", "seats": "beaucoup"}, "seats"),
        ({"status": "capacity", "until": "demain"}, "until"),
        ({"status": "capacity", "until": day(-1)}, "until"),
        ({"status": "capacity", "sessions": "bientôt"}, "sessions"),
        ({"status": "capacity", "sessions": f"{day(-1)}T09:00"}, "sessions"),
    ],
)
async def test_form_that_makes_no_sense_names_the_field_and_keeps_what_was_typed(
    mailed: Mailed, form: dict[str, str], wrong: str
):
    page = await mailed.post("report", **form)
    assert page.status_code == 422
    assert f'id="error-{wrong}"' in page.text
    assert f'href="#{"status-capacity" if wrong == "status" else wrong}"' in page.text
    if form.get("until"):
        assert form["until"] in page.text
    assert await mailed.known() == []


async def test_form_of_another_site_is_refused(mailed: Mailed):
    headers = FORM | {"sec-fetch-site": "cross-site"}
    answer = await call(mailed.hub, "POST", f"{mailed.path}/report", headers=headers)
    assert answer.status_code == 403


async def test_token_is_not_kept(mailed: Mailed):
    token = mailed.path.removeprefix("/c/").encode()
    (link,) = await mailed.hub.rows("SELECT * FROM capacity_links")
    assert token not in repr(link).encode()


async def test_link_of_a_report_opens_no_request_nor_the_other_way_round(mailed: Mailed):
    answer_page = mailed.path.replace("/c/", "/r/")
    assert (await mailed.get(answer_page)).status_code == 404
    assert (await mailed.post("open", answer_page)).status_code == 404
    await mailed.hub.refer()
    await mailed.hub.hear()
    await mailed.hub.turn()
    other = re.findall(r"https://hub\.example/r/(\S+)", mailed.box.text())[-1]
    assert (await mailed.get(f"/c/{other}")).status_code == 404
    assert (await mailed.post("report", f"/c/{other}", status="capacity")).status_code == 404
    assert await mailed.known() == []


async def test_link_that_ran_out_is_renewed_to_the_same_mailbox_once_an_hour(mailed: Mailed):
    mailed.now += timedelta(days=9)
    old = mailed.path
    assert (await mailed.get(old)).status_code == 404
    assert (await mailed.post("report", old, status="capacity")).status_code == 404
    first = await mailed.post("renew", old)
    again = await mailed.post("renew", old)
    unknown = await mailed.post("renew", f"/c/{'B' * 43}")
    assert first.text == again.text == unknown.text
    assert mailed.box.recipients == [TO, TO]
    assert mailed.path != old
    assert (await mailed.post("report", status="capacity")).status_code == 200


async def test_link_that_still_works_is_not_renewed(mailed: Mailed):
    await mailed.post("renew")
    assert len(mailed.box.messages) == 1


async def test_link_is_not_renewed_to_a_mailbox_that_the_partner_left(mailed: Mailed):
    async with mailed.hub.database.transaction() as tx:
        await tx.execute("UPDATE endpoints SET state = 'disabled'")
    mailed.now += timedelta(days=9)
    await mailed.post("renew")
    assert len(mailed.box.messages) == 1


async def test_service_that_its_source_withdrew_is_asked_no_more(mailed: Mailed):
    async with mailed.hub.database.transaction() as tx:
        await tx.execute("UPDATE services SET withdrawn = true WHERE service_id = $1", SERVICE)
    assert (await mailed.get()).status_code == 404
    assert (await mailed.send()).status_code == 404


async def test_mailbox_of_the_directory_serves_where_none_is_registered(databases: Databases):
    async with mailbox() as box:
        hub = Hub(platform_at(databases, smtp_url=box.url))
        await hub.prepare()
        made = Mailed(hub, box)
        assert (await made.send()).json()["type"].endswith("/no-mailbox")
        async with hub.database.transaction() as tx:
            await tx.execute(
                "UPDATE partners SET structure = (structure::jsonb || $1::jsonb)::json",
                f'{{"courriel": "{DIRECTORY}"}}',
            )
        answer = await with_key(hub, f"services/{SERVICE}/capacity-link")
        assert (answer.status_code, box.recipients) == (202, [DIRECTORY])
        await hub.close()
        await hub.platform.close()


# --- with an answer -----------------------------------------------------------------------


@pytest.fixture
async def post(databases: Databases) -> AsyncIterator[Post]:
    async with posted(databases) as found:
        yield found


async def test_refusal_on_the_page_may_say_until_when_a_service_is_full(post: Post):
    page = await post.answered("rejected", reason="no-capacity", no_capacity_until=day(40))
    assert page.status_code == 200
    (event,) = await post.hub.events("capacity.reported")
    assert (event["service_id"], event["status"], event["until"]) == (
        SERVICE, "no-capacity", day(40),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "until"),
    [("no-capacity", day(-1)), ("not-eligible", day(5)), ("no-capacity", "bientôt")],
)
async def test_day_that_makes_no_sense_is_named_and_nothing_is_stored(
    post: Post, reason: str, until: str
):
    page = await post.answered("rejected", reason=reason, no_capacity_until=until)
    assert page.status_code == 422
    assert 'id="error-no_capacity_until"' in page.text
    assert await post.hub.events("capacity.reported") == []
    assert [e["status"] for e in await post.hub.events("answer.received")] == ["requested"]


async def test_refusal_that_says_no_day_reports_nothing(post: Post):
    await post.answered("rejected", reason="no-capacity")
    assert await post.hub.events("capacity.reported") == []


async def test_signed_answer_reports_once_however_often_it_comes(desk: Desk):
    given = {"reason": "no-capacity", "no_capacity_until": day(10)}
    for _ in range(2):
        assert (await desk.answer("rejected", "m1", **given)).status_code == 202
    (event,) = await desk.hub.events("capacity.reported")
    assert event["until"] == day(10)


async def test_signed_answer_with_a_day_that_is_over_names_the_field(desk: Desk):
    given = {"reason": "no-capacity", "no_capacity_until": day(-1)}
    answer = await desk.answer("rejected", "m1", **given)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "data.no_capacity_until"
    assert await desk.stored() == []


# --- the state that was seen --------------------------------------------------------------


async def test_answer_to_another_state_than_expected_is_a_conflict_that_names_it(desk: Desk):
    assert (await desk.answer("accepted", "m1", expected_status="requested")).status_code == 202
    refused = await desk.answer("in-progress", "m2", expected_status="on-hold")
    assert refused.json() == problem(
        "state-changed", "The referral is no longer in the state that you saw", 409,
        current_status="accepted",
    )  # fmt: skip
    assert [e["status"] for e in await desk.stored()] == ["accepted"]
    assert (await desk.answer("in-progress", "m3", expected_status="accepted")).is_success


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("until", "9999-12-31"), ("until", "0001-01-01"), ("until", 20_000),
        ("until", day(12 * 366)), ("sessions", ["9999-12-31T23:59:59Z"]),
        ("sessions", ["0001-01-01T00:00:00+05:00"]), ("sessions", [1_800_000_000]),
        ("sessions", [f"{day(12 * 366)}T10:00:00Z"]), ("seats", 2**63),
    ],
)  # fmt: skip
async def test_capacity_of_a_day_that_cannot_be_names_the_field(
    hub: Hub, field: str, value: Any
):
    answer = await with_key(
        hub, f"services/{SERVICE}/capacity", {"status": "waitlist", field: value}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].split(".")[0] == field
    assert await hub.events("capacity.reported") == []
