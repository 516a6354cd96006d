"""The referral service on a clock of its own, with three partners, and an adviser."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.partners import (
    AnswerReceived,
)
from contracts.values import PartnerKind, ReferralStatus
from infra.platform import Platform
from infra.web.app import Service
from infra.workers.periodic import PeriodicTask
from services.referrals.app import build
from tests.support.platform import append, client, drain, published, resident

S = ReferralStatus
MONDAY = date(2026, 11, 23)


class ReferralApp:
    """The referral service on a clock of its own, with three partners."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.now = datetime(2026, 11, 23, 9, tzinfo=UTC)
        platform.clock = lambda: self.now
        self.service: Service = build(platform)

    async def on(self, day: date) -> None:
        """The calendar reaches a day, and is looked at."""
        self.now = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
        await self.tick("deadlines")

    async def tick(self, name: str) -> None:
        """What a worker does by the clock."""
        (ticker,) = [w for w in self.service.workers if w.name == name]
        assert isinstance(ticker, PeriodicTask)
        while await ticker._step():
            pass

    async def comes(self, occurred_at: datetime | None = None, **given: Any) -> UUID:
        """A resident with one need; ``occurred_at``: by the sender's clock."""
        person_id = uuid4()
        events, stream = resident(person_id, **given), f"person-{person_id}"
        await append(self.platform, "intake", stream, events, person_id, occurred_at)
        await drain(self.service)
        return person_id

    async def case(self, person_id: UUID) -> dict[str, Any]:
        found: list[dict[str, Any]] = (await self.get("/v1/cases", person_id=person_id))[
            "cases"
        ]
        return found[0]

    async def get(self, path: str, **query: Any) -> Any:
        async with await client(self.service, "adviser") as http:
            params = {name: str(value) for name, value in query.items()}
            return (await http.get(path, params=params)).json()

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        async with await client(self.service, "adviser") as http:
            answer = await http.post(path, json=body)
            return answer.status_code, answer.json()

    async def answers(self, case: Any, status: ReferralStatus, number: int = -1, **more: Any):
        referral = case["referrals"][number]
        event = AnswerReceived(
            answer_id=uuid4(), referral_id=referral["referral_id"],
            partner_id=referral["partner_id"], person_id=case["person_id"], seen_version=2,
            status=status, **more,
        )  # fmt: skip
        person_id = UUID(case["person_id"])
        stream = f"referral-{referral['referral_id']}"
        await append(self.platform, "partners", stream, [event], person_id)
        await drain(self.service)

    async def reasons(self) -> list[tuple[str, str | None]]:
        items = (await self.get("/v1/worklist"))["items"]
        return [(item["reason"], item["due_on"]) for item in items]


@pytest.fixture
async def referral_app(platform: Platform) -> AsyncIterator[ReferralApp]:
    made = ReferralApp(platform)
    directory = [
        published(PartnerKind.MISSION_LOCALE, "auto"),
        published(PartnerKind.FRANCE_TRAVAIL),
        published(PartnerKind.TEMP_AGENCY),
    ]
    await append(platform, "partners", "partner-x", directory)
    yield made
    await made.service.stop()


def services(case: Any) -> list[tuple[str, str]]:
    return [(r["service_id"], r["status"]) for r in case["referrals"]]
