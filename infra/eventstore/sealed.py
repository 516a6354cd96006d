"""Opens the sealed parts of events (docs/adr/0005)."""

from collections.abc import Sequence
from uuid import UUID

from infra.eventstore.events import StoredEvent
from infra.keys.vault import Vault


async def unseal(vault: Vault, events: Sequence[StoredEvent]) -> dict[UUID, bytes]:
    """Personal parts by event id, of events that have one and whose person still has a key."""
    sealed = [e for e in events if e.sealed and e.person_id]
    keys = await vault.keys({e.person_id for e in sealed if e.person_id})
    return {
        e.event_id: keys[e.person_id].unseal(e.event_id, e.type, e.sealed)
        for e in sealed
        if e.person_id in keys and e.sealed
    }
