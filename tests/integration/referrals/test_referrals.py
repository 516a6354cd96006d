"""The referral service on a real PostgreSQL: what it hears, what it is asked, what it keeps."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from contracts.base import Event
from contracts.intake import AgreementWithdrawn
from contracts.partners import AnswerReceived, AnswerSealed
from contracts.values import PartnerKind, Reason, ReferralStatus
from infra.platform import Platform
from infra.web.app import Service
from services.referrals import projections
from services.referrals.app import build
from tests.support.platform import JOB, append, client, drain, published, resident

CANARY = "Zébulonneau"
S = ReferralStatus


@pytest.fixture
async def service(platform: Platform) -> AsyncIterator[Service]:
    built = build(platform)
    directory = [
        published(PartnerKind.MISSION_LOCALE, "auto"),
        published(PartnerKind.FRANCE_TRAVAIL, "confirm"),
    ]
    await append(platform, "partners", "partner-x", directory)
    yield built
    await built.stop()


async def case_of(service: Service, person_id: UUID) -> dict[str, Any]:
    async with await client(service, "adviser") as http:
        answer = await http.get("/v1/cases", params={"person_id": str(person_id)})
    (case,) = answer.json()["cases"]
    return case


async def arrived(platform: Platform, service: Service, **given: Any) -> tuple[UUID, Any]:
    person_id = uuid4()
    await append(
        platform, "intake", f"person-{person_id}", resident(person_id, **given), person_id
    )
    await drain(service)
    return person_id, await case_of(service, person_id)


def answer(
    case: dict[str, Any], status: ReferralStatus, number: int = 0, **given: Any
) -> Event:
    referral = case["referrals"][number]
    comment = given.pop("comment", None)
    return AnswerReceived(
        answer_id=uuid4(), referral_id=referral["referral_id"],
        partner_id=referral["partner_id"], person_id=case["person_id"], seen_version=2,
        status=status, sealed=AnswerSealed(comment=comment) if comment else None, **given,
    )  # fmt: skip


async def answered(platform: Platform, service: Service, case: Any, *answers: Event) -> Any:
    person_id = UUID(case["person_id"])
    await append(platform, "partners", f"referral-{uuid4()}", answers, person_id)
    await drain(service)
    return await case_of(service, person_id)


async def test_need_opens_a_case_and_asks_the_best_partner(
    platform: Platform, service: Service
):
    _, case = await arrived(platform, service)
    assert (case["status"], case["thematique"]) == ("active", JOB)
    (referral,) = case["referrals"]
    assert (referral["status"], referral["label"]) == ("requested", "Ouverte")
    assert referral["service_id"] == "s-mission-locale"


async def test_same_event_heard_twice_opens_one_case(platform: Platform, service: Service):
    person_id, case = await arrived(platform, service)
    async with service.database.transaction() as tx:
        await tx.execute("UPDATE offsets SET next = 0, position = 0")
    await drain(service)
    assert await case_of(service, person_id) == case


async def test_refusal_moves_on_to_the_next_partner_and_completion_closes(
    platform: Platform, service: Service
):
    _, case = await arrived(platform, service)
    case = await answered(
        platform, service, case,
        answer(case, S.REJECTED, reason=Reason.NO_CAPACITY, comment="plus de place"),
    )  # fmt: skip
    first, second = case["referrals"]
    assert (first["status"], first["reason"]) == ("rejected", "no-capacity")
    assert (second["status"], second["replaces"]) == ("draft", first["referral_id"])
    async with await client(service, "adviser") as http:
        sent = await http.post(f"/v1/referrals/{second['referral_id']}/confirm")
    assert sent.json()["status"] == "requested"
    case = await answered(
        platform, service, case,
        answer(case, S.ACCEPTED, 1), answer(case, S.COMPLETED, 1, outcome="suivi"),
    )  # fmt: skip
    assert (case["status"], case["referrals"][1]["status"]) == ("completed", "completed")


async def test_forbidden_answer_is_recorded_and_changes_nothing(
    platform: Platform, service: Service
):
    _, case = await arrived(platform, service)
    after = await answered(
        platform, service, case, answer(case, S.ACCEPTED),
        answer(case, S.REJECTED, reason=Reason.NO_CAPACITY),
    )  # fmt: skip
    assert [r["status"] for r in after["referrals"]] == ["accepted"]
    async with service.database.reading() as tx:
        refused = await tx.fetchval("SELECT count(*) FROM events WHERE type LIKE '%refused%'")
    assert refused == 1


async def test_withdrawn_agreement_cancels_what_is_open(platform: Platform, service: Service):
    person_id, _ = await arrived(platform, service)
    await append(
        platform, "intake", f"person-{person_id}", [AgreementWithdrawn(person_id=person_id)],
        person_id,
    )  # fmt: skip
    await drain(service)
    (referral,) = (await case_of(service, person_id))["referrals"]
    assert (referral["status"], referral["reason"]) == ("cancelled", "agreement-withdrawn")


async def test_proposal_explains_itself_to_the_adviser(platform: Platform, service: Service):
    _, case = await arrived(platform, service)
    async with await client(service, "adviser") as http:
        proposal = (await http.get(f"/v1/proposals/{case['proposal_id']}")).json()
    explained = proposal["explanation"]
    assert proposal["ranked"] == ["s-mission-locale", "s-france-travail"]
    assert len(proposal["rules_digest"]) == 64
    assert {f["name"] for f in explained["facts"]} >= {"age", "commune", "situation"}
    conditions = {c["code"]: c["result"] for c in explained["candidates"][0]["conditions"]}
    assert conditions["age"] == "matched"


@pytest.mark.parametrize(
    ("path", "body", "status", "slug"),
    [
        ("/v1/referrals/{r}/confirm", None, 409, "forbidden-transition"),
        ("/v1/referrals/{u}/confirm", None, 404, "not-found"),
        ("/v1/referrals/{r}/cancel", {"reason": "no-capacity"}, 422, "invalid"),
        ("/v1/referrals/{r}/cancel", {"reason": "other"}, 422, "invalid"),
        ("/v1/referrals/{r}/cancel", {"raison": "other"}, 422, "invalid"),
        ("/v1/referrals/not-an-id/confirm", None, 422, "invalid"),
    ],
)
async def test_what_may_not_be_done_is_a_problem_and_changes_nothing(
    platform: Platform, service: Service, path: str, body: Any, status: int, slug: str
):
    person_id, case = await arrived(platform, service)
    ids = {"r": case["referrals"][0]["referral_id"], "u": uuid4()}
    async with await client(service, "adviser") as http:
        refused = await http.post(path.format(**ids), json=body)
    assert (refused.status_code, refused.headers["content-type"]) == (
        status, "application/problem+json",
    )  # fmt: skip
    problem = refused.json()
    assert problem["type"].endswith(slug)
    if slug == "forbidden-transition":
        assert problem["current_status"] == "requested"
    if body:
        assert problem["errors"][0]["field"] in ("reason", "comment", "raison")
    assert await case_of(service, person_id) == case


async def test_confirming_without_an_agreement_is_refused(platform: Platform, service: Service):
    _, case = await arrived(platform, service, agreed=[])
    (referral,) = case["referrals"]
    assert referral["status"] == "draft"
    async with await client(service, "adviser") as http:
        refused = await http.post(f"/v1/referrals/{referral['referral_id']}/confirm")
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("agreement-missing")


@pytest.mark.parametrize("role", [None, "auditor"])
async def test_only_advisers_see_cases(platform: Platform, service: Service, role: str | None):
    if role is None:
        transport = httpx2.ASGITransport(service.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
            assert (await http.get("/v1/cases")).status_code == 401
        return
    async with await client(service, role) as http:
        assert (await http.get("/v1/cases")).status_code == 403


async def test_rebuilt_tables_equal_the_live_ones(platform: Platform, service: Service):
    person_id, case = await arrived(platform, service)
    await answered(platform, service, case, answer(case, S.REJECTED, reason=Reason.NO_CAPACITY))
    live = await case_of(service, person_id)
    async with service.database.transaction() as tx:
        assert await projections.READ_TABLES.rebuild(tx, platform.vault) > 0
    rebuilt = await case_of(service, person_id)
    assert rebuilt == live


async def test_case_waits_while_the_directory_is_empty(platform: Platform):
    built = build(platform)
    person_id = uuid4()
    await append(platform, "intake", f"person-{person_id}", resident(person_id), person_id)
    with pytest.raises(TimeoutError):
        await drain(built)
    await append(
        platform, "partners", "partner-x", [published(PartnerKind.MISSION_LOCALE, "auto")]
    )
    await drain(built)
    assert (await case_of(built, person_id))["referrals"]
    await built.stop()


async def test_name_and_free_text_are_in_no_table_in_clear(
    platform: Platform, service: Service
):
    _, case = await arrived(
        platform, service, name=CANARY, note=f"suivi de {CANARY}", born=date(2005, 1, 1)
    )
    await answered(
        platform, service, case,
        answer(case, S.REJECTED, reason=Reason.OTHER, comment=f"{CANARY} absent"),
    )  # fmt: skip
    async with service.database.reading() as tx:
        names = await tx.fetch(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'referrals'"
        )
        for row in names:
            for content in await tx.fetch(f"SELECT t::text AS t FROM {row[0]} AS t"):
                assert CANARY not in content["t"]
                assert CANARY.encode().hex() not in content["t"]
