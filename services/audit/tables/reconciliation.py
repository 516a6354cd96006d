"""SQL of the comparison of the log with what every service wrote, and its rows."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from infra.base.clock import rfc3339

_COLUMNS = (
    "position, event_id, stream, version, type, person_id, occurred_at, recorded_at, "
    "data::text AS data, sealed, salt, sealed_salt, entry"
)
APPLIED = "SELECT position FROM offsets WHERE subscription = $1"
EVENTS = f"SELECT {_COLUMNS}, meta->>'actor' FROM {{}}.events ORDER BY position"
VERSIONS = "SELECT stream, version FROM {}.events ORDER BY stream, version"
ENTRIES = f"SELECT {_COLUMNS}, actor, header, service, idx, leaf_hash FROM entries ORDER BY idx"
IN_LOG = (
    "SELECT event_id, service, position, header, entry FROM entries WHERE event_id = ANY($1)"
)
IN_EVENTS = "SELECT event_id FROM {}.events WHERE event_id = ANY($1)"
PARKED = "SELECT position FROM dead_letters WHERE subscription = $1 AND position = ANY($2)"
NODES = (
    "SELECT n.level, n.idx, n.hash FROM nodes n "
    "JOIN unnest($1::int[], $2::bigint[]) AS w (level, idx) USING (level, idx)"
)
COUNT_NODES = "SELECT count(*) FROM nodes"
STREAMS = """
SELECT service, stream, s.version AS known, e.version AS logged
FROM streams s FULL JOIN (
  SELECT service, stream, max(version) AS version FROM entries GROUP BY service, stream
) e USING (service, stream)
WHERE s.version IS DISTINCT FROM e.version ORDER BY service, stream
"""


class Row(NamedTuple):
    """An event as its service stores it, or, with an index, as the log does."""

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
    salt: bytes
    sealed_salt: bytes | None
    entry: bytes
    actor: str
    header: bytes | None = None
    service: str = ""
    idx: int = -1
    leaf_hash: bytes = b""

    def fields(self, service: str) -> dict[str, Any]:
        """Return the columns that are named and written as in the event's header."""
        return {
            "service": service,
            "id": str(self.event_id),
            "stream": self.stream,
            "version": self.version,
            "type": self.type,
            "person": str(self.person_id) if self.person_id else None,
            "occurred_at": rfc3339(self.occurred_at),
            "recorded_at": rfc3339(self.recorded_at),
            "actor": self.actor,
        }

    def __str__(self) -> str:
        """Name it to people."""
        return f"{self.event_id} ({self.stream} version {self.version})"


class Logged(NamedTuple):
    """The log's entry of an event, as far as it is compared."""

    event_id: UUID
    service: str
    position: int
    header: bytes
    entry: bytes
