"""Pages behind a token that was mailed: the token is the credential, there is no account.

A ``GET`` changes nothing: scanners of mail follow links. Forms come from our own page only.
What cannot be shown is a page too, and says nothing of what there is.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from infra.base.http import BodyTooLargeError
from infra.delivery.mail import MailSender
from infra.keys.vault import PersonErasedError
from infra.postgres.database import is_infrastructure
from infra.web.bodies import KIB, Body, bounded_body
from services.partners.handlers.compose import SenderProfile
from services.partners.handlers.tokens import TOKEN, LinkGoneError
from services.partners.pages.rendering import PAGES, page

FORMS = Body(32 * KIB, open=True, unread=True)
"""Read by us: what is too large is a page too."""
FORM = "application/x-www-form-urlencoded"
Page = Callable[[Request, str], Awaitable[Response]]


class LinkHandlers(Protocol):
    """Handlers of the links of one purpose."""

    @property
    def letterhead(self) -> SenderProfile: ...
    @property
    def mail(self) -> MailSender | None: ...
    async def renew(self, token: str) -> None: ...


def mount_link_pages(
    app: FastAPI, prefix: str, links: LinkHandlers, pages: Mapping[str, Page]
) -> None:
    """Mount ``pages``: that of the link under an empty name, those of forms under theirs."""

    async def renew(request: Request, token: str) -> Response:
        await links.renew(token)
        return page("renewed", 200)

    async def back(request: Request) -> Response:
        """Lead a page that came of a form, asked for again by its address, to the first one."""
        token = quote(request.path_params["token"], safe="")
        return Response(status_code=303, headers=PAGES.headers | {"location": f"../{token}"})

    for tail, shown in {**pages, "renew": renew}.items():
        route, form = f"{prefix}{{token}}", "POST" if tail else "GET"
        path = f"{route}/{tail}" if tail else route
        app.add_route(path, _safely(shown, links), methods=[form], include_in_schema=False)
        if tail:
            app.add_route(path, back, methods=["GET"], include_in_schema=False)


def _safely(shown: Page, links: LinkHandlers) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        if request.method == "POST" and not _from_here(request, links.letterhead.base_url):
            return page("refused", 403)
        try:
            return await shown(request, request.path_params["token"])
        except (LinkGoneError, PersonErasedError):
            # the same page whether there ever was such a link; the form leads to `…/renew`
            token, tail = request.path_params["token"], request.url.path.rsplit("/", 1)[-1]
            renewable = TOKEN.fullmatch(token) is not None and links.mail is not None
            back = f"{token}/renew" if tail == token else "renew"
            return page("gone", 404, renewable=renewable, back=back)
        except Exception as error:
            if is_infrastructure(error):
                return page("later", 503)
            raise

    return serve


def _from_here(request: Request, base_url: str) -> bool:
    """Return whether a form comes from our own page, as far as the browser says.

    ``null`` is what browsers say of a page that tells nobody where it was (RFC 6454 §7.3).
    """
    headers = request.headers
    if site := headers.get("sec-fetch-site"):
        return site in ("same-origin", "none")
    ours = {urlsplit(base_url).netloc, headers.get("host")}
    origin = headers.get("origin", "null")
    return origin == "null" or origin.partition("://")[2] in ours


async def form_of(request: Request) -> dict[str, str] | None:
    """Return the fields; None if there are more, or longer ones, than our pages send."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return {}
    try:
        body = await bounded_body(request, FORMS.most, FORMS.seconds)
    except BodyTooLargeError:
        return None
    text = body.decode("utf-8", "replace")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=40)
    except ValueError:
        return None
    # browsers end lines with two characters, and count them as one
    return {name: value.replace("\r\n", "\n") for name, value in pairs}
