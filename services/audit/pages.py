"""What a person is given in answer to their request, as a page to print. In French."""

from datetime import datetime
from typing import Any

from starlette.responses import Response

from contracts.labels import field, format_value, french_moment
from infra.web.pages import Pages

SOURCES = {"declared": "déclaré", "document": "vu sur un document", "partner": "partenaire"}
VIEWS = {
    "profile": "identité et situation",
    "proposal": "explication d'une proposition",
    "sheet": "fiche à transmettre",
    "pathway": "parcours",
    "access": "toutes les données, pour vous répondre",
}


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


PAGES = Pages("services.audit", filters={"moment": moment, "field": field, "value": value})


def access(account: dict[str, Any]) -> Response:
    """Render all that is held of a person, to be handed over."""
    return PAGES.render("access", found=account, views=VIEWS)
