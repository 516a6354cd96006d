"""Retention runs by itself, on a clock of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.base import Event
from contracts.receipts import Receipt
from contracts.referrals import CaseClosed, ReferralCompleted, ReferralProposed
from contracts.rights import PersonRestricted
from contracts.values import Author, CaseStatus, PartnerKind, ReferralStatus
from infra.platform import Platform
from infra.postgres.group_commit import GroupCommit
from infra.workers.periodic import PeriodicTask
from services.intake.app import build
from services.intake.projections import READ_TABLES
from tests.support.intake import Desk, contact
from tests.support.platform import JOB, append, client, drain


class Years:
    """An intake whose calendar the test turns."""

    def __init__(self, platform: Platform) -> None:
        self.now = datetime(2026, 1, 10, 9, tzinfo=UTC)
        platform.clock = lambda: self.now
        self.platform = platform
        self.service = build(platform)

    async def comes(self, ref: str, site: str | None = None) -> UUID:
        receipt = await self.says(ref, self.now, site=site)
        await drain(self.service)
        return receipt.person_id

    async def says(self, ref: str, at: datetime, **data: Any) -> Receipt:
        """A contact that a system sends now, and says that it was at a moment."""
        async with await client(self.service, "municipal", ["*"]) as http:
            event = contact(person={"ref": ref, "identity": {"family_name": ref}}, **data)
            desk = Desk(http, self.service, self.platform)
            return await desk.receipt(event | {"time": at.isoformat()})

    async def seeks(self, ref: str) -> tuple[UUID, UUID]:
        """Somebody comes with a need; answers their id and the case's."""
        receipt = await self.says(ref, self.now, needs=[{"thematique": JOB}])
        await drain(self.service)
        return receipt.person_id, receipt.needs[0].case_id

    async def referrals_say(self, person: UUID, *events: Event) -> None:
        """What the referral service tells, heard by the intake."""
        stream = f"test-{uuid4()}"
        await append(self.platform, "referrals", stream, events, person)
        await drain(self.service)

    async def on(self, day: date) -> None:
        """The calendar reaches a day, and retention looks at it."""
        self.now = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
        for name in ("retention", "eraser"):
            (ticker,) = [
                w
                for w in self.service.workers
                if isinstance(w, PeriodicTask) and w.name == name
            ]
            while await ticker._step():
                await drain(self.service)

    async def said(self, person: UUID) -> list[str]:
        query = "SELECT type FROM events WHERE person_id = $1 ORDER BY position"
        rows = await self.service.database.rows(query, person)
        return [row["type"].split(".", 3)[3] for row in rows]

    async def ask(self, path: str) -> Any:
        async with await client(self.service, "privacy") as http:
            return (await http.get(path)).json()


@pytest.fixture
async def years(platform: Platform) -> AsyncIterator[Years]:
    platform.settings.retention_sites = "annexe=6+6"
    made = Years(platform)
    (group,) = [w for w in made.service.workers if isinstance(w, GroupCommit)]
    committing = asyncio.create_task(group.run())
    yield made
    group.stop()
    await committing
    await made.service.stop()


async def test_person_is_archived_then_erased_each_with_an_event(years: Years):
    person = await years.comes("u-1")
    await years.on(date(2028, 1, 9))
    assert "person.archived.v1" not in await years.said(person)
    await years.on(date(2028, 1, 10))
    assert (await years.said(person))[-1] == "person.archived.v1"
    await years.on(date(2030, 1, 10))
    await years.on(date(2030, 1, 11))  # the fence has stood for long enough
    assert (await years.said(person))[-3:] == [
        "person.erasure-requested.v1", "person.keys-destroyed.v1", "person.forgotten.v1",
    ]  # fmt: skip


async def test_who_comes_again_leaves_the_archive_and_has_all_the_time_again(years: Years):
    person = await years.comes("u-1")
    await years.on(date(2028, 2, 1))
    assert await years.comes("u-1") == person
    assert (await years.said(person))[-1] == "person.reactivated.v1"
    await years.on(date(2030, 1, 31))
    assert (await years.said(person)).count("person.archived.v1") == 1
    await years.on(date(2030, 2, 1))
    assert (await years.said(person)).count("person.archived.v1") == 2


async def test_preview_tells_what_would_be_done_and_does_nothing(years: Years):
    person = await years.comes("u-1")
    await years.comes("u-2", "annexe")
    shown = await years.ask("/v1/retention?on=2028-01-10")
    assert (shown["archive"], shown["erase"]) == (1, 1)
    assert (await years.ask("/v1/retention"))["due"] == []
    assert "person.archived.v1" not in await years.said(person)


async def test_two_ids_of_one_person_live_as_long_as_the_newer(years: Years):
    first = await years.comes("u-1")
    years.now = datetime(2027, 6, 1, 9, tzinfo=UTC)
    second = await years.comes("u-2")
    async with await client(years.service, "adviser") as http:
        merge = {"into": str(second)}
        assert (await http.post(f"/v1/persons/{first}/merge", json=merge)).status_code == 200
    await drain(years.service)
    await years.on(date(2028, 3, 1))
    assert "person.archived.v1" not in await years.said(first)
    await years.on(date(2029, 6, 1))
    assert "person.archived.v1" in await years.said(first)
    assert "person.archived.v1" in await years.said(second)


async def test_dispute_keeps_data_as_long_as_it_lasts(years: Years):
    person = await years.comes("u-1")
    restricted = PersonRestricted(person_id=person)
    await append(years.platform, "intake", f"person-{person}", [restricted], person)
    await drain(years.service)
    await years.on(date(2035, 1, 1))
    assert not {"person.archived.v1", "person.erasure-requested.v1"} & set(
        await years.said(person)
    )


STEPS = {"person.archived.v1", "person.erasure-requested.v1"}


async def test_sender_whose_clock_stands_decades_behind_makes_nobody_due(years: Years):
    receipt = await years.says("u-1", datetime(2001, 1, 1, tzinfo=UTC))
    await drain(years.service)
    await years.on(date(2026, 1, 10))
    assert not STEPS & set(await years.said(receipt.person_id))
    await years.on(date(2028, 1, 9))
    assert not STEPS & set(await years.said(receipt.person_id))
    await years.on(date(2028, 1, 10))
    assert STEPS & set(await years.said(receipt.person_id)) == {"person.archived.v1"}


async def test_sender_whose_clock_goes_ahead_keeps_nobody_longer(years: Years):
    receipt = await years.says("u-1", years.now + timedelta(hours=20))
    await drain(years.service)
    await years.on(date(2028, 1, 10))
    assert "person.archived.v1" in await years.said(receipt.person_id)


async def test_person_with_an_open_case_stays_until_it_is_closed(years: Years):
    person, case_id = await years.seeks("u-1")
    await years.on(date(2035, 1, 1))
    assert not STEPS & set(await years.said(person))
    assert (await years.ask("/v1/retention"))["due"] == []
    closed = CaseClosed(case_id=case_id, status=CaseStatus.COMPLETED)
    await years.referrals_say(person, closed)
    await years.on(date(2035, 1, 2))
    assert "person.erasure-requested.v1" in await years.said(person)


async def test_open_referral_holds_a_person_whose_case_is_closed(years: Years):
    person, case_id = await years.seeks("u-1")
    referral_id = uuid4()
    proposed = ReferralProposed(
        referral_id=referral_id, case_id=case_id, person_id=person, proposal_id=uuid4(),
        partner_id="p", partner_kind=PartnerKind.PLIE, service_id="s",
    )  # fmt: skip
    closed = CaseClosed(case_id=case_id, status=CaseStatus.REVOKED)
    await years.referrals_say(person, proposed, closed)
    await years.on(date(2035, 1, 1))
    assert not STEPS & set(await years.said(person))
    over = ReferralCompleted(
        referral_id=referral_id, case_id=case_id, status=ReferralStatus.COMPLETED,
        author=Author.PARTNER,
    )  # fmt: skip
    await years.referrals_say(person, over)
    await years.on(date(2035, 1, 2))
    assert "person.erasure-requested.v1" in await years.said(person)


async def test_open_case_under_one_id_holds_every_id_of_the_person(years: Years):
    first, _ = await years.seeks("u-1")
    second = await years.comes("u-2")
    async with await client(years.service, "adviser") as http:
        merge = {"into": str(second)}
        assert (await http.post(f"/v1/persons/{first}/merge", json=merge)).status_code == 200
    await drain(years.service)
    await years.on(date(2035, 1, 1))
    assert not STEPS & set(await years.said(first) + await years.said(second))


async def test_who_came_while_nobody_listened_is_not_erased(years: Years):
    person = await years.comes("u-1")
    years.now = datetime(2035, 1, 1, 8, tzinfo=UTC)
    await years.says("u-1", years.now)  # stored; the subscription has not heard of it
    await years.on(date(2035, 1, 1))
    assert "person.erasure-requested.v1" not in await years.said(person)


async def test_what_is_open_is_rebuilt_from_the_events(years: Years):
    person, case_id = await years.seeks("u-1")
    await years.seeks("u-2")
    closed = CaseClosed(case_id=case_id, status=CaseStatus.COMPLETED)
    await years.referrals_say(person, closed)
    reports = await READ_TABLES.compare(years.service.database, years.platform.vault)
    found = {report.part: (report.compared, report.count) for report in reports}
    assert found["intake.open_work"] == (2, 0)


async def test_archived_person_is_shown_to_nobody_but_who_answers_for_data(years: Years):
    person = await years.comes("u-1")
    await years.on(date(2028, 1, 10))
    await drain(years.service)
    async with await client(years.service, "adviser") as http:
        answer = await http.post(f"/v1/persons/{person}/profile", json={})
    assert answer.status_code == 403
    assert answer.json()["type"].endswith("/person-archived")
    async with await client(years.service, "privacy") as http:
        answer = await http.post(f"/v1/persons/{person}/profile", json={"reason": "litige"})
    assert answer.status_code == 200
