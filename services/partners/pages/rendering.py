"""Templates and words that all pages share. In French."""

from collections.abc import Mapping
from typing import Any

from contracts.kinds import KINDS
from contracts.labels import FIELDS, field, format_value
from contracts.values import PartnerKind
from infra.web.pages import Pages

PAGES = Pages("services.partners", public=True)
page = PAGES.render


def heading_of(kind: PartnerKind | None) -> str:
    """Return the heading of what is disclosed, as this kind of partner calls its sheets."""
    agreed = "Ce que la personne a accepté de transmettre"
    sheet = KINDS[kind].sheet if kind else None
    return f"{sheet} : {agreed.lower()}" if sheet else agreed


def disclosed(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return disclosed fields as headings and words, in the usual order."""
    order = [name for name in FIELDS if name in fields] + [n for n in fields if n not in FIELDS]
    return [(field(name), format_value(fields[name])) for name in order]
