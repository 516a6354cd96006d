"""What a person is given in answer to their request, as a page to print. In French."""

import base64
import hashlib
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from contracts.labels import field, format_value, french_moment

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
    return french_moment(datetime.fromisoformat(text))


def value(stated: Any) -> str:
    """A value, with where it comes from if that is known."""
    if isinstance(stated, dict):
        shown = value(stated.get("value"))
        source, day = SOURCES.get(stated.get("source", "")), stated.get("as_of")
        about = ", ".join(filter(None, (source, f"au {value(day)}" if day else None)))
        return f"{shown} ({about})" if about else shown
    return format_value(stated)


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
