"""Everything compared with everything, on demand: what runs at night, and who asked waits."""

from collections.abc import AsyncIterator

from infra.platform import Platform
from infra.reconciliation import Report
from infra.settings import Settings
from services.audit.handlers.reconciling import Reconciler
from services.operations import REBUILD, platform_of


class BusyError(Exception):
    """Another process compares the same just now."""


async def reconcile(settings: Settings) -> AsyncIterator[Report]:
    """The log with every service's events, then each read table with its rebuild.

    Raises ``BusyError`` where another process is at it.
    """
    async with platform_of(settings) as platform:
        for part in ("audit", *REBUILD):
            reports = await _compare(platform, part)
            if not reports:
                raise BusyError("it is being compared already: wait for that to end")
            for report in reports:
                yield report


async def _compare(platform: Platform, service: str) -> list[Report]:
    database = platform.database(service)
    try:
        if service in REBUILD:
            return await REBUILD[service].compare(database)
        return await Reconciler(database, platform.clock).run()
    finally:
        await database.close()
