"""Reasons for which a public event is not taken: the same by HTTP and from Kafka."""

from collections.abc import Sequence
from enum import StrEnum

from infra.base.field_errors import FieldError


class Reason(StrEnum):
    """The published name of a reason: a problem's slug, and what is kept with a record."""

    DUPLICATE_ID = "duplicate-id"
    INTERNAL = "internal"
    INVALID = "invalid"
    MALFORMED = "malformed"
    NIR_REFUSED = "nir-refused"
    PERSON_ERASED = "person-erased"
    SOURCE_NOT_ALLOWED = "source-not-allowed"
    TOO_LARGE = "too-large"
    UNKNOWN_AGREEMENT = "unknown-agreement"
    UNKNOWN_PERSON = "unknown-person"
    UNKNOWN_TYPE = "unknown-type"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"


class NotTakenError(Exception):
    """An event is not taken: the reason, and the fields at fault.

    A text is empty where the reason says enough; none quotes a value that was sent.
    """

    def __init__(
        self, reason: Reason, detail: str = "", errors: Sequence[FieldError] = ()
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.errors = errors

    @classmethod
    def at(cls, reason: Reason, field: str, detail: str = "") -> "NotTakenError":
        """Return an error with one field at fault."""
        return cls(reason, errors=[FieldError(field, detail)])
