"""Pages for partners without a system of their own: open a request, answer it.

Nothing personal stands in an address or on the first page.
"""

from functools import partial

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from contracts.labels import french_moment
from services.partners.handlers.answers import DuplicateIdError, StateChangedError
from services.partners.handlers.links import Links, Opened
from services.partners.handlers.tokens import ANSWER_PAGE, LinkGoneError
from services.partners.model import letters
from services.partners.model.answers import (
    AnswerFieldError,
    CommissionNotMetError,
    ForbiddenTransitionError,
    ReasonNotYoursError,
)
from services.partners.model.choices import OUTCOMES, FormError, partner_reasons
from services.partners.pages.magic_links import Page, form_of, mount_link_pages
from services.partners.pages.rendering import disclosed, heading_of, page

_TOO_MUCH = FormError("comment", "Le texte est trop long")
_REFUSED = {
    CommissionNotMetError: FormError("choice", "La commission n'a pas encore eu lieu"),
    ReasonNotYoursError: FormError("reason", "Choisissez un motif de la liste"),
}


_WRONG = {
    "appointment_at": "Indiquez une date à venir, d'ici un an",
    "no_capacity_until": "Indiquez une date à venir, avec le motif « Plus de place »",
}


def add_answer_pages(app: FastAPI, links: Links) -> None:
    """Mount the pages of a request behind its link."""

    async def landing(request: Request, token: str) -> Response:
        if not await links.alive(token):
            raise LinkGoneError
        return page("landing", 200, token=token)

    async def open_request(request: Request, token: str) -> Response:
        return _shown(await links.open(token))

    pages: dict[str, Page] = {
        "": landing,
        "open": open_request,
        "answer": partial(_answer, links),
    }
    mount_link_pages(app, ANSWER_PAGE, links, pages)


async def _answer(links: Links, request: Request, token: str) -> Response:
    form = await form_of(request)
    if form is None:
        return _shown(await links.again(token), {}, _TOO_MUCH)
    try:
        await links.answer(token, form)
    except FormError as error:
        return _shown(await links.again(token), form, error)
    except AnswerFieldError as error:
        wrong = _WRONG.get(error.field, "Cette valeur n'est pas valable")
        return _shown(await links.again(token), form, FormError(error.field, wrong))
    except tuple(_REFUSED) as refused:
        return _shown(await links.again(token), form, _REFUSED[type(refused)])
    except (StateChangedError, ForbiddenTransitionError):
        return page("changed", 409)
    except DuplicateIdError:
        return page("twice", 409)
    return page("done", 200)


def _shown(
    opened: Opened, form: dict[str, str] | None = None, error: FormError | None = None
) -> Response:
    return page(
        "request",
        422 if error else 200,
        opened=opened,
        thematique=letters.label(opened.request.thematique),
        heading=heading_of(opened.request.partner_kind),
        fields=disclosed(opened.fields),
        reasons=partner_reasons(),
        outcomes=OUTCOMES,
        appointment=french_moment(opened.appointment_at) if opened.appointment_at else None,
        form=form or {},
        error=error,
    )
