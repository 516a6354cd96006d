"""French names of fields, values and partners, the same on every page and sheet."""

import re
from datetime import date, datetime
from typing import Any

from contracts import fields
from contracts.days import PARIS
from contracts.kinds import KINDS

FIELDS = {name: entry.label for name, entry in fields.FIELDS.items()}
VALUES = {code: text for entry in fields.FIELDS.values() for code, text in entry.values.items()}
PARTNERS = {kind: entry.label for kind, entry in KINDS.items()}
_DAY = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")


def field(name: str) -> str:
    """Return a field as a heading."""
    return FIELDS.get(name, name)


def format_value(value: Any) -> str:
    """Return a value in French; one without a French name as it stands."""
    if isinstance(value, bool):
        return "Oui" if value else "Non"
    text = str(value)
    if _DAY.fullmatch(text):
        return french(date.fromisoformat(text))
    return VALUES.get(text, text)


def french(day: date) -> str:
    """Return a day as one writes it in France."""
    return f"{day:%d/%m/%Y}"


def french_moment(at: datetime) -> str:
    """Return a moment as one writes it in France, by the clock there."""
    local = at.astimezone(PARIS)
    return f"{french(local)} à {local.hour} h {local.minute:02d}"
