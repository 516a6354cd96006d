"""Fields at fault in what was sent: their names and what is wrong, never a value."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MOST_ERRORS, MOST_NAME = 100, 64
"""How many fields at fault are named, and how many characters of a name."""


class FieldError(NamedTuple):
    """A field at fault, by its path, and what is wrong with it."""

    field: str
    detail: str = ""


def field_errors(invalid: Sequence[Mapping[str, Any]], prefix: str = "") -> list[FieldError]:
    """Name the fields of pydantic's errors; a name, too, may be a stranger's, and is cut."""
    errors = []
    for item in invalid[:MOST_ERRORS]:
        parts = [str(part) for part in item["loc"]]
        path = [part if len(part) <= MOST_NAME else f"{part[:MOST_NAME]}…" for part in parts]
        field = ".".join([prefix, *path] if prefix else path)
        errors.append(FieldError(field, item["msg"].removeprefix("Value error, ")))
    return errors
