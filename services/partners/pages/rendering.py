"""What all pages share: templates, one style, headers that keep them private, words.

In French, without JavaScript; no page is kept by a browser, or tells others where it was linked
from.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from contracts.kinds import KINDS
from contracts.labels import FIELDS, field, format_value
from contracts.values import PartnerKind

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
    """Return the heading of what is disclosed, as this kind of partner calls its sheets."""
    agreed = "Ce que la personne a accepté de transmettre"
    sheet = KINDS[kind].sheet if kind else None
    return f"{sheet} : {agreed.lower()}" if sheet else agreed


def disclosed(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a person agreed to disclose, as headings and words, in the usual order."""
    order = [name for name in FIELDS if name in fields] + [n for n in fields if n not in FIELDS]
    return [(field(name), format_value(fields[name])) for name in order]
