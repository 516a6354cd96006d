"""The partner service as advisers see it: what goes by hand."""

from typing import Any

import httpx2
import pytest

from contracts.referrals import ReferralRequested
from infra.web.auth import create_key
from tests.support.partners import Hub, call

ADVISER = "agk_test-adviser"
HANDED = {"by": "phone", "to": "reception"}


class AtDesk:
    """A hub as advisers see it."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    @classmethod
    async def of(cls, hub: Hub) -> "AtDesk":
        async with hub.database.transaction() as tx:
            await create_key(tx, "desk", "adviser", key=ADVISER)
        return cls(hub)

    async def call(
        self, method: str, path: str, accept: str = "application/json", **given: Any
    ) -> httpx2.Response:
        headers = {"authorization": f"Bearer {ADVISER}", "accept": accept}
        return await call(self.hub, method, f"/v1/manual{path}", headers=headers, **given)

    async def asked(self, **given: Any) -> ReferralRequested:
        referral = await self.hub.refer(**given)
        await self.hub.hear()
        return referral

    async def listed(self, **given: str) -> dict[str, Any]:
        answer = await self.call("GET", "", params=given)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def waiting(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.listed())["waiting"]
        return found

    async def only(self) -> str:
        """The id of the one delivery that waits."""
        (item,) = await self.waiting()
        return str(item["delivery_id"])

    async def sheet(self, delivery_id: str, accept: str = "application/json") -> Any:
        return await self.call("GET", f"/{delivery_id}/sheet", accept)

    async def page(self, delivery_id: str) -> str:
        answer = await self.sheet(delivery_id, "text/html")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        return answer.text

    async def handed_over(self, delivery_id: str, **given: Any) -> httpx2.Response:
        return await self.call("POST", f"/{delivery_id}/handed-over", json=HANDED | given)

    async def unreached(self, delivery_id: str, **given: Any) -> httpx2.Response:
        return await self.call("POST", f"/{delivery_id}/unreached", json=given)


@pytest.fixture
async def advisers(hub: Hub) -> AtDesk:
    """Advisers of the partner service."""
    return await AtDesk.of(hub)


def refused(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rsplit("/")[-1]
