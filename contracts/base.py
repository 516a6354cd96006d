"""What every contract has in common.

Published schemas are closed (``additionalProperties: false``); readers are tolerant: a field
that a newer writer added is ignored, never refused.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

TYPE_PREFIX = "fr.aiguillage."
SCHEMA_BASE = "https://aiguillage.fr/schemas/"


def _closed(schema: dict[str, Any]) -> None:
    schema["additionalProperties"] = False


class Contract(BaseModel):
    """A value that travels between services; immutable, unknown fields ignored on reading."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra=_closed)


class Strict(BaseModel):
    """A value that a stranger sends us: unknown fields are refused, so typing errors show."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Answered(BaseModel):
    """What an operation of an API answers, field by field.

    A field that is not named here is a fault of ours and fails; it is never dropped in
    silence. To readers the answer stays open: it may gain fields (``infra.web.openapi``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sealed(Contract):
    """The part of an event that says something about the person; stored encrypted only."""


class Event(Contract):
    """A fact of one service: the clear part is the model's own fields, the rest is sealed.

    ``type`` is the CloudEvents type. A subclass that knows something personal declares
    ``sealed: SomeSealed | None``; it is never part of the clear JSON.
    """

    type: ClassVar[str]
    sealed: Sealed | None = None

    def clear_json(self) -> bytes:
        """Return the clear part as the JSON bytes that are stored, hashed and published."""
        return self.model_dump_json(exclude={"sealed"}, exclude_none=True).encode()

    def sealed_json(self) -> bytes | None:
        """Return the personal part as JSON bytes, to be sealed; None if there is none."""
        if self.sealed is None:
            return None
        return self.sealed.model_dump_json(exclude_none=True).encode()


def dataschema(event_type: str) -> str:
    """Return the absolute URI of the JSON Schema of an event's clear part."""
    return f"{SCHEMA_BASE}{event_type}.json"
