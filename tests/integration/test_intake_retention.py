"""Retention runs by itself, on a clock of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from contracts.rights import PersonRestricted
from infra.groupcommit import GroupCommit
from infra.platform import Platform
from infra.ticker import Ticker
from services.intake.app import build
from tests.support.intake import Desk, contact
from tests.support.platform import append, client, drain


class Years:
    """An intake whose calendar the test turns."""

    def __init__(self, platform: Platform) -> None:
        self.now = datetime(2026, 1, 10, 9, tzinfo=UTC)
        platform.clock = lambda: self.now
        self.platform = platform
        self.service = build(platform)

    async def comes(self, ref: str, site: str | None = None) -> UUID:
        async with await client(self.service, "municipal", ["*"]) as http:
            event = contact(person={"ref": ref, "identity": {"family_name": ref}}, site=site)
            desk = Desk(http, self.service, self.platform)
            receipt = await desk.receipt(event | {"time": self.now.isoformat()})
        await drain(self.service)
        return receipt.person_id

    async def on(self, day: date) -> None:
        """The calendar reaches a day, and retention looks at it."""
        self.now = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
        for name in ("retention", "eraser"):
            (ticker,) = [
                w for w in self.service.workers if isinstance(w, Ticker) and w.name == name
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
