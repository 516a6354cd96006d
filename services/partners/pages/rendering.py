"""What all pages share: templates, one style, headers that keep them private, words.

In French, without JavaScript; no page is kept by a browser, or tells others where it was linked
from.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from contracts.values import PartnerKind
from services.partners.model import letters

FIELDS = {
    "family_name": "Nom",
    "given_name": "Prénom",
    "birth_date": "Date de naissance",
    "phone": "Téléphone",
    "email": "Courriel",
    "commune": "Commune (code Insee)",
    "situation": "Situation",
    "study_level": "Niveau d'études",
    "minimum_benefit": "Minimum social",
    "recognised_disability": "Reconnaissance de handicap",
    "france_travail_number": "Numéro France Travail",
    "project": "Projet",
    "need_note": "Besoin",
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
}
_DAY = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")
_environment = Environment(
    loader=PackageLoader("services.partners"), autoescape=True, undefined=StrictUndefined
)
_STYLE = _environment.get_template("style.css").render()
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex, nofollow",
    "x-content-type-options": "nosniff",
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
}


def page(name: str, status: int, **given: Any) -> Response:
    """A page from its template."""
    html = _environment.get_template(f"{name}.html").render(style=_STYLE, **given)
    return HTMLResponse(html, status, headers=HEADERS)


def heading_of(kind: PartnerKind | None) -> str:
    """How a kind of partner calls what it is told of a person (CLAP: a project sheet)."""
    agreed = "Ce que la personne a accepté de transmettre"
    return f"Fiche projet : {agreed.lower()}" if kind is PartnerKind.CLAP else agreed


def disclosed(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a person agreed to disclose, as headings and words, in the usual order."""
    order = [name for name in FIELDS if name in fields] + [n for n in fields if n not in FIELDS]
    return [(FIELDS.get(name, name), in_words(fields[name])) for name in order]


def in_words(value: Any) -> str:
    """A disclosed value as one says it in France."""
    if isinstance(value, bool):
        return "Oui" if value else "Non"
    text = str(value)
    if _DAY.fullmatch(text):
        return letters.french(date.fromisoformat(text))
    return VALUES.get(text, text)
