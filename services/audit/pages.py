"""What a person is given in answer to their request, as a page to print. In French."""

import base64
import hashlib
from datetime import date, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from contracts.days import PARIS

FIELDS = {
    "family_name": "Nom",
    "given_name": "Prénom",
    "phone": "Téléphone",
    "email": "Courriel",
    "address": "Adresse",
    "france_travail_number": "Numéro France Travail",
    "birth_date": "Date de naissance",
    "commune": "Commune (code Insee)",
    "situation": "Situation",
    "registered_with_france_travail_since": "Inscription à France Travail",
    "minimum_benefit": "Minimum social",
    "recognised_disability": "Reconnaissance de handicap",
    "priority_neighbourhood": "Quartier prioritaire",
    "study_level": "Niveau d'études",
    "mobility": "Mobilité",
    "project": "Projet",
    "need_note": "Précision sur le besoin",
}
SOURCES = {"declared": "déclaré", "document": "vu sur un document", "partner": "partenaire"}
VIEWS = {
    "profile": "identité et situation",
    "proposal": "explication d'une proposition",
    "sheet": "fiche à transmettre",
    "pathway": "parcours",
    "access": "toutes les données, pour vous répondre",
}


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("services.audit"), autoescape=True, undefined=StrictUndefined
    )
    made.filters |= {"moment": moment, "field": field, "value": value}
    return made


def moment(text: str) -> str:
    """An instant as one writes it in France."""
    local = datetime.fromisoformat(text).astimezone(PARIS)
    return f"{local:%d/%m/%Y} à {local.hour} h {local:%M}"


def field(name: str) -> str:
    """The name of a field in words."""
    return FIELDS.get(name, name)


def value(stated: Any) -> str:
    """A value, with where it comes from if that is known."""
    if isinstance(stated, dict):
        shown = value(stated.get("value"))
        source, day = SOURCES.get(stated.get("source", "")), stated.get("as_of")
        about = ", ".join(filter(None, (source, f"au {value(day)}" if day else None)))
        return f"{shown} ({about})" if about else shown
    if isinstance(stated, bool):
        return "oui" if stated else "non"
    try:
        return f"{date.fromisoformat(str(stated)):%d/%m/%Y}"
    except ValueError:
        return str(stated)


_ENVIRONMENT = _environment()
_STYLE = _ENVIRONMENT.get_template("style.css").render()
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
}


def access(found: dict[str, Any]) -> Response:
    """All that is held of a person, to be handed over."""
    html = _ENVIRONMENT.get_template("access.html").render(
        style=_STYLE, found=found, views=VIEWS
    )
    return HTMLResponse(html, headers=HEADERS)
