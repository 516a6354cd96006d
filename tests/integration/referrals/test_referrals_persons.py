"""Merged persons in the referral service: one history, one list of cases, one worklist."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.fields import Identity
from contracts.intake import AgreementWithdrawn, IdentitySealed, NeedExpressed, PersonRegistered
from contracts.partners import ServicePublished
from contracts.persons import (
    DuplicateDismissed,
    DuplicateSuspected,
    PersonMerged,
    PersonUnmerged,
)
from contracts.values import MatchKind, PartnerKind
from infra.platform import Platform
from infra.web.app import Service
from services.referrals.app import build
from tests.support.platform import JOB, append, client, drain, resident


@pytest.fixture
async def service(platform: Platform) -> AsyncIterator[Service]:
    built = build(platform)
    told = ServicePublished(
        service_id="s", partner_id="p", kind=PartnerKind.MISSION_LOCALE, name="ML",
        thematiques=[JOB], policy="auto", service={},
    )  # fmt: skip
    await append(platform, "partners", "partner-x", [told])
    yield built
    await built.stop()


async def say(platform: Platform, service: Service, person: UUID, *events: Any) -> None:
    await append(platform, "intake", f"person-{person}", events, person)
    await drain(service)


async def get(service: Service, path: str, **query: Any) -> Any:
    async with await client(service, "adviser") as http:
        return (await http.get(path, params={k: str(v) for k, v in query.items()})).json()


async def visitor(platform: Platform, service: Service) -> UUID:
    """Somebody who gave no name."""
    person = uuid4()
    nobody = IdentitySealed(identity=Identity())
    registered = PersonRegistered(person_id=person, anonymous=True, sealed=nobody)
    await say(platform, service, person, registered)
    return person


def need(person: UUID) -> NeedExpressed:
    return NeedExpressed(need_id=uuid4(), contact_id=uuid4(), person_id=person, thematique=JOB)


async def test_what_is_known_under_one_id_counts_for_a_need_under_the_other(
    platform: Platform, service: Service
):
    known, anonymous = uuid4(), await visitor(platform, service)
    await say(platform, service, known, *resident(known))
    merged = PersonMerged(person_id=anonymous, into=known, merged_by="adviser:anne")
    await say(platform, service, anonymous, merged, need(anonymous))
    cases = (await get(service, "/v1/cases", person_id=anonymous))["cases"]
    assert {case["person_id"] for case in cases} == {str(known), str(anonymous)}
    assert [c["referrals"][0]["status"] for c in cases] == ["requested", "requested"]
    assert (await get(service, "/v1/cases", person_id=known))["cases"] == cases


async def test_agreement_taken_back_under_one_id_stops_what_was_sent_under_the_other(
    platform: Platform, service: Service
):
    known, anonymous = uuid4(), await visitor(platform, service)
    await say(platform, service, known, *resident(known))
    merged = PersonMerged(person_id=anonymous, into=known, merged_by="adviser:anne")
    await say(platform, service, anonymous, merged, need(anonymous))
    await say(platform, service, known, AgreementWithdrawn(person_id=known))
    cases = (await get(service, "/v1/cases", person_id=anonymous))["cases"]
    assert [c["referrals"][0]["reason"] for c in cases] == ["agreement-withdrawn"] * 2


async def test_taken_apart_they_are_two_again(platform: Platform, service: Service):
    known, anonymous = uuid4(), await visitor(platform, service)
    await say(platform, service, known, *resident(known))
    merged = PersonMerged(person_id=anonymous, into=known, merged_by="adviser:anne")
    undone = PersonUnmerged(person_id=anonymous, from_id=known, unmerged_by="adviser:anne")
    await say(platform, service, anonymous, merged, undone, need(anonymous))
    (case,) = (await get(service, "/v1/cases", person_id=anonymous))["cases"]
    assert case["referrals"][0]["status"] == "draft"  # nothing is known, nobody agreed


async def test_suspicion_stands_on_the_worklist_until_it_is_judged(
    platform: Platform, service: Service
):
    one, other = await visitor(platform, service), await visitor(platform, service)
    ids = {"person_id": one, "other_id": other}
    suspected = DuplicateSuspected(**ids, matched_on=[MatchKind.PHONE])
    await say(platform, service, one, suspected)
    (item,) = (await get(service, "/v1/worklist"))["items"]
    assert (item["reason"], item["person_id"], item["detail"]) == (
        "duplicate", str(one), str(other),
    )  # fmt: skip
    await say(platform, service, one, DuplicateDismissed(**ids, dismissed_by="adviser:anne"))
    assert (await get(service, "/v1/worklist"))["items"] == []
