"""Pages for partners without a system of their own: open a request, answer it.

In French, without JavaScript. A ``GET`` changes nothing; nothing personal stands in an address
or on the first page; no page is kept by a browser, or tells others where it was linked from.
"""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import FastAPI
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from infra.database import is_infrastructure
from infra.vault import PersonErasedError
from infra.web.bodies import BodyTooLargeError, bounded_body
from services.partners.handlers.answers import DuplicateIdError, StateChangedError
from services.partners.handlers.links import LinkGoneError, Links, Opened
from services.partners.handlers.tokens import PAGE, TOKEN
from services.partners.model import (
    CommissionNotMetError,
    ForbiddenTransitionError,
    ReasonNotYoursError,
    letters,
)
from services.partners.model.choices import OUTCOMES, FormError, partner_reasons

MAX_FORM_BYTES = 32 * 1024
FORM_SECONDS = 15
FORM = "application/x-www-form-urlencoded"
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
_TOO_MUCH = FormError("comment", "Le texte est trop long")
_REFUSED = {
    CommissionNotMetError: FormError("choice", "La commission n'a pas encore eu lieu"),
    ReasonNotYoursError: FormError("reason", "Choisissez un motif de la liste"),
}
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


def add_pages(app: FastAPI, links: Links) -> None:
    """The partners' pages."""
    pages = {
        ("GET", ""): _landing,
        ("POST", "/open"): _open,
        ("POST", "/answer"): _answer,
        ("POST", "/renew"): _renew,
    }
    for (method, tail), page in pages.items():
        route = f"{PAGE}{{token}}{tail}"
        app.add_route(route, _safely(page, links), methods=[method], include_in_schema=False)
        if tail:
            app.add_route(route, _back, methods=["GET"], include_in_schema=False)


Page = Callable[[Links, Request, str], Awaitable[Response]]


async def _back(request: Request) -> Response:
    """A page that came of a form, asked for again by its address: start at the first one."""
    token = quote(request.path_params["token"], safe="")
    return Response(status_code=303, headers=HEADERS | {"location": f"../{token}"})


def _safely(page: Page, links: Links) -> Callable[[Request], Awaitable[Response]]:
    """What cannot be shown is a page too, and says nothing of what there is."""

    async def serve(request: Request) -> Response:
        if request.method == "POST" and not _from_here(request, links.base_url):
            return _page("refused", 403)
        try:
            return await page(links, request, request.path_params["token"])
        except (LinkGoneError, PersonErasedError):
            return _gone(request, links)
        except Exception as error:
            if is_infrastructure(error):
                return _page("later", 503)
            raise

    return serve


def _gone(request: Request, links: Links) -> Response:
    """The same page whether there ever was such a link; the form leads to ``…/renew``."""
    token = request.path_params["token"]
    tail = request.url.path.rsplit("/", 1)[-1]
    known = TOKEN.fullmatch(token) is not None
    back = f"{token}/renew" if tail == token else "renew"
    return _page("gone", 404, renewable=known and links.mail is not None, back=back)


async def _landing(links: Links, request: Request, token: str) -> Response:
    if not await links.alive(token):
        raise LinkGoneError
    return _page("landing", 200, token=token)


async def _open(links: Links, request: Request, token: str) -> Response:
    return _shown(await links.open(token))


async def _answer(links: Links, request: Request, token: str) -> Response:
    form = await _form(request)
    if form is None:
        return _shown(await links.again(token), {}, _TOO_MUCH)
    try:
        await links.answer(token, form)
    except FormError as error:
        return _shown(await links.again(token), form, error)
    except tuple(_REFUSED) as refused:
        return _shown(await links.again(token), form, _REFUSED[type(refused)])
    except (StateChangedError, ForbiddenTransitionError):
        return _page("changed", 409)
    except DuplicateIdError:
        return _page("twice", 409)
    return _page("done", 200)


async def _renew(links: Links, request: Request, token: str) -> Response:
    await links.renew(token)
    return _page("renewed", 200)


def _shown(
    opened: Opened, form: dict[str, str] | None = None, error: FormError | None = None
) -> Response:
    return _page(
        "request",
        422 if error else 200,
        opened=opened,
        thematique=letters.label(opened.request.thematique),
        fields=[(FIELDS.get(name, name), in_words(v)) for name, v in opened.fields.items()],
        reasons=partner_reasons(),
        outcomes=OUTCOMES,
        appointment=letters.french_moment(opened.appointment_at)
        if opened.appointment_at
        else None,
        form=form or {},
        error=error,
    )


def in_words(value: Any) -> str:
    """A disclosed value as one says it in France."""
    if isinstance(value, bool):
        return "Oui" if value else "Non"
    text = str(value)
    if _DAY.fullmatch(text):
        return letters.french(date.fromisoformat(text))
    return VALUES.get(text, text)


def _page(name: str, status: int, **given: Any) -> Response:
    html = _environment.get_template(f"{name}.html").render(style=_STYLE, **given)
    return HTMLResponse(html, status, headers=HEADERS)


def _from_here(request: Request, base_url: str) -> bool:
    """Whether a form comes from our own page, as far as the browser says.

    ``null`` is what browsers say of a page that tells nobody where it was (RFC 6454 §7.3).
    """
    said = request.headers
    if site := said.get("sec-fetch-site"):
        return site in ("same-origin", "none")
    ours = {urlsplit(base_url).netloc, said.get("host")}
    origin = said.get("origin", "null")
    return origin == "null" or urlsplit(origin).netloc in ours


async def _form(request: Request) -> dict[str, str] | None:
    """The fields; None if there are more, or longer ones, than any of our pages sends."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return {}
    try:
        body = await bounded_body(request, MAX_FORM_BYTES, FORM_SECONDS)
    except BodyTooLargeError:
        return None
    text = body.decode("utf-8", "replace")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=40)
    except ValueError:
        return None
    # browsers end lines with two characters, and count them as one
    return {name: value.replace("\r\n", "\n") for name, value in pairs}
