"""Contact of a partner on a sheet for advisers: whom to call, and where. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Contact:
    """A partner's service as the directory lists it; what it does not list is None."""

    partner: str
    service: str
    person: str | None = None
    phone: str | None = None
    email: str | None = None
    address: str | None = None
    opening: str | None = None


def contact_of(
    partner: str, service: str, listed: Mapping[str, Any], structure: Mapping[str, Any]
) -> Contact:
    """Return the contact of the service as ``listed``, else of its structure."""

    def first(name: str) -> str | None:
        return listed.get(name) or structure.get(name) or None

    return Contact(
        partner=partner,
        service=service,
        person=listed.get("contact_nom_prenom") or None,
        phone=first("telephone"),
        email=first("courriel"),
        address=_address(listed) or _address(structure),
        opening=first("horaires_accueil"),
    )


def _address(listed: Mapping[str, Any]) -> str | None:
    """Return the address in one line, if more than the commune is known."""
    if not listed.get("adresse"):
        return None
    town = " ".join(filter(None, (listed.get("code_postal"), listed.get("commune"))))
    lines = (listed["adresse"], listed.get("complement_adresse"), town)
    return ", ".join(line for line in lines if line)
