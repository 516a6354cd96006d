"""Invented events of the public vocabulary: for tutorial, demo, tests and benchmarks."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from contracts.days import local_day
from contracts.fields import FIELDS
from contracts.public import PublicAgreement, PublicContact, PublicFacts, PublicWithdrawal
from contracts.values import PartnerKind, Thematique

FRONT_DESK = "https://petite-foret.example/systems/front-desk"
CCAS = "https://petite-foret.example/systems/ccas"
LIBRARY = "https://petite-foret.example/systems/digital-space"
SYSTEMS = (FRONT_DESK, CCAS, LIBRARY)
_FAMILY = [
    "Delcourt",
    "Lefebvre",
    "Wattrelos",
    "Dubrulle",
    "Moreau",
    "Benali",
    "Nowak",
    "Petit",
]
_GIVEN = ("Camille", "Inès", "Yanis", "Louise", "Mehdi", "Zofia", "Théo", "Fatou", "Hugo")
_AGREED = [
    "family_name",
    "given_name",
    "phone",
    "email",
    "birth_date",
    "commune",
    "situation",
    "study_level",
    "need_note",
]
_NEEDS = (
    Thematique("trouver-un-emploi--repondre-a-des-offres-demploi"),
    Thematique("preparer-sa-candidature--realiser-un-cv-et-ou-une-lettre-de-motivation"),
    Thematique("se-former--trouver-sa-formation"),
    Thematique("numerique--maitriser-les-fondamentaux-du-numerique"),
    Thematique("choisir-un-metier--confirmer-son-choix-de-metier"),
)


def example(
    event_type: str = PublicContact.TYPE, random: Random | None = None
) -> dict[str, Any]:
    """Return a valid CloudEvent of a public type: fresh ids, an invented person.

    Raises ``KeyError`` for a type that is not public.
    """
    random = random or Random()
    return envelope(event_type, _EXAMPLES[event_type](random), random)


def envelope(
    event_type: str, data: dict[str, Any], random: Random, source: str = FRONT_DESK
) -> dict[str, Any]:
    """Return a structured CloudEvent around ``data``, with a fresh id."""
    return {
        "specversion": "1.0",
        "id": str(UUID(int=random.getrandbits(128), version=4)),
        "source": source,
        "type": event_type,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "datacontenttype": "application/json",
        "data": data,
    }


def contact(random: Random) -> dict[str, Any]:
    """Return a visit with one need and an agreement for every kind of partner."""
    return {
        "mode": random.choice(["walk-in", "appointment", "phone"]),
        "site": "place-jules-verne",
        "person": person(random),
        "information": {"notice": "accueil", "version": "2026-01"},
        "agreements": [agreement(kind) for kind in PartnerKind],
        "needs": [{"thematique": random.choice(_NEEDS), "note": "Souhaite en parler bientôt."}],
        "note": "Premier passage.",
    }


def person(random: Random) -> dict[str, Any]:
    """Return an invented resident, with what routing looks at."""
    given, family = random.choice(_GIVEN), random.choice(_FAMILY)
    born = local_day(datetime.now(UTC)) - timedelta(days=random.randint(17 * 366, 60 * 365))
    return {
        "ref": f"usager-{random.randrange(10**12):012d}",
        "identity": {
            "family_name": family,
            "given_name": given,
            "phone": f"+3361{random.randrange(10**7):07d}",
            "email": f"{random.randrange(10**9)}@example.org",
        },
        "facts": {
            "birth_date": {"value": born.isoformat(), "source": "document"},
            "commune": {"value": "59459"},
            **{
                name: {"value": random.choice(entry.examples)}
                for name, entry in FIELDS.items()
                if entry.examples
            },
        },
    }


def agreement(kind: PartnerKind) -> dict[str, Any]:
    """Return an agreement for half a year: the usual fields, to a kind of partner."""
    until = local_day(datetime.now(UTC)) + timedelta(days=182)
    return {"partner_kind": kind, "fields": _AGREED, "until": until.isoformat()}


_EXAMPLES: dict[str, Callable[[Random], dict[str, Any]]] = {
    PublicContact.TYPE: contact,
    PublicFacts.TYPE: lambda random: {"person": person(random)},
    PublicAgreement.TYPE: lambda random: {
        "person": person(random),
        "agreement": agreement(PartnerKind.MISSION_LOCALE),
    },
    PublicWithdrawal.TYPE: lambda random: {"person": {"ref": person(random)["ref"]}},
}
