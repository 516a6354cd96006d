"""A page on which a partner says whether a service has room; nothing on it is personal."""

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.partners.handlers.capacity import CapacityLinks
from services.partners.handlers.tokens import CAPACITY_PAGE
from services.partners.model.capacity import CAPACITY
from services.partners.model.choices import FormError
from services.partners.pages.magic_links import form_of, mount_link_pages
from services.partners.pages.rendering import page


def add_capacity_pages(app: FastAPI, links: CapacityLinks) -> None:
    """Mount the pages of a report behind its link."""

    async def form(request: Request, token: str) -> Response:
        return await _shown(links, token, f"{token}/report")

    async def report(request: Request, token: str) -> Response:
        fields = await form_of(request) or {}
        try:
            await links.report(token, fields)
        except FormError as error:
            return await _shown(links, token, "report", fields, error)
        return page("reported", 200)

    mount_link_pages(app, CAPACITY_PAGE, links, {"": form, "report": report})


async def _shown(
    links: CapacityLinks,
    token: str,
    action: str,
    form: dict[str, str] | None = None,
    error: FormError | None = None,
) -> Response:
    return page(
        "capacity",
        422 if error else 200,
        asked=await links.shown(token),
        action=action,
        choices=CAPACITY,
        form=form or {},
        error=error,
    )
