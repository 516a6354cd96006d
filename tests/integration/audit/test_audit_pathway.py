"""A person's pathway, rebuilt from the log alone, as of any position or moment."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from contracts.intake import ContactRecorded, NeedExpressed, NeedSealed, PersonRegistered
from contracts.partners import AnswerReceived
from contracts.referrals import (
    CaseClosed,
    CaseOpened,
    ReferralAccepted,
    ReferralCompleted,
    ReferralProposed,
    ReferralRequested,
)
from contracts.values import (
    Author,
    BusinessStatus,
    CaseStatus,
    ContactKind,
    ContactMode,
    PartnerKind,
    ReferralStatus,
    Thematique,
)
from infra.eventstore.events import NewEvent
from infra.eventstore.upcast import forget_upcaster, register_upcaster
from tests.support.audit_log import START, Hub

PERSON, CASE, NEED, CONTACT = (UUID(int=n) for n in range(1, 5))
REFERRAL, PROPOSAL, AGREEMENT, ANSWER = (UUID(int=n) for n in range(5, 9))
THEMATIQUE = Thematique("choisir-un-metier--confirmer-son-choix-de-metier")
KIND, LOCALE = PartnerKind.MISSION_LOCALE, "mission-locale"


@pytest.fixture
def role() -> str:
    return "adviser"


def moved(event: type[Any], status: ReferralStatus, **more: Any) -> Any:
    given = {"author": Author.PARTNER, "case_id": CASE, "referral_id": REFERRAL}
    return event(status=status, **{**given, **more})


async def live_a_pathway(hub: Hub) -> None:
    """Ten events of one person over four days, one of another."""
    days = [START + timedelta(days=n) for n in range(4)]
    registered = PersonRegistered(person_id=PERSON, anonymous=False)
    contact = ContactRecorded(
        contact_id=CONTACT, person_id=PERSON, mode=ContactMode.WALK_IN, anonymous=False,
        kind=ContactKind.INDIVIDUAL, system="accueil", site="mairie",
    )  # fmt: skip
    need = NeedExpressed(
        need_id=NEED, contact_id=CONTACT, person_id=PERSON, thematique=THEMATIQUE
    )
    case = CaseOpened(case_id=CASE, person_id=PERSON, need_id=NEED, thematique=THEMATIQUE)
    common = {
        "referral_id": REFERRAL, "case_id": CASE, "person_id": PERSON, "partner_id": "ml-1",
        "partner_kind": KIND, "service_id": "ml-1-s",
    }  # fmt: skip
    proposed = ReferralProposed(proposal_id=PROPOSAL, **common)
    requested = ReferralRequested(
        thematique=THEMATIQUE, agreement_id=AGREEMENT, agreed_until=date(2027, 1, 1),
        requested_on=date(2026, 1, 5), **common,
    )  # fmt: skip
    answer = AnswerReceived(
        answer_id=ANSWER, referral_id=REFERRAL, partner_id="ml-1", person_id=PERSON,
        seen_version=2, status=ReferralStatus.ACCEPTED,
    )  # fmt: skip
    accepted = moved(
        ReferralAccepted, ReferralStatus.ACCEPTED, answer_id=ANSWER,
        business_status=BusinessStatus.APPOINTMENT_SCHEDULED,
    )  # fmt: skip
    completed = moved(ReferralCompleted, ReferralStatus.COMPLETED, outcome="formation")
    closed = CaseClosed(case_id=CASE, status=CaseStatus.COMPLETED, outcome="formation")
    person, opened, sent = f"person-{PERSON}", f"case-{CASE}", f"referral-{REFERRAL}"
    for service, stream, day, event in [
        ("intake", person, 0, registered), ("intake", person, 0, contact),
        ("intake", person, 0, need), ("referrals", opened, 0, case),
        ("referrals", sent, 0, proposed), ("referrals", sent, 1, requested),
        ("partners", "answers", 2, answer), ("referrals", sent, 2, accepted),
        ("referrals", sent, 3, completed), ("referrals", opened, 3, closed),
    ]:  # fmt: skip
        await hub.say(service, stream, PERSON, event, at=days[day])
        await hub.read_all()
    other = uuid4()
    new = PersonRegistered(person_id=other, anonymous=True)
    await hub.say("intake", f"person-{other}", other, new)
    await hub.read_all()


async def pathway(client: httpx2.AsyncClient, **params: Any) -> dict[str, Any]:
    answer = await client.get(f"/v1/persons/{PERSON}/pathway", params=params)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_the_whole_pathway_stands_in_the_order_of_the_log(
    hub: Hub, client: httpx2.AsyncClient
) -> None:
    await live_a_pathway(hub)
    found = await pathway(client)
    assert found["person_id"] == str(PERSON)
    assert [item["idx"] for item in found["timeline"]] == list(range(10))
    assert [item["sentence"] for item in found["timeline"]] == [
        "Personne enregistrée",
        "Contact sans rendez-vous (mairie)",
        "Besoin exprimé : Confirmer son choix de métier",
        "Dossier ouvert : Confirmer son choix de métier",
        "Demande proposée vers ml-1",
        "Demande envoyée à ml-1",
        "Réponse reçue de ml-1 : validée",
        "Demande validée par le partenaire (rendez-vous fixé)",
        "Demande terminée par le partenaire",
        "Dossier clos : terminé",
    ]
    item = found["timeline"][7]
    assert (item["service"], item["actor"]) == ("referrals", "adviser:cle")
    assert (item["time"], item["type"]) == (
        "2026-01-07T09:00:00.000000Z",
        "fr.aiguillage.referrals.referral.accepted.v1",
    )
    assert item["data"]["answer_id"] == str(ANSWER)


@pytest.mark.parametrize(
    ("at", "as_of", "case", "referral"),
    [
        (2, "2026-01-05T08:59:59Z", None, None),
        (3, None, "active", None),
        (4, "2026-01-05T09:00:00Z", "active", "draft"),
        (5, "2026-01-06T12:00:00+01:00", "active", "requested"),
        (6, None, "active", "requested"),
        (7, "2026-01-08T08:59:59.999999Z", "active", "accepted"),
        (8, None, "active", "completed"),
        (9, "2026-01-08T09:00:00Z", "completed", "completed"),
    ],
)
async def test_states_are_those_of_the_position_or_moment_asked_for(
    hub: Hub,
    client: httpx2.AsyncClient,
    at: int,
    as_of: str | None,
    case: str | None,
    referral: str | None,
) -> None:
    await live_a_pathway(hub)
    for asked in [{"at": at}, *([{"as_of": as_of}] if as_of else [])]:
        found = await pathway(client, **asked)
        assert found["cases"].get(str(CASE), {}).get("status") == case
        assert found["referrals"].get(str(REFERRAL), {}).get("status") == referral
    assert [item["idx"] for item in (await pathway(client, at=at))["timeline"]] == list(
        range(at + 1)
    )


async def test_a_referral_keeps_what_its_events_said(
    hub: Hub, client: httpx2.AsyncClient
) -> None:
    await live_a_pathway(hub)
    accepted = (await pathway(client, at=7))["referrals"][str(REFERRAL)]
    assert accepted["business_status"] == "appointment-scheduled"
    done = (await pathway(client))["referrals"][str(REFERRAL)]
    assert {name: value for name, value in done.items() if value is not None} == {
        "status": "completed", "case_id": str(CASE), "partner_id": "ml-1",
        "partner_kind": "mission-locale", "service_id": "ml-1-s",
        "proposal_id": str(PROPOSAL), "attempt": 1, "agreement_id": str(AGREEMENT),
        "author": "partner", "outcome": "formation",
    }  # fmt: skip


async def test_nothing_personal_is_unsealed(hub: Hub, client: httpx2.AsyncClient) -> None:
    event = NeedExpressed(
        need_id=NEED, contact_id=CONTACT, person_id=PERSON, thematique=THEMATIQUE,
        sealed=NeedSealed(note="Canari"),
    )  # fmt: skip
    new = NewEvent(event.type, event.clear_json().decode(), START, PERSON, b"ciphertext")
    await hub.append("intake", "person-1", [new])
    await hub.read_all()
    (item,) = (await pathway(client))["timeline"]
    assert item["sealed"] is True
    assert "note" not in item["data"]


async def test_an_event_that_nobody_can_read_is_shown_and_changes_nothing(
    hub: Hub, client: httpx2.AsyncClient
) -> None:
    odd = [
        NewEvent("fr.test.unheard.v1", '{"n": 1}', START, PERSON),
        NewEvent(CaseOpened.type, '{"case_id": 5}', START, PERSON),
    ]
    await hub.append("referrals", "s-1", odd)
    await hub.read_all()
    found = await pathway(client)
    assert [item["sentence"] for item in found["timeline"]] == [
        "Événement fr.test.unheard.v1",
        f"Événement {CaseOpened.type}",
    ]
    assert found["cases"] == {}


async def test_an_old_event_counts_in_todays_words(
    hub: Hub, client: httpx2.AsyncClient
) -> None:
    case = CaseOpened(case_id=CASE, person_id=PERSON, need_id=NEED, thematique=THEMATIQUE)
    old = case.clear_json().decode().replace("thematique", "theme")
    await hub.append("referrals", "s-1", [NewEvent("fr.test.old.v0", old, START, PERSON)])
    await hub.read_all()
    register_upcaster(
        "fr.test.old.v0", CaseOpened.type, lambda d: {**d, "thematique": d["theme"]}
    )
    try:
        found = await pathway(client)
    finally:
        forget_upcaster("fr.test.old.v0")
    assert found["timeline"][0]["type"] == "fr.test.old.v0"
    assert found["cases"][str(CASE)]["status"] == "active"


@pytest.mark.parametrize(
    ("person", "asked", "status", "field"),
    [
        (uuid4(), "", 404, None),
        ("nobody", "", 422, "person_id"),
        (PERSON, "?at=3&as_of=2026-01-05T09:00:00Z", 422, "as_of"),
        (PERSON, "?at=11", 422, "at"),
        (PERSON, "?at=-1", 422, "at"),
        (PERSON, "?at=x", 422, "at"),
        (PERSON, "?as_of=yesterday", 422, "as_of"),
        (PERSON, "?as_of=2026-01-05T09:00:00", 422, "as_of"),
    ],
)
async def test_a_pathway_that_does_not_exist_or_makes_no_sense_is_refused(
    hub: Hub,
    client: httpx2.AsyncClient,
    person: UUID | str,
    asked: str,
    status: int,
    field: str | None,
) -> None:
    await live_a_pathway(hub)
    answer = await client.get(f"/v1/persons/{person}/pathway{asked}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert [e["field"] for e in answer.json().get("errors", [])] == ([field] if field else [])
