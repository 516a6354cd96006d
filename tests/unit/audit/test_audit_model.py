"""Folding a pathway and saying it in French, without any store."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest

from contracts import referrals
from contracts.audit import CaseState, ReferralState
from contracts.base import Event
from contracts.registry import EVENT_TYPES
from contracts.values import (
    Author,
    BusinessStatus,
    CaseStatus,
    PartnerKind,
    Reason,
    ReferralStatus,
    Thematique,
)
from services.audit.model.pathway import STEPS, Pathway, evolve
from services.audit.model.sentences import SENTENCES, sentence

CASE, REFERRAL, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
THEMATIQUE = next(iter(Thematique))
MOVES = [e for e in referrals.EVENTS if issubclass(e, referrals.ReferralMoved)]
NAMES_OF_A_PATHWAY = {"person_id", "case_id", "referral_id"}
ABOUT_A_PERSON = [
    event_type
    for event_type, model in EVENT_TYPES.items()
    if NAMES_OF_A_PATHWAY & set(model.model_fields) and model not in MOVES
]


def folded(*events: Event, into: Pathway | None = None) -> Pathway:
    """What events add up to, each as the log keeps it: type and clear part."""
    pathway = into or Pathway()
    for event in events:
        evolve(pathway, event.type, orjson.loads(event.clear_json()))
    return pathway


def opened() -> Pathway:
    case = referrals.CaseOpened(
        case_id=CASE, person_id=OTHER, need_id=OTHER, thematique=THEMATIQUE
    )
    proposed = referrals.ReferralProposed(
        referral_id=REFERRAL, case_id=CASE, person_id=OTHER, proposal_id=OTHER,
        partner_id="ml-1", partner_kind=PartnerKind.MISSION_LOCALE, service_id="s",
    )  # fmt: skip
    return folded(case, proposed)


def moved(event: type[referrals.ReferralMoved], **more: Any) -> referrals.ReferralMoved:
    given = {"referral_id": REFERRAL, "case_id": CASE, "status": ReferralStatus.REQUESTED}
    return event(**{**given, "author": Author.PARTNER, **more})


@pytest.mark.parametrize(
    ("event", "status"),
    [(event, status) for status, event in referrals.EVENT_OF_STATUS.items()],
)
def test_each_event_of_a_status_leads_to_that_status(
    event: type[referrals.ReferralMoved], status: ReferralStatus
) -> None:
    referral = folded(moved(event), into=opened()).referrals[str(REFERRAL)]
    assert referral.status == status


def test_a_business_status_refines_without_changing_the_status() -> None:
    received = moved(referrals.ReferralReceived, business_status=BusinessStatus.UNDER_STUDY)
    referral = folded(received, into=opened()).referrals[str(REFERRAL)]
    assert referral.status == ReferralStatus.DRAFT
    assert referral.business_status == BusinessStatus.UNDER_STUDY


def test_an_event_of_a_referral_that_is_not_there_changes_nothing() -> None:
    accepted = moved(referrals.ReferralAccepted, referral_id=OTHER)
    closed = referrals.CaseClosed(case_id=OTHER, status=CaseStatus.COMPLETED)
    assert folded(accepted, closed, into=opened()) == opened()


@pytest.mark.parametrize("event_type", STEPS)
@pytest.mark.parametrize("data", [{}, {"case_id": 5, "referral_id": []}, {"status": "x"}])
def test_an_event_whose_data_lack_what_it_says_changes_nothing(
    event_type: str, data: dict[str, Any]
) -> None:
    pathway = opened()
    with pytest.raises((KeyError, TypeError)):
        evolve(pathway, event_type, data)
    assert pathway == opened()


def test_states_are_what_the_contract_says_of_them() -> None:
    states = folded(moved(referrals.ReferralAccepted), into=opened()).states()
    case, referral = states["cases"][str(CASE)], states["referrals"][str(REFERRAL)]
    assert CaseState.model_validate_json(orjson.dumps(case)).need_id == OTHER
    assert ReferralState.model_validate_json(orjson.dumps(referral)).partner_id == "ml-1"
    assert set(case) == set(CaseState.model_fields)
    assert set(referral) == set(ReferralState.model_fields)


def test_a_case_without_candidates_says_so_until_it_is_proposed_again() -> None:
    exhausted = referrals.CaseExhausted(
        case_id=CASE, reason="no-candidate", due_on=date(2026, 1, 7)
    )
    pathway = folded(exhausted, into=opened())
    assert pathway.cases[str(CASE)].exhausted == "no-candidate"
    proposal = referrals.ProposalMade(
        thematique=THEMATIQUE, proposal_id=OTHER, case_id=CASE, person_id=OTHER,
        rules="r", rules_digest="d",
        evaluated_on=date(2026, 1, 5), ranked=["s"], considered=1,
        directory=referrals.DirectoryRead(position=1, referrals=0, day=date(2026, 1, 5)),
        policy="confirm",
    )  # fmt: skip
    again = folded(proposal, into=pathway).cases[str(CASE)]
    assert (again.exhausted, again.proposal_id) == (None, str(OTHER))


def test_an_appointment_is_kept_with_its_referral() -> None:
    moment = datetime(2026, 1, 9, 14, tzinfo=UTC)
    about: dict[str, Any] = {"referral_id": REFERRAL, "case_id": CASE, "starts_at": moment}
    given = referrals.AppointmentSet(**about, author=Author.ADVISER)
    pathway = folded(given, into=opened())
    assert pathway.referrals[str(REFERRAL)].appointment_at == "2026-01-09T14:00:00Z"
    assert sentence(given) == "Rendez-vous fixé le 09/01/2026 à 15 h 00 par l'accueil"
    later = datetime(2026, 1, 12, 9, tzinfo=UTC)
    moved = given.model_copy(update={"starts_at": later, "moved_from": moment})
    assert sentence(moved) == (
        "Rendez-vous déplacé du 09/01/2026 à 15 h 00 au 12/01/2026 à 10 h 00 par l'accueil"
    )
    missed = referrals.AppointmentMissed(
        **about, author=Author.ADVISER, on_behalf_of=Author.PARTNER
    )
    assert folded(missed, into=pathway).referrals[str(REFERRAL)].appointment_at is None
    assert sentence(missed) == (
        "Absence au rendez-vous, selon l'accueil, au nom de : le partenaire"
    )


def test_request_says_which_appointment_it_proposes() -> None:
    moment = datetime(2026, 1, 9, 14, tzinfo=UTC)
    asked = referrals.ReferralRequested(
        referral_id=REFERRAL, case_id=CASE, person_id=OTHER, partner_id="ml-1",
        partner_kind=PartnerKind.MISSION_LOCALE, service_id="s", thematique=THEMATIQUE,
        agreement_id=OTHER, agreed_until=date(2027, 1, 1), requested_on=date(2026, 1, 5),
        appointment_at=moment,
    )  # fmt: skip
    referral = folded(asked, into=opened()).referrals[str(REFERRAL)]
    assert referral.appointment_at == "2026-01-09T14:00:00Z"
    assert sentence(asked).endswith("ml-1, rendez-vous proposé le 09/01/2026 à 15 h 00")


@pytest.mark.parametrize("event", MOVES)
@pytest.mark.parametrize("reason", [None, *Reason])
def test_every_move_has_a_sentence(
    event: type[referrals.ReferralMoved], reason: Reason | None
) -> None:
    said = sentence(moved(event, reason=reason, on_behalf_of=Author.PARTNER))
    assert said.startswith("Demande ")
    assert "None" not in said


@pytest.mark.parametrize("business_status", BusinessStatus)
def test_every_business_status_is_said_in_french(business_status: BusinessStatus) -> None:
    said = sentence(moved(referrals.ReferralReceived, business_status=business_status))
    assert business_status not in said


@pytest.mark.parametrize("event_type", ABOUT_A_PERSON)
def test_every_event_about_a_person_has_its_own_sentence(event_type: str) -> None:
    assert EVENT_TYPES[event_type] in SENTENCES
