"""Invented persons, services and worlds for tests of the referral service's model."""

from datetime import date
from typing import Any
from uuid import uuid4

from contracts.intake import AgreementGiven, Dated, Facts, Identity
from contracts.referrals import CaseOpened
from contracts.values import Evidence, PartnerKind, Situation, Thematique
from services.referrals.app import RULES
from services.referrals.model.case import World
from services.referrals.model.person import Person
from services.referrals.model.routing import Service
from services.referrals.model.rules import Rules

TODAY = date(2026, 11, 23)
JOB = Thematique("trouver-un-emploi--repondre-a-des-offres-demploi")
ALL_RULES = Rules.parse(RULES.read_bytes(), RULES.stem, 1)
FIELDS = ["family_name", "given_name", "phone", "birth_date", "minimum_benefit"]


def service(kind: PartnerKind, name: str | None = None, **given: Any) -> Service:
    """A service for job seekers."""
    name = name or kind
    return Service(name, f"partner-{name}", kind, name, (JOB,), **given)


ML = service(PartnerKind.MISSION_LOCALE, policy="auto", zone=("245901160",))
FT = service(PartnerKind.FRANCE_TRAVAIL)
TEMP = service(PartnerKind.TEMP_AGENCY)
TRAINING = service(PartnerKind.TRAINING_BODY)


def person(born: date | None = date(2006, 5, 17), **facts: Any) -> Person:
    """A young job seeker of Petite-Forêt who has agreed to everything, but for ``facts``."""
    stated = {
        "birth_date": born,
        "commune": "59459",
        "situation": Situation.JOB_SEEKER,
        **facts,
    }
    dated: dict[str, Any] = {n: Dated(value=v) for n, v in stated.items() if v is not None}
    return Person(
        Identity(family_name="Dubrulle", given_name="Inès", phone="+33612345678"),
        Facts(**dated),
        tuple(agreement(kind) for kind in PartnerKind),
    )


def agreement(
    kind: PartnerKind, until: date = date(2028, 1, 1), fields: list[str] = FIELDS
) -> AgreementGiven:
    """An agreement that covers a kind of partner."""
    return AgreementGiven(
        agreement_id=uuid4(), person_id=uuid4(), partner_kind=kind, fields=fields, until=until,
        evidence=Evidence.ORAL,
    )  # fmt: skip


def world(who: Person, *services: Service, today: date = TODAY) -> World:
    """A directory, the built-in rules and a day."""
    return World({s.service_id: s for s in services}, ALL_RULES, who, today)


def opened(**given: Any) -> CaseOpened:
    """A need of a person."""
    return CaseOpened(
        case_id=uuid4(), person_id=uuid4(), need_id=uuid4(), thematique=JOB, **given
    )
