"""What partners said is compared and rebuilt too: asked, by which commission, their numbers."""

import os
from datetime import date, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

from contracts.referrals import (
    AnswerRefused,
    ReferralCancelled,
    ReferralReceived,
    ReferralRequested,
    SpokenSealed,
)
from contracts.values import Author, Reason, ReferralStatus
from services.partners.handlers.references import open_reference, seal_reference
from services.partners.projections import READ_TABLES
from tests.support.partners import Desk, Hub, destroy_key, register
from tests.support.postgres import Databases

SEED = int(os.environ.get("SEED", Random().randrange(10**6)))
STEPS, MEETS = 60, date(2026, 12, 1)
NUMBER = "ML-2026-4711"
STUDIED = {"business_status": "under-study", "partner_reference": NUMBER}


async def found(hub: Hub) -> list[tuple[str, str]]:
    """What the comparison says."""
    reports = await READ_TABLES.compare(hub.database, hub.platform.vault)
    assert reports
    return [(f.kind, f.detail) for report in reports for f in report.findings]


async def changed(hub: Hub, what: str, *values: Any) -> None:
    async with hub.database.transaction() as tx:
        assert await tx.execute(f"UPDATE referral_states SET {what}", *values) != "UPDATE 0"


async def rebuilt(hub: Hub) -> None:
    async with hub.database.transaction() as tx:
        await READ_TABLES.rebuild(tx, hub.platform.vault)


async def rows(hub: Hub) -> list[dict[str, Any]]:
    """The rows, with the numbers opened."""
    found = await hub.rows("SELECT * FROM referral_states ORDER BY referral_id")
    keys = await hub.platform.vault.keys({row["person_id"] for row in found})
    for row in found:
        sealed = row["partner_reference"]
        row["partner_reference"] = open_reference(
            keys[row["person_id"]], row["referral_id"], sealed
        )
    return found


class Days:
    """Partners answer, the referral service decides, advisers type in; heard now and then."""

    def __init__(self, hub: Hub, desks: list[Desk], random: Random) -> None:
        self.hub, self.desks, self.random = hub, desks, random
        self.answered: dict[UUID, list[UUID]] = {}
        self.number = 0

    async def step(self) -> None:
        desk, self.number = self.random.choice(self.desks), self.number + 1
        step = self.random.choice([self.answer, self.answer, self.dealt, self.typed, self.hear])
        await step(desk)

    async def answer(self, desk: Desk) -> None:
        status, given = self.random.choice(
            [
                ("requested", STUDIED | {"partner_reference": f"N-{self.number}"}),
                ("requested", {"business_status": "under-study"} | self.commission()),
                ("accepted", {"partner_reference": f"N-{self.number}"}),
                ("in-progress", {}),
            ]
        )
        answer = await desk.answer(status, f"m{self.number}", **given)
        assert answer.status_code in (202, 409), answer.text
        if answer.status_code == 202:
            answer_id = UUID(answer.json()["answer_id"])
            self.answered.setdefault(desk.id, []).append(answer_id)

    async def dealt(self, desk: Desk) -> None:
        """One of its answers, or one that came late."""
        answer_id = self.random.choice([*self.answered.get(desk.id, []), uuid4()])
        if self.random.random() < 0.3:
            event = AnswerRefused(
                referral_id=desk.id, answer_id=answer_id, status=ReferralStatus.REQUESTED,
                asked=ReferralStatus.ACCEPTED, problem="",
            )  # fmt: skip
            await self.hub.say(desk.referral.person_id, event)
        else:
            sealed = SpokenSealed(partner_reference="not its place")
            by = {"author": Author.PARTNER, "answer_id": answer_id, "sealed": sealed}
            await self.move(desk, **by)

    async def typed(self, desk: Desk) -> None:
        sealed = SpokenSealed(partner_reference=f"T-{self.number}", comment="au téléphone")
        words = self.random.choice([{"sealed": sealed}, {}])
        await self.move(desk, on_behalf_of=Author.PARTNER, **words)

    async def move(self, desk: Desk, **given: Any) -> None:
        commission = self.random.choice([{}, self.commission()])
        status = {"status": ReferralStatus.REQUESTED}
        await self.hub.move(desk.referral, ReferralReceived, **status | commission | given)

    async def hear(self, _: Desk) -> None:
        await self.hub.hear()

    def commission(self) -> dict[str, Any]:
        return {"commission_on": str(MEETS + timedelta(days=self.number))}


async def several(hub: Hub) -> list[Desk]:
    endpoint = await register(hub, "http://127.0.0.1:9/hook")
    referrals: list[ReferralRequested] = [await hub.refer() for _ in range(3)]
    await hub.hear()
    return [Desk(hub, endpoint["secret"], referral) for referral in referrals]


async def test_words_of_partners_are_told_by_the_events_whenever_they_are_heard(hub: Hub):
    days = Days(hub, await several(hub), Random(SEED))
    for number in range(1, STEPS + 1):
        await days.step()
        if number % 4 == 0:
            assert await found(hub) == [], f"SEED={SEED}"
    live = await rows(hub)
    await rebuilt(hub)
    assert await rows(hub) == live, f"SEED={SEED}"
    assert all(row["partner_reference"] for row in live)


async def test_rebuild_knows_what_is_asked_and_not_settled(desk: Desk):
    given = STUDIED | {"commission_on": "2027-01-05"}
    assert (await desk.answer("requested", "m1", **given)).status_code == 202
    assert (await desk.answer("accepted", "m2")).status_code == 202
    live = await rows(desk.hub)
    assert await found(desk.hub) == []
    await rebuilt(desk.hub)
    (row,) = await rows(desk.hub)
    assert [row] == live
    assert (row["asked_status"], row["partner_reference"]) == ("accepted", NUMBER)
    assert row["commission_on"] == date(2027, 1, 5)


async def test_every_changed_word_of_a_partner_is_found_and_named(desk: Desk):
    await desk.answer("requested", "m1", **STUDIED)
    keys = await desk.hub.platform.vault.keys({desk.referral.person_id})
    other = seal_reference(keys[desk.referral.person_id], desk.id, "another number")
    for column, value in (
        ("asked_status", "accepted"), ("asked_status", None), ("asked_answer_id", uuid4()),
        ("commission_on", MEETS), ("partner_reference", None), ("partner_reference", other),
        ("partner_reference", b"no seal at all"),
    ):  # fmt: skip
        await changed(desk.hub, f"{column} = $1", value)
        assert await found(desk.hub) == [("changed row", f"not as the events say: {column}")]
        await rebuilt(desk.hub)
        assert await found(desk.hub) == []


async def test_number_that_nobody_gave_is_found(desk: Desk):
    keys = await desk.hub.platform.vault.keys({desk.referral.person_id})
    invented = seal_reference(keys[desk.referral.person_id], desk.id, NUMBER)
    await changed(desk.hub, "partner_reference = $1", invented)
    detail = "not as the events say: partner_reference"
    assert await found(desk.hub) == [("changed row", detail)]


async def test_answer_dealt_with_just_before_a_late_one_is_settled_all_the_same(desk: Desk):
    given = await desk.answer("rejected", "m1", reason="no-capacity")
    late = AnswerRefused(
        referral_id=desk.id, answer_id=uuid4(), status=ReferralStatus.REJECTED,
        asked=ReferralStatus.ACCEPTED, problem="",
    )  # fmt: skip
    by = {"author": Author.PARTNER, "answer_id": UUID(given.json()["answer_id"])}
    await desk.hub.move(desk.referral, ReferralReceived, **by)
    await desk.hub.say(desk.referral.person_id, late)
    await desk.hub.hear()
    (row,) = await desk.hub.rows("SELECT asked_status FROM referral_states")
    assert row["asked_status"] is None
    assert await found(desk.hub) == []


async def test_number_of_somebody_who_is_being_erased_is_no_difference(
    desk: Desk, databases: Databases
):
    await desk.answer("requested", "m1", **STUDIED)
    await desk.hub.move(desk.referral, ReferralCancelled, reason=Reason.SENT_IN_ERROR)
    await desk.hub.hear()
    await destroy_key(databases, desk.referral.person_id)
    desk.hub.platform.vault.drop([desk.referral.person_id])
    assert await found(desk.hub) == []
    await rebuilt(desk.hub)
    (row,) = await desk.hub.rows("SELECT partner_reference FROM referral_states")
    assert row["partner_reference"] is None
