"""Telephone numbers in one form (E.164), and France Travail's numbers in theirs.

However a number was written, it is kept as ``+33612345678``: so two systems' numbers are one.
The numbers of overseas départements are dialled like those of the mainland (0690…), and often
written with its code; they belong to their own (+590 690…).
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, ValidationInfo

FRANCE = 33
_WRITTEN = re.compile(r"[\d\s+()./‐-―·-]*")
_OVERSEAS = {
    **dict.fromkeys(("590", "690", "691"), "590"),  # Guadeloupe, Saint-Martin, Saint-Barthélemy
    **dict.fromkeys(("594", "694"), "594"),  # Guyane
    **dict.fromkeys(("596", "696", "697"), "596"),  # Martinique
    **dict.fromkeys(("262", "263", "269", "639", "692", "693"), "262"),  # La Réunion, Mayotte
}
"""First digits of a French number (Arcep's plan) → the country code that it has."""
_SAINT_PIERRE = "508"
"""Saint-Pierre-et-Miquelon: its code is dialled like the first digits of a number of France."""
_FRANCE_TRAVAIL = re.compile(r"[0-9]{7}[0-9A-Z]|[0-9]{11}")


def e164(text: str) -> str:
    """Return a telephone number, as written here or abroad, in E.164; or ``ValueError``.

    Whether the number is in use is not asked: blocks are opened every year.
    """
    import phonenumbers  # few commands see a number

    written = unicodedata.normalize("NFKC", text).strip()
    if not _WRITTEN.fullmatch(written):
        raise ValueError("must be a telephone number")
    try:
        number = phonenumbers.parse(written, "FR")
    except phonenumbers.NumberParseException:
        raise ValueError("must be a telephone number") from None
    if not phonenumbers.is_possible_number(number):
        raise ValueError("must be a whole telephone number, abroad with the country's code")
    national = phonenumbers.national_significant_number(number)
    if number.country_code == FRANCE and len(national) == 9:
        if national.startswith(_SAINT_PIERRE):
            return f"+{national}"
        if code := _OVERSEAS.get(national[:3]):
            return f"+{code}{national}"
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def france_travail_number(text: str) -> str:
    """Return France Travail's number of a person without blanks.

    It has 7 digits and one more, or a letter; today's have 11 digits. Raises ``ValueError``.
    """
    number = re.sub(r"\s", "", unicodedata.normalize("NFKC", text)).upper()
    if not _FRANCE_TRAVAIL.fullmatch(number):
        raise ValueError("must be 7 digits and a digit or letter, or 11 digits")
    return number


def _read_by(read: Callable[[str], str]) -> AfterValidator:
    """Read what comes from outside; what comes from our own log stands as it was read."""

    def validated(text: str, info: ValidationInfo) -> str:
        return text if info.context and info.context.get("stored") else read(text)

    return AfterValidator(validated)


Phone = Annotated[str, StringConstraints(max_length=40), _read_by(e164)]
"""A telephone number, kept in E.164."""
FranceTravailNumber = Annotated[
    str, StringConstraints(max_length=40), _read_by(france_travail_number)
]
"""France Travail's number of a person, in either of its forms."""
