"""Messages that advisers hand over: the list of the day, sheets to print, results."""

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import StringConstraints

from contracts.base import Strict
from contracts.checks.nir import find_nir
from contracts.public import Ref
from contracts.types import Words
from contracts.values import HandedTo, HandOver
from infra.web.problems import (
    ABOUT_PERSON,
    AgreementMissing,
    NirRefused,
    raises,
)
from infra.web.request_meta import metadata_of
from services.partners.handlers.manual import (
    HandedOver,
    Manual,
)
from services.partners.model.choices import partner_reasons
from services.partners.pages.sheets import sheet_page
from services.partners.problems import NotByHand
from services.partners.routes.callers import Adviser
from services.partners.routes.models import (
    AnswerChoice,
    ManualDelivery,
    ManualList,
    MessageSheet,
    PartnerContact,
)
from services.partners.routes.problems import refusing_hand_overs

Note = Annotated[Words, StringConstraints(min_length=1, max_length=1000)]
_HTML: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}}
}


class HandOverReport(Strict):
    """How a message was handed over, and to whom as a role; the note is sealed."""

    by: HandOver
    to: HandedTo
    note: Note | None = None


class CallReport(Strict):
    """A call in vain; the note is sealed."""

    note: Note | None = None


def add(routes: APIRouter, manual: Manual) -> None:
    """Add the advisers' routes."""
    _add_reading(routes, manual)
    _add_reports(routes, manual)


def _add_reading(routes: APIRouter, manual: Manual) -> None:
    @routes.get("/manual", tags=["manual"])
    async def list_manual(adviser: Adviser, partner_id: Ref | None = None) -> ManualList:
        """What waits to be handed over, urgent first, and what was handed over today."""
        return ManualList(**await manual.listed(partner_id))

    @routes.get(
        "/manual/{delivery_id}/sheet",
        tags=["manual"],
        responses=_HTML,
        response_model=MessageSheet,
    )
    @raises(*ABOUT_PERSON, AgreementMissing, NotByHand)
    async def open_sheet(
        request: Request, adviser: Adviser, delivery_id: UUID
    ) -> Response | MessageSheet:
        """Whom to call and what to say: JSON, or a page to print with `Accept: text/html`.

        Who looked is an event of the person's pathway.
        """
        with refusing_hand_overs():
            sheet = await manual.open(delivery_id, metadata_of(request, adviser.actor))
        if "text/html" in request.headers.get("accept", ""):
            return sheet_page(sheet)
        shown: dict[str, Any] = {"data": sheet.data}  # composed from the models that it names
        return MessageSheet(
            delivery_id=sheet.delivery_id,
            message=sheet.message,
            contact=PartnerContact(**asdict(sheet.contact)),
            answers=[
                AnswerChoice(code=c.code, words=c.label, fields=list(c.fields))
                for c in sheet.choices
            ],
            reasons=dict(partner_reasons()) if sheet.choices else {},
            **shown,
        )


def _add_reports(routes: APIRouter, manual: Manual) -> None:
    @routes.post("/manual/{delivery_id}/handed-over", tags=["manual"])
    @raises(*ABOUT_PERSON, AgreementMissing, NirRefused, NotByHand)
    async def handed_over(
        request: Request, adviser: Adviser, delivery_id: UUID, body: HandOverReport
    ) -> ManualDelivery:
        """The partner has the message: by phone, on paper, in person."""
        _check_note(body.note)
        handed = HandedOver(body.by, body.to, body.note)
        with refusing_hand_overs():
            await manual.hand_over(delivery_id, handed, metadata_of(request, adviser.actor))
        return ManualDelivery(delivery_id=delivery_id, state="succeeded")

    @routes.post("/manual/{delivery_id}/unreached", tags=["manual"])
    @raises(*ABOUT_PERSON, AgreementMissing, NirRefused, NotByHand)
    async def unreached(
        request: Request, adviser: Adviser, delivery_id: UUID, body: CallReport
    ) -> ManualDelivery:
        """Nobody was reached: the message stays on the list, the call is kept."""
        _check_note(body.note)
        cause = metadata_of(request, adviser.actor)
        with refusing_hand_overs():
            await manual.nobody_reached(delivery_id, body.note, cause)
        return ManualDelivery(delivery_id=delivery_id, state="manual")


def _check_note(note: str | None) -> None:
    if find_nir({"note": note}) is not None:
        raise NirRefused.at("note", "must not hold a NIR")
