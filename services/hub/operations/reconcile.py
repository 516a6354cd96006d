"""Everything compared with everything, on demand: what runs at night, and who asked waits."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from infra.base.repairable import Repairable
from infra.base.settings import Settings
from infra.platform import Platform, command_context
from infra.postgres.database import Database
from infra.readmodels.reconciliation import Report
from services.audit.handlers.reconciling import Reconciler
from services.hub.operations.hub import REBUILD

Compare = Callable[[Database], Awaitable[list[Report]]]


class BusyError(Repairable):
    """Another process compares the same just now."""

    repair = "aiguillage audit reconcile, later"


async def reconcile(settings: Settings) -> AsyncIterator[Report]:
    """The log with every service's events, then each read table with its rebuild.

    Raises ``BusyError`` where another process is at it.
    """
    async with command_context(settings) as platform:
        parts: list[tuple[str, Compare]] = [
            ("audit", lambda database: Reconciler(database, platform.clock).run()),
            *((s, partial(t.compare, vault=platform.vault)) for s, t in REBUILD.items()),
        ]
        for service, compare in parts:
            for report in await _compared(platform, service, compare):
                yield report


async def _compared(platform: Platform, service: str, compare: Compare) -> list[Report]:
    database = platform.database(service)
    try:
        reports = await compare(database)
    finally:
        await database.close()
    if not reports:
        raise BusyError("it is being compared already: wait for that to end")
    return reports
