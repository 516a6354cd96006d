"""No list is longer than asked for: each has a bound, and a way to go on."""

from typing import Any

import pytest

from contracts.registry import SERVICES
from services.hub.openapi import document
from tests.support.partners import Hub, call

SHORT = {
    "/v1/endpoints": "1,000 at most",
    "/v1/partner/endpoints": "1,000 at most",
    "/v1/manual": "500 at most",
    "/v1/deliveries/{delivery_id}/attempts": "500 at most",
    "/v1/partner/deliveries/{delivery_id}/attempts": "500 at most",
    "/v1/offers": "what France Travail gives: 450",
    "/v1/partners/{partner_id}/names": "of one organisation",
    "/v1/referrals/{referral_id}/answers": "of one referral",
    "/v1/persons/{person_id}/erasure": "one for each id of a person",
    "/v1/persons/{person_id}/pathway": "refused above MAX_ENTRIES",
    "/v1/refused": "500 at most",
    "/v1/replay": "a stream",
    "/v1/differences": "a stream",
    "/v1/directory/export": "the directory as a file, whole",
    "/tile/{path}": "256 entries at most",
    "/tile/entries/{path}": "256 entries at most",
    "/v1/payload/{path}": "256 entries at most",
}
"""Answers that hold several things without a ``limit``, and what bounds them."""
ONE = {
    "/v1/cases/{case_id}",
    "/v1/proposals/{proposal_id}",
    "/v1/proposals/{proposal_id}/explanation",
    "/v1/rules",
    "/v1/rules/{digest}",
    "/v1/partners/{partner_id}/name",
    "/v1/manual/{delivery_id}/sheet",
    "/v1/log",
    "/checkpoint",
    "/v1/proofs/inclusion",
    "/v1/proofs/consistency",
    "/v1/proofs/{event_id}.tlog-proof",
    "/v1/span",
}
"""Answers that are one thing."""


@pytest.mark.parametrize("service", SERVICES)
def test_every_answer_is_one_thing_or_a_page_or_bounded_otherwise(service: str):
    for path, operations in document(service)["paths"].items():
        if "get" not in operations or path in ONE or path in SHORT:
            continue
        parameters = operations["get"].get("parameters", ())
        limits = [p["schema"]["maximum"] for p in parameters if p["name"] == "limit"]
        assert limits, f"{path}: how long may it be?"
        assert limits[0] <= 5000, path


@pytest.mark.parametrize(
    ("path", "key"), [("partners", "partner_id"), ("services", "service_id")]
)
async def test_the_directory_is_read_a_page_at_a_time(hub: Hub, path: str, key: str):
    whole = await page(hub, path, limit=500)
    assert whole["next"] is None
    seen: list[str] = []
    after = None
    while True:
        found = await page(hub, path, limit=3, **({"after": after} if after else {}))
        assert len(found[path]) <= 3
        seen += [entry[key] for entry in found[path]]
        if (after := found["next"]) is None:
            break
    assert seen == [entry[key] for entry in whole[path]]
    assert len(seen) > 6
    for limit in (0, 501):
        answer = await call(hub, "GET", f"/v1/{path}", params={"limit": limit})
        assert answer.status_code == 422


async def page(hub: Hub, path: str, **given: Any) -> dict[str, Any]:
    answer = await call(hub, "GET", f"/v1/{path}", params=given)
    assert answer.status_code == 200
    return dict(answer.json())
