"""A partner's own number of a person's file, kept sealed with the referral that it is about."""

from uuid import UUID

from infra.vault import PersonKey

_SEALED_AS = "partner-reference"


def seal_reference(person: PersonKey, referral_id: UUID, reference: str) -> bytes:
    """As stored: it opens for this referral only, and dies with the person's key."""
    return person.seal(referral_id, _SEALED_AS, reference.encode())


def open_reference(person: PersonKey, referral_id: UUID, sealed: bytes | None) -> str | None:
    """The number, if the partner ever gave one."""
    return person.unseal(referral_id, _SEALED_AS, sealed).decode() if sealed else None
