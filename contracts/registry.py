"""Every event type we know, by its CloudEvents type."""

from typing import cast, get_args

from contracts import erasure, intake, partners, referrals, rights
from contracts.base import Event, Sealed
from contracts.types import STORED

SERVICES = ("intake", "referrals", "partners", "audit")

EVENT_TYPES: dict[str, type[Event]] = {
    event.type: event
    for event in (
        *intake.EVENTS,
        *referrals.EVENTS,
        *partners.EVENTS,
        *rights.EVENTS,
        *erasure.EVENTS,
    )
}


def parse_event(event_type: str, data: bytes | str, sealed: bytes | None = None) -> Event:
    """Read a stored event back, with its personal part if the caller could unseal it.

    Raises ``KeyError`` for a type nobody knows and pydantic's ``ValidationError`` for data
    that do not fit it.
    """
    model = EVENT_TYPES[event_type]
    event = model.model_validate_json(data, context=STORED)
    if sealed is None:
        return event
    part = sealed_model(model).model_validate_json(sealed, context=STORED)
    return event.model_copy(update={"sealed": part})


def sealed_model(model: type[Event]) -> type[Sealed]:
    """Return the model of an event type's sealed part."""
    part, _none = get_args(model.model_fields["sealed"].annotation)
    return cast(type[Sealed], part)
