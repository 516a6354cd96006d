"""A pool that grows when it must and shrinks again: an idle service holds two connections.

SQLAlchemy's own keeps what a busy moment opened, and opens one more as soon as none is free,
although the next would be a millisecond later. A server's connections are few: an operator's
`psql` wants one too.
"""

import time
from typing import Any

from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import queue

KEPT = 2
"""Connections that an idle pool keeps."""
GROW_SECONDS = 0.5
"""Wait for a connection to come back before another one is opened."""
WINDOW_SECONDS = 10.0
"""What was used at once in each of the last two of these is kept."""


class ElasticPool(AsyncAdaptedQueuePool):
    """Up to ``pool_size`` + ``max_overflow`` connections, closed when they are not needed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._peaks = (0, 0)
        self._since = time.monotonic()

    def _do_get(self) -> ConnectionPoolEntry:
        entry = self._returned() if self.checkedin() == 0 else None
        entry = entry or super()._do_get()
        self._wanted(self.checkedout())
        return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if self.checkedin() + self.checkedout() <= max(KEPT, self._wanted(0)):
            super()._do_return_conn(record)
            return
        try:
            record.close()
        finally:
            self._dec_overflow()

    def _returned(self) -> ConnectionPoolEntry | None:
        if self.checkedout() < KEPT:
            return None
        try:
            entry: ConnectionPoolEntry = self._pool.get(True, GROW_SECONDS)
        except queue.Empty:
            return None
        return entry

    def _wanted(self, used: int) -> int:
        """The most that were used at once lately, and not just in one busy moment."""
        now = time.monotonic()
        if now - self._since > WINDOW_SECONDS:
            earlier = self._peaks[1] if now - self._since < 2 * WINDOW_SECONDS else 0
            self._peaks, self._since = (earlier, 0), now
        self._peaks = (self._peaks[0], max(self._peaks[1], used))
        return min(self._peaks)
