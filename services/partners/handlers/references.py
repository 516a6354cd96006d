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
    """As stored: it opens for this referral only, and dies with the person's key."""
    return person.seal(referral_id, _SEALED_AS, reference.encode())


def open_reference(person: PersonKey, referral_id: UUID, sealed: bytes | None) -> str | None:
    """The number, if the partner ever gave one."""
    return person.unseal(referral_id, _SEALED_AS, sealed).decode() if sealed else None


async def opened(
    vault: Vault, events: Sequence[tuple[StoredEvent, Event]]
) -> list[tuple[StoredEvent, Event]]:
    """The same events, with what partners wrote, as far as its persons have a key."""
    parts = await unseal(vault, [m for m, event in events if speaks(event)])
    return [
        (m, parse_event(m.type, m.data, parts[m.event_id]) if m.event_id in parts else event)
        for m, event in events
    ]


async def keep_references(
    tx: Transaction, vault: Vault, heard: Sequence[tuple[StoredEvent, Event]]
) -> None:
    """The partner's number of the file, where an adviser typed it in."""
    typed = await opened(vault, [(m, e) for m, e in heard if m.sealed and speaks(e)])
    keys = await vault.keys({m.person_id for m, _ in typed if m.person_id})
    found = {}
    for message, event in typed:
        assert isinstance(event, ReferralMoved)
        said = reference_in(event)
        if said and message.person_id in keys:
            key = keys[message.person_id]
            found[event.referral_id] = seal_reference(key, event.referral_id, said)
    if found:
        await tx.execute(statements.KEEP_REFERENCES, list(found), list(found.values()))


async def same_references(vault: Vault, rows: Sequence[Any]) -> list[bool]:
    """Whether a live row's number and a rebuilt one's (``told``) are the same, row by row."""
    keys = await vault.keys({row["person_id"] for row in rows})
    return [_same(keys.get(row["person_id"]), row) for row in rows]


def _same(person: PersonKey | None, row: Any) -> bool:
    if person is None:  # being erased: nothing opens any more, and the row goes soon
        return True
    sealed = row["partner_reference"], row["told"]
    try:
        now, told = (open_reference(person, row["referral_id"], part) for part in sealed)
    except CannotUnsealError:
        return False
    return now == told
