"""Given what is known of a person, when a public event arrives, then these events."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.base import Event
from contracts.intake import (
    ActivityAttended,
    AgreementGiven,
    AgreementWithdrawn,
    ContactRecorded,
    FactsStated,
    InformationGiven,
    NeedExpressed,
    PersonIdentified,
    PersonRegistered,
    agreement_id_of,
    case_id_of,
    need_id_of,
)
from contracts.public import (
    PublicAgreement,
    PublicContact,
    PublicEvent,
    PublicFacts,
    PublicWithdrawal,
)
from services.intake.model.statements import (
    Known,
    Statement,
    UnknownAgreementError,
    created,
    decide,
    fold,
)

PERSON, CONTACT = uuid4(), uuid4()
NEW, REGISTERED = Known(), Known(registered=True)
DAY = date(2026, 11, 23)
CV = "preparer-sa-candidature--realiser-un-cv-et-ou-une-lettre-de-motivation"
WORK = "trouver-un-emploi--repondre-a-des-offres-demploi"
PLIE = {"partner_kind": "plie", "fields": ["phone"], "until": "2027-05-01"}
KNOWN_BY_REF = {"ref": "u-1"}


AT = datetime(2026, 11, 23, 10, tzinfo=UTC)


def when(said: PublicEvent, at: datetime = AT) -> Statement:
    return Statement(
        person_id=PERSON,
        contact_id=CONTACT,
        system="front-desk",
        stated_at=at,
        heard_on=DAY,
        payload=said,
    )


def day_of(at: datetime, as_of: str | None = None) -> date | None:
    """The day that a fact is of, stated at a moment."""
    mobility = {"value": "none"} | ({"as_of": as_of} if as_of else {})
    person = {"ref": "u-1", "facts": {"mobility": mobility}}
    *_, stated = decide(REGISTERED, when(PublicFacts.model_validate({"person": person}), at))
    assert isinstance(stated, FactsStated)
    assert stated.sealed is not None
    assert stated.sealed.facts.mobility is not None
    return stated.sealed.facts.mobility.as_of


def test_fact_without_a_day_is_of_the_day_in_france_on_which_it_was_stated():
    assert day_of(datetime(2026, 11, 21, 23, 30, tzinfo=UTC)) == date(2026, 11, 22)


def test_no_fact_is_of_a_day_after_the_one_on_which_the_hub_has_it():
    assert day_of(AT + timedelta(hours=23)) == DAY
    assert day_of(AT, "2026-11-24") == DAY
    assert day_of(AT, "2020-01-01") == date(2020, 1, 1)


def contact(**data: Any) -> PublicContact:
    return PublicContact.model_validate({"mode": "walk-in", "person": KNOWN_BY_REF} | data)


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


def test_first_contact_registers_the_person_with_their_identity():
    said = contact(person={"ref": "u-1", "identity": {"family_name": "Nowak"}})
    registered, recorded = decide(NEW, when(said))
    assert isinstance(registered, PersonRegistered)
    assert registered.sealed is not None
    assert registered.sealed.identity.family_name == "Nowak"
    assert not registered.anonymous
    assert isinstance(recorded, ContactRecorded)
    assert (recorded.contact_id, recorded.system) == (CONTACT, "front-desk")


def test_later_contact_does_not_register_again():
    assert kinds(decide(REGISTERED, when(contact()))) == [ContactRecorded]


def test_later_identity_is_stated_before_the_contact():
    said = contact(person={"ref": "u-1", "identity": {"phone": "0612345678"}})
    assert kinds(decide(REGISTERED, when(said))) == [PersonIdentified, ContactRecorded]


def test_anonymous_contact_registers_somebody_unknown():
    registered, recorded = decide(NEW, when(contact(person=None)))
    assert isinstance(registered, PersonRegistered)
    assert isinstance(recorded, ContactRecorded)
    assert registered.anonymous
    assert recorded.anonymous
    assert registered.sealed is None


def test_needs_come_last_after_all_that_a_case_looks_at():
    said = contact(
        person={"ref": "u-1", "facts": {"mobility": {"value": "none"}}},
        needs=[{"thematique": CV}, {"thematique": WORK, "urgent": True}],
        information={"notice": "accueil", "version": "1"},
        agreements=[PLIE],
        activities=[{"activity": "workshop"}],
    )
    assert kinds(decide(NEW, when(said))) == [
        PersonRegistered, ContactRecorded, InformationGiven, AgreementGiven, FactsStated,
        ActivityAttended, NeedExpressed, NeedExpressed,
    ]  # fmt: skip


def test_ids_derive_from_the_contact_so_that_a_repeat_finds_them():
    said = contact(needs=[{"thematique": CV}, {"thematique": WORK}], agreements=[PLIE, PLIE])
    first, again = (created(decide(NEW, when(said))) for _ in range(2))
    assert first == again
    assert first == {
        "contact_id": CONTACT,
        "agreements": [agreement_id_of(CONTACT, 0), agreement_id_of(CONTACT, 1)],
        "needs": [
            {"need_id": need, "case_id": case_id_of(need), "thematique": thematique}
            for need, thematique in (
                (need_id_of(CONTACT, 0), CV),
                (need_id_of(CONTACT, 1), WORK),
            )
        ],
    }


def test_wish_not_to_be_called_is_on_every_need():
    said = contact(needs=[{"thematique": CV}], do_not_contact=True)
    *_, recorded, need = decide(NEW, when(said))
    assert isinstance(recorded, ContactRecorded)
    assert isinstance(need, NeedExpressed)
    assert recorded.do_not_contact
    assert need.do_not_contact


def test_fact_without_a_day_was_true_on_the_day_of_the_contact():
    facts = {
        "mobility": {"value": "none"},
        "study_level": {"value": "bac", "as_of": "2020-06-30", "source": "document"},
    }
    said = PublicFacts.model_validate({"person": KNOWN_BY_REF | {"facts": facts}})
    (stated,) = decide(REGISTERED, when(said))
    assert isinstance(stated, FactsStated)
    assert stated.sealed is not None
    kept = stated.sealed.facts
    assert kept.mobility is not None
    assert kept.study_level is not None
    assert (kept.mobility.as_of, kept.study_level.as_of) == (DAY, date(2020, 6, 30))
    assert kept.birth_date is None


def test_nothing_personal_is_in_the_clear_part_of_any_event():
    canary = "Zyxwanary"
    said = contact(
        person={
            "ref": canary,
            "identity": {"family_name": canary, "given_name": canary, "address": canary},
            "facts": {"project": {"value": canary}},
        },
        needs=[{"thematique": CV, "note": canary}],
        activities=[{"activity": "workshop", "label": canary}],
        note=canary,
    )
    events = decide(NEW, when(said))
    assert sum(canary in (e.sealed_json() or b"").decode() for e in events) == 5
    assert not any(canary in e.clear_json().decode() for e in events)


def test_agreement_alone_is_given():
    said = PublicAgreement.model_validate({"person": KNOWN_BY_REF, "agreement": PLIE})
    (given,) = decide(REGISTERED, when(said))
    assert isinstance(given, AgreementGiven)
    assert given.agreement_id == agreement_id_of(CONTACT, 0)
    assert (given.partner_kind, given.fields) == ("plie", ["phone"])


def withdrawal(agreement_id: UUID | None) -> PublicWithdrawal:
    return PublicWithdrawal.model_validate(
        {"person": KNOWN_BY_REF, "agreement_id": agreement_id}
    )


def test_agreement_given_can_be_withdrawn():
    given = decide(NEW, when(contact(agreements=[PLIE])))
    known = fold(NEW, given)
    (agreement_id,) = known.agreements
    (withdrawn,) = decide(known, when(withdrawal(agreement_id)))
    assert withdrawn == AgreementWithdrawn(person_id=PERSON, agreement_id=agreement_id)


def test_agreement_never_given_cannot_be_withdrawn():
    with pytest.raises(UnknownAgreementError):
        decide(REGISTERED, when(withdrawal(uuid4())))


def test_all_agreements_are_withdrawn_whatever_was_given():
    (withdrawn,) = decide(REGISTERED, when(withdrawal(None)))
    assert withdrawn == AgreementWithdrawn(person_id=PERSON)
    assert kinds(decide(NEW, when(withdrawal(None)))) == [PersonRegistered, AgreementWithdrawn]


def test_state_knows_who_is_registered_and_what_was_agreed():
    events = decide(NEW, when(contact(agreements=[PLIE], note="x")))
    assert fold(NEW, events) == Known(True, frozenset({agreement_id_of(CONTACT, 0)}))
