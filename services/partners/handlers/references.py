"""A partner's own number of a person's file, kept sealed with the referral that it is about."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from contracts.base import Event
from contracts.referrals import ReferralMoved
from contracts.registry import parse_event
from infra.eventstore.events import StoredEvent
from infra.eventstore.sealed import unseal
from infra.keys.master_key import CannotUnsealError
from infra.keys.vault import PersonKey, Vault
from infra.postgres.transaction import Transaction
from services.partners.model.partner_text import reference_in, speaks
from services.partners.tables import statements

_SEALED_AS = "partner-reference"


def seal_reference(person: PersonKey, referral_id: UUID, reference: str) -> bytes:
    """Return the number as stored: for this referral only; it dies with the person's key."""
    return person.seal(referral_id, _SEALED_AS, reference.encode())


def open_reference(person: PersonKey, referral_id: UUID, sealed: bytes | None) -> str | None:
    """Return the number, if the partner ever gave one."""
    return person.unseal(referral_id, _SEALED_AS, sealed).decode() if sealed else None


async def opened(
    vault: Vault, events: Sequence[tuple[StoredEvent, Event]]
) -> list[tuple[StoredEvent, Event]]:
    """Return the events with what partners wrote, as far as its persons have a key."""
    parts = await unseal(vault, [m for m, event in events if speaks(event)])
    return [
        (m, parse_event(m.type, m.data, parts[m.event_id]) if m.event_id in parts else event)
        for m, event in events
    ]


async def keep_references(
    tx: Transaction, vault: Vault, events: Sequence[tuple[StoredEvent, Event]]
) -> None:
    """Keep the partner's number of the file, where an adviser typed it in."""
    typed = await opened(vault, [(m, e) for m, e in events if m.sealed and speaks(e)])
    keys = await vault.keys({m.person_id for m, _ in typed if m.person_id})
    sealed = {}
    for message, event in typed:
        assert isinstance(event, ReferralMoved)
        reference = reference_in(event)
        if reference and message.person_id in keys:
            key = keys[message.person_id]
            sealed[event.referral_id] = seal_reference(key, event.referral_id, reference)
    if sealed:
        await tx.execute(statements.KEEP_REFERENCES, list(sealed), list(sealed.values()))


async def same_references(vault: Vault, rows: Sequence[Any]) -> list[bool]:
    """Return whether a live row's number is a rebuilt one's (``rebuilt``), row by row."""
    pairs = [
        (r["person_id"], r["referral_id"], r["partner_reference"], r["rebuilt"]) for r in rows
    ]
    keys = await vault.keys({person_id for person_id, *_ in pairs})

    def same(person_id: UUID, referral_id: UUID, *sealed: bytes | None) -> bool:
        if (person := keys.get(person_id)) is None:
            return True  # being erased: nothing opens any more, and the row goes soon
        try:
            live, rebuilt = (open_reference(person, referral_id, part) for part in sealed)
        except CannotUnsealError:
            return False
        return live == rebuilt

    return [same(*pair) for pair in pairs]
