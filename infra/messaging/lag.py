"""How far a subscription is behind, by what the other side has and by what is committed here.

Not by what was fetched: a reader whose broker is away, or who is refused what it sends, has
fetched all that it ever will.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Gauge

from infra.messaging.sources.base import Source
from infra.postgres.database import Database
from infra.workers.alarms import Condition

LAG = Gauge("aiguillage_subscription_lag", "Messages not yet applied", ["subscription"])
AGE = Gauge(
    "aiguillage_subscription_oldest_seconds",
    "Age of the oldest message not yet applied",
    ["subscription"],
)
LOOK_SECONDS = 5.0
ALARM = "behind"


class LagWatch:
    """Looks now and then; an alarm where a message waits, or nothing is known, for too long."""

    def __init__(
        self, name: str, database: Database, source: Source[Any], alarm_seconds: float
    ) -> None:
        self.age: float | None = None
        self._name = name
        self._database = database
        self._source = source
        self._alarm_seconds = alarm_seconds
        self._alarm = Condition(database, ALARM, name)
        self._known = time.monotonic()
        self._lagged = False
        self._failing: tuple[float, str] | None = None

    def worked(self) -> None:
        """The reader got through."""
        self._failing = None

    def failed(self, error: Exception) -> None:
        """The reader met an error that it waits out."""
        since = self._failing[0] if self._failing else time.monotonic()
        self._failing = (since, type(error).__name__)

    async def lag(self) -> int:
        """Messages not yet applied, over all partitions; raises an infrastructure error."""
        unread = await self._unread()
        lag = sum(end - following for following, end in unread.values())
        LAG.labels(self._name).set(lag)
        return lag

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Measure, and raise or clear the alarm; what cannot be told now is told later."""
        try:
            await self._alarm.tell(await self._finding())
        except Exception:  # the database is away: whoever reads alarms knows
            return

    async def _finding(self) -> str | None:
        try:
            self.age = await self._measured()
            self._known = time.monotonic()
        except Exception as error:
            if time.monotonic() - self._known < self._alarm_seconds:
                return self._alarm.detail
            return f"how far cannot be said: {type(error).__name__}"
        AGE.labels(self._name).set(self.age or 0)
        if self.age is not None and self.age > self._alarm_seconds:
            return f"a message waits for more than {self._alarm_seconds:.0f} s"
        if self._failing and time.monotonic() - self._failing[0] > self._alarm_seconds:
            return f"does not get through: {self._failing[1]}"
        return None

    async def _measured(self) -> float | None:
        """Age of the oldest message that waits; asked only of what did not go by itself."""
        waiting = await self.lag() > 0
        waited, self._lagged = self._lagged, waiting
        if not (waiting and waited):
            return None if not waiting else self.age
        unread = {p: following for p, (following, _) in (await self._unread()).items()}
        oldest = await self._source.oldest(unread) if unread else None
        return (datetime.now(UTC) - oldest).total_seconds() if oldest else None

    async def _unread(self) -> dict[int, tuple[int, int]]:
        """Partitions with something to read → the next offset here, and where they end."""
        ends = await self._source.ends()
        async with self._database.reading() as connection:
            rows = await connection.fetch(
                "SELECT partition, next FROM offsets WHERE subscription = $1 AND source = $2",
                self._name,
                self._source.name,
            )
        standing = {row["partition"]: row["next"] for row in rows}
        first = self._source.first
        unread = {p: (max(first, standing.get(p, first)), end) for p, end in ends.items()}
        return {p: (start, end) for p, (start, end) in unread.items() if start < end}
