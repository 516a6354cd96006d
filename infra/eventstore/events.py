"""An event as it is stored, and the bytes of it that the audit log hashes."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from contracts.base import Event
from infra.ids import new_event_id

HUB = "hub"
MAX_ENTRY_BYTES = 65_535
"""C2SP tlog-tiles: an entry bundle prefixes each entry with its length in 16 bits."""


@dataclass(frozen=True, slots=True)
class Meta:
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
    def parse(cls, text: str) -> "Meta":
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
    meta: Meta = Meta()
    event_id: UUID = field(default_factory=new_event_id)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it was stored: what every subscriber receives, from a table or from Kafka.

    ``position`` rises in the order in which the events of one service were committed.
    ``sealed_sha256``: digest of a personal part that is gone (its person was erased), so that
    the event stays the one that the log hashes.
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
    meta: Meta
    sealed_sha256: bytes | None = None

    @property
    def key(self) -> str:
        """What keeps events in order: the person, or the stream where there is none."""
        return str(self.person_id) if self.person_id else self.stream

    def entry(self) -> bytes:
        """The canonical bytes that the audit log hashes (see ``entry_bytes``)."""
        return entry_bytes(self.service, self)

    def stripped(self) -> "Recorded":
        """Without its personal part, of which the digest stays."""
        digest = self.sealed_sha256 or sealed_digest(self.sealed)
        return replace(self, sealed=None, sealed_sha256=digest)

    @property
    def author(self) -> str | None:
        """Who caused this from outside; None: the hub did, of its own accord."""
        if self.meta.origin or self.meta.actor.partition(":")[0] == HUB:
            return self.meta.origin
        return self.meta.actor

    def caused(self, actor: str = HUB) -> Meta:
        """The meta of an event that this one causes."""
        return Meta(
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
    meta: Meta,
    sealed: bytes | None = None,
    event_id: UUID | None = None,
) -> NewEvent:
    """A contract event, ready to be appended."""
    return NewEvent(
        type=event.type,
        data=event.clear_json().decode(),
        occurred_at=occurred_at,
        person_id=person_id,
        sealed=sealed,
        meta=meta,
        event_id=event_id or new_event_id(),
    )


def sealed_digest(sealed: bytes | None) -> bytes | None:
    """SHA-256 of a personal part as stored; None where there is none."""
    return hashlib.sha256(sealed).digest() if sealed else None


def rfc3339(moment: datetime) -> str:
    """UTC with microseconds and Z: one text for one instant.

    Total, because it is asked of whatever is stored: what has no zone is UTC (so the driver
    reads PostgreSQL's infinities), and what lies beyond the calendar is its end.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        utc = moment.astimezone(UTC)
    except (OverflowError, ValueError):
        end = datetime.min if moment.year == 1 else datetime.max  # noqa: DTZ901
        utc = end.replace(tzinfo=UTC)
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def entry_bytes(service: str, event: Recorded) -> bytes:
    """Canonical log entry, version 1: fixed field order, digests only.

    Never a digest of clear personal data: ``sealed`` is ciphertext under a key that erasure
    destroys, so its digest says nothing afterwards (reference: eventsourcing §3, §4).
    """
    digest = event.sealed_sha256 or sealed_digest(event.sealed)
    return orjson.dumps(
        {
            "v": 1,
            "service": service,
            "id": str(event.event_id),
            "stream": event.stream,
            "version": event.version,
            "type": event.type,
            "person": str(event.person_id) if event.person_id else None,
            "occurred_at": rfc3339(event.occurred_at),
            "recorded_at": rfc3339(event.recorded_at),
            "actor": event.meta.actor,
            "data_sha256": hashlib.sha256(event.data.encode()).hexdigest(),
            "sealed_sha256": digest.hex() if digest else None,
        }
    )


def header_of(service: str, row: Any) -> dict[str, Any]:
    """The columns of a stored event, named and written as in its entry (``entry_bytes``)."""
    return {
        "service": service,
        "id": str(row["event_id"]),
        "stream": row["stream"],
        "version": row["version"],
        "type": row["type"],
        "person": str(row["person_id"]) if row["person_id"] else None,
        "occurred_at": rfc3339(row["occurred_at"]),
        "recorded_at": rfc3339(row["recorded_at"]),
        "actor": row["actor"],
    }
