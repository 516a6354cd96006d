"""What a sheet for an adviser shows of the partner: whom to call, and where. Pure."""

from collections.abc import Iterator, Mapping
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
    """Of the service as it is ``listed`` (data·inclusion), else of its structure."""

    def told(name: str) -> str | None:
        return listed.get(name) or structure.get(name) or None

    return Contact(
        partner,
        service,
        listed.get("contact_nom_prenom") or None,
        told("telephone"),
        told("courriel"),
        _address(listed) or _address(structure),
        told("horaires_accueil"),
    )


def _address(listed: Mapping[str, Any]) -> str | None:
    """In one line, if more than the commune is known."""
    if not listed.get("adresse"):
        return None
    return ", ".join(_lines(listed))


def _lines(listed: Mapping[str, Any]) -> Iterator[str]:
    yield listed["adresse"]
    if listed.get("complement_adresse"):
        yield listed["complement_adresse"]
    town = " ".join(filter(None, (listed.get("code_postal"), listed.get("commune"))))
    if town:
        yield town
