"""What an operator does with data that go, and data that stay. One function per command."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

from contracts.erasure import ErasureReason
from infra.base.repairable import Repairable
from infra.base.settings import load_settings
from infra.base.telemetry import configure_logging
from infra.eventstore.events import EventMetadata
from infra.platform import Platform, service_context
from infra.postgres.database import Database
from infra.privacy.erasure_ledger import Erasure
from services.hub.operations import backups
from services.hub.operations.backups import Backup
from services.intake.handlers.erasure import Erasing
from services.intake.handlers.persons import UnknownPersonError
from services.intake.handlers.retention import Retention
from services.intake.model.retention import Due, Policy


async def erase(person_id: UUID, reason: ErasureReason, data: Path | None) -> list[Erasure]:
    """Ask for an erasure."""
    configure_logging("ERROR", plain=True)
    async with service_context(load_settings(data=data), "intake") as (platform, database):
        erasing = _erasing(platform, database)
        try:
            return await erasing.request(person_id, reason, EventMetadata("operator"))
        except UnknownPersonError:
            repair = "give an id as receipts and pathways name it"
            raise Repairable("no such person", repair) from None


async def preview(on: date | None, data: Path | None) -> list[Due]:
    """What retention would do."""
    configure_logging("ERROR", plain=True)
    async with service_context(load_settings(data=data), "intake") as (platform, database):
        return await _retention(platform, database).preview(on)


async def retain(data: Path | None) -> int:
    """Do what is due; answers for how many ids."""
    configure_logging("ERROR", plain=True)
    total = 0
    async with service_context(load_settings(data=data), "intake") as (platform, database):
        retention = _retention(platform, database)
        while done := await retention.step():
            total += done
    return total


async def back_up(directory: Path, keys: Path, data: Path | None) -> Backup:
    """Dump databases; raises ``BackupError``."""
    return await backups.back_up(load_settings(data=data), directory, keys)


async def restore(
    directory: Path,
    keys: Path,
    ledgers: Sequence[Path],
    checkpoints: Sequence[Path],
    data: Path | None,
) -> int:
    """Load a backup; raises ``BackupError``."""
    settings = load_settings(data=data)
    return await backups.restore(settings, directory, keys, ledgers, checkpoints)


def _erasing(platform: Platform, database: Database) -> Erasing:
    wait = timedelta(seconds=platform.settings.erasure_wait_seconds)
    writer = platform.writer("intake")
    return Erasing(database, writer, platform.erasures, platform.clock, wait)


def _retention(platform: Platform, database: Database) -> Retention:
    policy = Policy.parse(platform.settings.retention, platform.settings.retention_sites)
    erasing = _erasing(platform, database)
    return Retention(database, erasing.writer, erasing, policy, platform.clock)
