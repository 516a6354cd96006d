"""Capacity of a service as its partner reports it: as JSON, or on a form. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from contracts.base import Strict
from contracts.days import local_day
from contracts.types import AheadDay, AheadMoment, read_local
from contracts.values import CapacityStatus
from services.partners.model.choices import FormError

CAPACITY = {
    CapacityStatus.CAPACITY: "Il y a de la place",
    CapacityStatus.WAITLIST: "Liste d'attente",
    CapacityStatus.NO_CAPACITY: "Plus de place",
}
_WRONG = {
    "status": "Choisissez une réponse",
    "seats": "Ce nombre ne va pas avec la réponse",
    "until": "Indiquez une date valable",
    "sessions": "Indiquez une date et une heure valables",
}


class CapacityReport(Strict):
    """Whether a service takes people now, and until when that is known."""

    status: CapacityStatus
    seats: int | None = Field(None, ge=0, le=10_000, description="Free places.")
    until: AheadDay | None = Field(None, description="Last day on which this holds.")
    sessions: Annotated[list[AheadMoment], Field(max_length=10)] = Field(
        [], description="The next information sessions, to which people may be sent."
    )

    @field_validator("seats")
    @classmethod
    def _agrees(cls, seats: int | None, about: ValidationInfo) -> int | None:
        status = about.data.get("status")
        if seats and status is CapacityStatus.NO_CAPACITY:
            raise ValueError("no-capacity has no free places")
        if seats == 0 and status is CapacityStatus.CAPACITY:
            raise ValueError("capacity has a free place at least: say waitlist or no-capacity")
        return seats

    def over(self, now: datetime) -> str | None:
        """Return the field that speaks of the past, if one does."""
        if self.until and self.until < local_day(now):
            return "until"
        return "sessions" if any(session < now for session in self.sessions) else None


def reported(form: Mapping[str, str]) -> CapacityReport:
    """Return the report that a form stands for; raises ``FormError`` naming a field."""
    values: dict[str, Any] = {
        name: text for name in ("status", "seats", "until") if (text := _text(form, name))
    }
    try:
        if session := _text(form, "sessions"):
            values["sessions"] = [read_local(session)]
    except ValueError as error:
        raise FormError("sessions", _WRONG["sessions"]) from error
    try:
        return CapacityReport.model_validate(values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise FormError(name, _WRONG.get(name, "Cette valeur n'est pas valable")) from error


def _text(form: Mapping[str, str], name: str) -> str:
    return form.get(name, "").strip()
