"""From contract events to stored ones: seal the personal part, append, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from contracts.base import Event
from infra.base.clock import Clock
from infra.base.ids import new_event_id
from infra.eventstore.events import EventMetadata, NewEvent, StoredEvent, new_event
from infra.eventstore.store import ANY, Append, EventStore
from infra.keys.vault import PersonErasedError, PersonKey, Vault
from infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Pending:
    """Events decided for one stream, not yet sealed."""

    stream: str
    events: Sequence[Event]
    person_id: UUID | None = None
    meta: EventMetadata = field(default_factory=EventMetadata)
    expected: int = ANY
    occurred_at: datetime | None = None


class Writer:
    """Seals and appends for one service."""

    def __init__(self, service: str, vault: Vault, clock: Clock) -> None:
        self.store = EventStore(service)
        self.vault = vault
        self._clock = clock

    async def write(
        self,
        tx: Transaction,
        pending: Sequence[Pending],
        *,
        new_persons: bool = False,
        recorded_at: datetime | None = None,
    ) -> list[StoredEvent]:
        """Append in one statement, last in the transaction.

        ``new_persons``: create the keys of persons who have none (the intake only).
        ``recorded_at``: now, if the caller already looked at the clock.
        Raises ``ConcurrencyError``; ``EventTooLargeError`` for what no reader would take; and
        ``PersonErasedError`` where something personal would have to be sealed for a person
        whose key is gone.
        """
        persons = {
            p.person_id for p in pending if p.person_id and any(e.sealed for e in p.events)
        }
        keys: dict[UUID, PersonKey] = {}
        if persons:
            fetch = self.vault.ensure if new_persons else self.vault.keys
            keys = await fetch(persons)
        now = recorded_at or self._clock()
        appends = [
            Append(p.stream, [_sealed(e, p, keys, now) for e in p.events], p.expected)
            for p in pending
            if p.events
        ]
        return await self.store.append(tx, appends, now)


def _sealed(
    event: Event, pending: Pending, keys: dict[UUID, PersonKey], now: datetime
) -> NewEvent:
    event_id, sealed = new_event_id(), None
    clear = event.sealed_json()
    if clear is not None:
        if pending.person_id is None or pending.person_id not in keys:
            raise PersonErasedError(f"no key to seal {event.type}")
        sealed = keys[pending.person_id].seal(event_id, event.type, clear)
    occurred = pending.occurred_at or now
    return new_event(
        event, occurred, pending.person_id, pending.meta, sealed=sealed, event_id=event_id
    )
