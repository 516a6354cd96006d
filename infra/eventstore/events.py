"""An event as it is stored, and the bytes of it that the audit log hashes."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from contracts.base import Event
from contracts.sizes import EventTooLargeError, check_size
from infra.base.clock import rfc3339
from infra.base.ids import new_event_id
from infra.tlog.commitment import DATA, HEADER, SEALED, commitment

HUB = "hub"
MAX_EVENT_BYTES = 896 * 1024
"""Of data, and sealed part in base64: a record holds them, far below what a topic takes."""
MAX_NAME = 1000
"""Characters of a stream, type or actor."""
MAX_ENTRY_BYTES = 256
"""Of the log's entry: three commitments, whatever the event is."""
UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What no name may hold: CloudEvents strings have no control characters, PostgreSQL no NUL."""


class UnreadableNameError(ValueError):
    """An event with a name that some reader would refuse: it is not written."""


@dataclass(frozen=True, slots=True)
class EventMetadata:
    """Who caused an event and which trace it belongs to; pseudonyms only.

    ``origin``: who acted from outside at the beginning, where the hub itself carried on.
    """

    actor: str = HUB
    causation_id: UUID | None = None
    correlation_id: UUID | None = None
    traceparent: str | None = None
    origin: str | None = None

    def json(self) -> str:
        """As stored in the ``meta`` column."""
        # default=str: asyncpg's UUIDs are a subclass that orjson does not know
        return orjson.dumps({k: getattr(self, k) for k in self.__slots__}, default=str).decode()

    @classmethod
    def parse(cls, text: str) -> "EventMetadata":
        """Read back what ``json`` wrote; raises ``ValueError`` or ``TypeError`` for another."""
        raw: dict[str, Any] = orjson.loads(text)
        if not all(isinstance(value, str | None) for value in raw.values()):
            raise ValueError("meta is not of texts")
        for name in ("causation_id", "correlation_id"):
            raw[name] = UUID(raw[name]) if raw.get(name) else None
        return cls(**raw)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event about to be appended; the personal part is already ciphertext."""

    type: str
    data: str
    occurred_at: datetime
    person_id: UUID | None = None
    sealed: bytes | None = None
    meta: EventMetadata = EventMetadata()
    event_id: UUID = field(default_factory=new_event_id)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was stored: what every subscriber receives, from a table or from Kafka.

    ``position`` rises in the order in which the events of one service were committed.
    ``salt`` and ``sealed_salt`` hide what the log's entry commits to: the clear parts, and the
    sealed one. ``sealed_commitment``: what the entry says of a personal part that is gone (its
    person was erased), so that the event stays the one that the log hashes.
    """

    service: str
    position: int
    event_id: UUID
    stream: str
    version: int
    type: str
    person_id: UUID | None
    occurred_at: datetime
    recorded_at: datetime
    data: str
    sealed: bytes | None
    meta: EventMetadata
    salt: bytes
    sealed_salt: bytes | None = None
    sealed_commitment: bytes | None = None

    @property
    def key(self) -> str:
        """What keeps events in order: the person, or the stream where there is none."""
        return str(self.person_id) if self.person_id else self.stream

    def require_readable(self) -> None:
        """Raise ``EventTooLargeError`` and ``UnreadableNameError`` for what a relay, a topic or
        a verifier would refuse."""
        sealed = len(self.sealed or b"") * 4 // 3
        if (
            4 * len(self.data) + sealed
            > MAX_EVENT_BYTES  # so many bytes at most: seldom counted
            and (size := len(self.data.encode()) + sealed) > MAX_EVENT_BYTES
        ):
            raise EventTooLargeError(self.type, size, MAX_EVENT_BYTES)
        names = self.stream, self.type, self.meta.actor
        if UNREADABLE.search("".join(names)) or any(len(name) > MAX_NAME for name in names):
            raise UnreadableNameError("an event with a name that nobody could read")

    def header(self) -> bytes:
        """Who, what and when, as the log's entry commits to it: the same bytes each time."""
        return header_bytes(
            {
                "service": self.service,
                "id": str(self.event_id),
                "stream": self.stream,
                "version": self.version,
                "type": self.type,
                "person": str(self.person_id) if self.person_id else None,
                "occurred_at": rfc3339(self.occurred_at),
                "recorded_at": rfc3339(self.recorded_at),
                "actor": self.meta.actor,
            }
        )

    def entry(self) -> bytes:
        """The canonical bytes that the audit log hashes (see ``entry_bytes``)."""
        return self.entry_with(self.committed_seal())

    def entry_with(self, seal: bytes | None) -> bytes:
        """``entry``, where ``committed_seal`` is at hand."""
        header = commitment(HEADER, self.salt, self.header())
        data = commitment(DATA, self.salt, self.data.encode())
        return entry_bytes(header, data, seal)

    def committed_seal(self) -> bytes | None:
        """What the entry says of the personal part, there or gone; None if there never was."""
        if self.sealed is None:
            return self.sealed_commitment
        return commitment(SEALED, self.sealed_salt or b"", self.sealed)

    def stripped(self) -> "StoredEvent":
        """Without its personal part and that part's salt; what was committed to stays."""
        kept = self.committed_seal()
        return replace(self, sealed=None, sealed_salt=None, sealed_commitment=kept)

    @property
    def author(self) -> str | None:
        """Who caused this from outside; None: the hub did, of its own accord."""
        if self.meta.origin or self.meta.actor.partition(":")[0] == HUB:
            return self.meta.origin
        return self.meta.actor

    def caused(self, actor: str = HUB) -> EventMetadata:
        """The meta of an event that this one causes."""
        return EventMetadata(
            actor=actor,
            origin=self.author,
            causation_id=self.event_id,
            correlation_id=self.meta.correlation_id or self.event_id,
            traceparent=self.meta.traceparent,
        )


def new_event(
    event: Event,
    occurred_at: datetime,
    person_id: UUID | None,
    meta: EventMetadata,
    sealed: bytes | None = None,
    event_id: UUID | None = None,
) -> NewEvent:
    """A contract event, ready to be appended.

    Raises ``EventTooLargeError`` for one that is larger than its type may be: whatever is
    stored, every reader takes.
    """
    clear = event.clear_json()
    check_size(event.type, clear, sealed)
    return NewEvent(
        type=event.type,
        data=clear.decode(),
        occurred_at=occurred_at,
        person_id=person_id,
        sealed=sealed,
        meta=meta,
        event_id=event_id or new_event_id(),
    )


def entry_bytes(header: bytes, data: bytes, sealed: bytes | None) -> bytes:
    """Canonical log entry: fixed field order, commitments only.

    It names no person, stream, type, actor or moment, and nothing in it can be guessed open
    without the event's salts (docs/adr/0007).
    """
    return orjson.dumps(
        {
            "v": 1,
            "header": header.hex(),
            "data": data.hex(),
            "sealed": sealed.hex() if sealed else None,
        }
    )


def header_bytes(header: dict[str, Any]) -> bytes:
    """A header as it is committed to: compact JSON, fields in their order."""
    return orjson.dumps(header)
