"""Invented residents of a month: ages, situations, needs, agreements, and what is not known."""

from datetime import date
from random import Random
from typing import Any
from uuid import UUID

from contracts import fields, intake
from contracts.base import Event
from contracts.values import Evidence, PartnerKind, Situation, Thematique

NEEDS = [
    "trouver-un-emploi--repondre-a-des-offres-demploi",
    "se-former--trouver-sa-formation",
    "preparer-sa-candidature--realiser-un-cv-et-ou-une-lettre-de-motivation",
    "numerique--maitriser-les-fondamentaux-du-numerique",
    "choisir-un-metier--decouvrir-un-metier-ou-un-secteur-dactivite",
    "mobilite--financer-ma-mobilite",
    "logement-hebergement--rechercher-une-solution-dhebergement-temporaire",
]
FIELDS = ["family_name", "given_name", "phone", "birth_date", "commune", "need_note"]


def newcomer(random: Random, day: date) -> tuple[UUID, list[Event]]:
    """A person's id and what the intake says of a first visit with one need."""
    person_id, need_id, contact_id = (UUID(int=random.getrandbits(128)) for _ in range(3))
    identity = fields.Identity(family_name="Inconnu", given_name="Camille", phone="0612345678")
    events: list[Event] = [
        intake.PersonRegistered(
            person_id=person_id, anonymous=False,
            sealed=intake.IdentitySealed(identity=identity),
        ),
        intake.FactsStated(
            person_id=person_id, sealed=intake.FactsSealed(facts=_facts(random, day))
        ),
    ]  # fmt: skip
    if random.random() < 0.88:
        events += [_agreement(random, person_id, kind, day) for kind in PartnerKind]
    events.append(
        intake.NeedExpressed(
            need_id=need_id,
            contact_id=contact_id,
            person_id=person_id,
            thematique=Thematique(random.choice(NEEDS)),
            urgent=random.random() < 0.05,
            parallel=random.random() < 0.1,
        )
    )
    return person_id, events


def _facts(random: Random, day: date) -> fields.Facts:
    known: dict[str, Any] = {
        "birth_date": date(day.year - random.randint(15, 65), random.randint(1, 12), 15),
        "commune": random.choice(["59459", "59459", "59606", "59350"]),
        "situation": random.choice(list(Situation)),
        "minimum_benefit": random.choice(["rsa", "none", "none", "aah"]),
        "study_level": random.choice(["none", "cap-bep", "bac"]),
    }
    stated = {name: value for name, value in known.items() if random.random() < 0.85}
    dated: dict[str, Any] = {name: {"value": v} for name, v in stated.items()}
    return fields.Facts(**dated)


def _agreement(random: Random, person_id: UUID, kind: PartnerKind, day: date) -> Event:
    return intake.AgreementGiven(
        agreement_id=UUID(int=random.getrandbits(128)), person_id=person_id,
        partner_kind=kind, fields=FIELDS, until=date(day.year + 2, 1, 1),
        evidence=Evidence.ORAL,
    )  # fmt: skip
