"""How fields and values of a person are called on every page and sheet. In French."""

import re
from datetime import date, datetime
from typing import Any

from contracts.days import PARIS
from contracts.values import PartnerKind

FIELDS = {
    "family_name": "Nom",
    "given_name": "Prénom",
    "birth_date": "Date de naissance",
    "phone": "Téléphone",
    "email": "Courriel",
    "address": "Adresse",
    "commune": "Commune (code Insee)",
    "situation": "Situation",
    "registered_with_france_travail_since": "Inscription à France Travail",
    "study_level": "Niveau d'études",
    "minimum_benefit": "Minimum social",
    "recognised_disability": "Reconnaissance de handicap",
    "priority_neighbourhood": "Quartier prioritaire",
    "mobility": "Mobilité",
    "france_travail_number": "Numéro France Travail",
    "project": "Projet",
    "need_note": "Précision sur le besoin",
}
VALUES = {
    "job-seeker": "En recherche d'emploi",
    "in-school": "Scolarisé",
    "in-training": "En formation",
    "in-employment": "En emploi",
    "inactive": "Sans activité",
    "rsa": "RSA",
    "ass": "ASS",
    "aah": "AAH",
    "none": "Aucun",
    "cap-bep": "CAP ou BEP",
    "bac": "Bac",
    "bac+2": "Bac + 2",
    "bac+3-or-more": "Bac + 3 ou plus",
    "public-transport": "Transports en commun",
    "own-vehicle": "Véhicule personnel",
    "yes": "Oui",
    "no": "Non",
    "unknown": "Inconnu",
}
PARTNERS = {
    PartnerKind.FRANCE_TRAVAIL: "France Travail",
    PartnerKind.MISSION_LOCALE: "la Mission Locale",
    PartnerKind.PLIE: "le PLIE",
    PartnerKind.CLAP: "le CLAP",
    PartnerKind.TEMP_AGENCY: "les agences d'intérim",
    PartnerKind.TRAINING_BODY: "les organismes de formation",
    PartnerKind.INFORMATION_JEUNESSE: "l'Information Jeunesse",
    PartnerKind.DIGITAL_SPACE: "l'espace numérique",
    PartnerKind.E2C: "l'École de la deuxième chance",
    PartnerKind.CAP_EMPLOI: "Cap emploi",
}
_DAY = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")


def field(name: str) -> str:
    """A field as a heading."""
    return FIELDS.get(name, name)


def said(value: Any) -> str:
    """A value as one says it in France; one without words of its own as it stands."""
    if isinstance(value, bool):
        return "Oui" if value else "Non"
    text = str(value)
    if _DAY.fullmatch(text):
        return french(date.fromisoformat(text))
    return VALUES.get(text, text)


def french(day: date) -> str:
    """A day as one writes it in France."""
    return f"{day:%d/%m/%Y}"


def french_moment(at: datetime) -> str:
    """A moment as one writes it in France, by the clock there."""
    local = at.astimezone(PARIS)
    return f"{french(local)} à {local.hour} h {local.minute:02d}"
