"""Pages for people: templates of a package, one style, headers that keep a page private.

Without JavaScript; no page is kept by a browser, or tells others where it was linked from.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

PRIVATE = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Pages:
    """Renders ``templates/`` of a package; each page is given ``style``, its ``style.css``.

    ``filters``: functions that templates use; ``public``: pages behind links that anybody may
    follow, with forms to send back to us.
    """

    def __init__(
        self,
        package: str,
        *,
        filters: Mapping[str, Callable[..., Any]] | None = None,
        public: bool = False,
    ) -> None:
        self._environment = Environment(
            loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined
        )
        self._environment.filters |= filters or {}
        self._style = self._environment.get_template("style.css").render()
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        forms = " form-action 'self';" if public else ""
        self.headers = PRIVATE | {
            "content-security-policy": (
                f"default-src 'none'; style-src 'sha256-{digest}';{forms} "
                "frame-ancestors 'none'; base-uri 'none'"
            )
        }
        if public:
            self.headers["x-robots-tag"] = "noindex, nofollow"

    def render(self, name: str, status: int = 200, **given: Any) -> Response:
        """Return a page from its template."""
        template = self._environment.get_template(f"{name}.html")
        html = template.render(style=self._style, **given)
        return HTMLResponse(html, status, headers=self.headers)
