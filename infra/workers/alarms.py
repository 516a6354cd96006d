"""What a human must look at although the service works: rows that stay until it is over.

Whoever finds something wrong raises an alarm, and clears it when it is right again; an alarm
about what is past, such as records that are gone, stays until somebody acknowledges it. That a
subscription is paused, or messages are parked, the tables say: such an alarm is never written.
Kind, subject and detail name things of ours, never anything of a person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Gauge

from infra.postgres.database import Database, storable
from infra.postgres.transaction import Transaction

ALARMS = Gauge("aiguillage_alarms", "Alarms that are open", ["service", "kind"])
PAUSED, PARKED = "paused", "parked"
DERIVED = (PAUSED, PARKED)
"""Kinds that end with what they are about; nobody can acknowledge them."""
MAX_SUBJECT = 200
MAX_DETAIL = 1000
_OPEN = """
SELECT kind, subject, since, last_at, count, detail FROM alarms WHERE acknowledged_at IS NULL
UNION ALL
SELECT 'paused', subscription, since, since, 1, coalesce(reason, '')
FROM subscriptions WHERE paused
UNION ALL
SELECT 'parked', subscription, min(parked_at), max(parked_at), count(*),
  count(DISTINCT key) || ' persons wait'
FROM dead_letters GROUP BY subscription
ORDER BY since, kind, subject
"""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that is wrong, since when, and how often it was met."""

    kind: str
    subject: str
    since: datetime
    last_at: datetime
    count: int
    detail: str

    def document(self) -> dict[str, str | int]:
        """As JSON."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "since": self.since.isoformat(),
            "last_at": self.last_at.isoformat(),
            "count": self.count,
            "detail": self.detail,
        }


async def raise_alarm(
    tx: Transaction, kind: str, subject: str, detail: str, count: int = 1
) -> None:
    """Open an alarm, or count it again; one that was acknowledged begins anew."""
    await tx.execute(
        "INSERT INTO alarms AS a (kind, subject, detail, count) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (kind, subject) DO UPDATE SET detail = $3, last_at = now(), "
        "count = $4 + CASE WHEN a.acknowledged_at IS NULL THEN a.count ELSE 0 END, "
        "since = CASE WHEN a.acknowledged_at IS NULL THEN a.since ELSE now() END, "
        "acknowledged_at = NULL",
        kind,
        storable(subject, MAX_SUBJECT),
        storable(detail, MAX_DETAIL),
        count,
    )


async def clear_alarm(tx: Transaction, kind: str, subject: str) -> None:
    """End an alarm, because what it was about is over."""
    await tx.execute(
        "DELETE FROM alarms WHERE kind = $1 AND subject = $2",
        kind,
        storable(subject, MAX_SUBJECT),
    )


async def acknowledge(tx: Transaction, kind: str, subject: str) -> bool:
    """Take note of an alarm, so that it is no longer shown; answers whether there was one."""
    done = await tx.execute(
        "UPDATE alarms SET acknowledged_at = now() "
        "WHERE kind = $1 AND subject = $2 AND acknowledged_at IS NULL",
        kind,
        subject,
    )
    return bool(done == "UPDATE 1")


async def open_alarms(connection: Transaction) -> list[Alarm]:
    """The alarms of one service, the oldest first."""
    return [Alarm(**row) for row in await connection.fetch(_OPEN)]


class Condition:
    """An alarm about a state: raised while that holds, cleared when it holds no longer.

    Written only when it changes, so that it may be told every second. The row outlives the
    process: the first time that all is well clears what an earlier process had raised.
    """

    def __init__(self, database: Database, kind: str, subject: str) -> None:
        self._database = database
        self._alarm = (kind, subject)
        self._told: str | None = ""

    @property
    def detail(self) -> str | None:
        """What is wrong, as it was told last; None before it was told anything."""
        return self._told or None

    async def tell(self, detail: str | None) -> None:
        """What is wrong now, or None: all is well."""
        if detail == self._told:
            return
        async with self._database.transaction() as tx:
            if detail is None:
                await clear_alarm(tx, *self._alarm)
            else:
                await raise_alarm(tx, *self._alarm, detail)
        self._told = detail


class Watch:
    """Counts the open alarms of some services for Prometheus."""

    def __init__(self, databases: Sequence[Database]) -> None:
        self._databases = databases
        self._known: set[tuple[str, str]] = {
            (database.schema, kind) for database in databases for kind in DERIVED
        }

    async def read(self) -> list[dict[str, str | int]]:
        """The open alarms of all of them, each with its service."""
        listed = []
        for database in self._databases:
            async with database.reading() as connection:
                alarms = await open_alarms(connection)
            service, kinds = database.schema, [alarm.kind for alarm in alarms]
            self._known |= {(service, kind) for kind in kinds}
            for name, kind in self._known:
                if name == service:
                    ALARMS.labels(service, kind).set(kinds.count(kind))
            listed += [{"service": service, **alarm.document()} for alarm in alarms]
        return listed

    async def step(self) -> int:
        """Count once; there is never more to do at once."""
        await self.read()
        return 0
