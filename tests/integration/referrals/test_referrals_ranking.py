"""A large directory: proposals stay small, and the whole ranking is made again as of then."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from contracts.base import Event
from contracts.partners import CapacityReported, ServicePublished, ServiceWithdrawn
from contracts.values import CapacityStatus, PartnerKind
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.web.app import Service
from services.referrals import projections
from services.referrals.app import build
from services.referrals.handlers import reactions
from services.referrals.handlers.directory import (
    RANKED_AT_ONCE,
    UNKNOWN_AT_ONCE,
    Directory,
    as_service,
)
from services.referrals.model import advice
from services.referrals.model.proposals import DESCRIBED
from tests.support.platform import JOB, append, client, drain, resident
from tests.support.referrals import ALL_RULES
from tests.support.turns import Turn

SERVICES = 2200
"""A département's directory for one need: as much as once did not fit the topic."""


def offered(number: int) -> ServicePublished:
    zone = [] if number % 4 == 0 else ["75056"]
    return ServicePublished(
        service_id=f"s-{number:04d}", partner_id=f"p-{number:04d}",
        kind=PartnerKind.FRANCE_TRAVAIL, name=f"Service {number}", thematiques=[JOB],
        zone_eligibilite=zone, policy="auto", service={"description": "x" * 300},
    )  # fmt: skip


@pytest.fixture
async def service(platform: Platform) -> AsyncIterator[Service]:
    built = build(platform)
    await append(platform, "partners", "directory", [offered(n) for n in range(SERVICES)])
    await drain(built)
    yield built
    await built.stop()


async def arrive(platform: Platform, service: Service) -> dict[str, Any]:
    person_id = uuid4()
    told = resident(person_id)
    await append(platform, "intake", f"person-{person_id}", told, person_id)
    await drain(service)
    async with await client(service, "adviser") as http:
        found = await http.get("/v1/cases", params={"person_id": str(person_id)})
    (case,) = found.json()["cases"]
    return dict(case)


async def get(service: Service, path: str, **params: Any) -> Any:
    async with await client(service, "adviser") as http:
        answer = await http.get(path, params=params)
    assert answer.status_code == 200
    return answer.json()


def capacity(service_id: str, day: int = 1) -> Event:
    return CapacityReported(
        service_id=service_id, partner_id="p", status=CapacityStatus.NO_CAPACITY,
        reported_at=datetime(2026, 1, day, tzinfo=UTC),
    )  # fmt: skip


async def test_proposal_describes_the_best_and_counts_the_rest(
    platform: Platform, service: Service
):
    case = await arrive(platform, service)
    proposal = await get(service, f"/v1/proposals/{case['proposal_id']}")
    assert (proposal["considered"], len(proposal["ranked"])) == (SERVICES, DESCRIBED)
    left = proposal["explanation"]["left_out"]
    assert sum(more["count"] for more in left) == SERVICES - DESCRIBED
    assert case["referrals"][0]["service_id"] == proposal["ranked"][0]


async def test_whole_ranking_is_made_again_as_of_then(platform: Platform, service: Service):
    await append(platform, "partners", "capacity", [capacity("s-0000")])
    first = await arrive(platform, service)  # its referral is open at a service from here on
    case = await arrive(platform, service)
    proposal = await get(service, f"/v1/proposals/{case['proposal_id']}")
    described = [c["service_id"] for c in proposal["explanation"]["candidates"]]
    later = [
        *(ServiceWithdrawn(service_id=s, partner_id="p") for s in described[:3]),
        capacity(described[4]), capacity("s-0000", 2),
        offered(SERVICES + 4).model_copy(update={"service_id": "a-newer-one"}),
    ]  # fmt: skip
    await append(platform, "partners", "directory", later)
    await arrive(platform, service)
    path = f"/v1/proposals/{case['proposal_id']}/ranking"
    again = await get(service, path, limit=1000)
    assert (again["exact"], again["considered"], len(again["services"])) == (
        True, SERVICES, 1000,
    )  # fmt: skip
    assert [s["service_id"] for s in again["services"]][:DESCRIBED] == described
    rest = await get(service, path, limit=1000, offset=2000)
    assert (len(rest["services"]), rest["services"][-1]["place"]) == (200, SERVICES)
    before = await get(service, f"/v1/proposals/{first['proposal_id']}/ranking", limit=1)
    assert before["exact"]


async def test_the_ranking_is_made_again_after_the_read_tables_were_rebuilt(
    platform: Platform, service: Service
):
    await arrive(platform, service)
    async with service.database.transaction() as tx:
        await projections.READ_TABLES.rebuild(tx, platform.vault)
    case = await arrive(platform, service)
    again = await get(service, f"/v1/proposals/{case['proposal_id']}/ranking", limit=1)
    assert again["exact"]


async def test_directory_is_what_its_partners_said_last(platform: Platform, service: Service):
    """Published anew, withdrawn, published again: the memory of the process follows."""
    first = await arrive(platform, service)
    best = first["referrals"][0]["service_id"]
    await append(
        platform, "partners", "directory", [ServiceWithdrawn(service_id=best, partner_id="p")]
    )
    second = await arrive(platform, service)
    assert second["referrals"][0]["service_id"] != best
    anew = offered(int(best[2:])).model_copy(update={"zone_eligibilite": ["75056"]})
    await append(platform, "partners", "directory", [anew])
    third = await arrive(platform, service)
    proposal = await get(service, f"/v1/proposals/{third['proposal_id']}")
    assert proposal["considered"] == SERVICES
    assert best not in proposal["ranked"]


async def test_newest_of_two_capacity_reports_counts_whichever_is_read_last(
    platform: Platform, service: Service
):
    said = [
        capacity("s-0000", 2),
        capacity("s-0000", 1).model_copy(update={"status": CapacityStatus.WAITLIST}),
    ]
    await append(platform, "partners", "capacity", said)
    case = await arrive(platform, service)
    proposal = await get(service, f"/v1/proposals/{case['proposal_id']}/ranking", limit=1000)
    assert proposal["exact"]
    (known,) = [s for s in proposal["services"] if s["service_id"] == "s-0000"]
    assert known["parts"]["capacity"] == ALL_RULES.weights.no_capacity


async def test_larger_directory_makes_smaller_batches(platform: Platform, service: Service):
    """So that a transaction ends before the database, or whoever watches, gives it up."""
    (routing,) = [w for w in service.workers if w.name == "routing"]
    assert isinstance(routing, Subscription)
    first = routing.batch_size
    await arrive(platform, service)
    assert (first, routing.batch_size) == (UNKNOWN_AT_ONCE, RANKED_AT_ONCE // SERVICES)
    assert Directory().cases_at_once(20) == 20
    known = {f"s-{n}": (1, as_service(offered(n))) for n in range(3)}
    assert Directory(known).cases_at_once(500) == 500


async def test_others_get_their_turn_while_cases_are_ranked(
    platform: Platform, service: Service, monkeypatch: pytest.MonkeyPatch
):
    turn = Turn(reactions.open_case)
    monkeypatch.setattr(reactions, "open_case", turn)
    async with turn.given():
        case = await arrive(platform, service)
    assert case["referrals"]


async def test_others_get_their_turn_while_an_adviser_s_case_is_ranked_anew(
    platform: Platform, service: Service, monkeypatch: pytest.MonkeyPatch
):
    case = await arrive(platform, service)
    turn = Turn(advice.propose_again)
    monkeypatch.setattr(advice, "propose_again", turn)
    async with await client(service, "adviser") as http, turn.given():
        answer = await http.post(f"/v1/cases/{case['case_id']}/propose")
    assert answer.status_code == 200


async def test_ranking_of_an_unknown_proposal_is_not_found(service: Service):
    async with await client(service, "adviser") as http:
        answer = await http.get(f"/v1/proposals/{uuid4()}/ranking")
    assert (answer.status_code, answer.json()["detail"]) == (404, "No such proposal")
