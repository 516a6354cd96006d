"""What an operator does with the directory; the commands are in ``cli_partners``."""

import sys
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from infra.database import driver
from infra.eventstore.events import Meta
from infra.settings import load_settings
from services.operations import platform_of
from services.partners import tables as known
from services.partners.handlers.imports import (
    Choices,
    Documents,
    Importer,
    ImportRefusedError,
    Report,
    exported,
    read_csv,
    read_json,
)
from services.partners.tables import directory as tables


async def take_in(
    file: Path, services: Path | None, choices: Choices, data: Path | None
) -> Report:
    """Import files; exits with the reason if nothing could be."""
    try:
        documents = _read(file, services)
        async with platform_of(load_settings(data=data)) as platform:
            database = platform.database("partners")
            try:
                importer = Importer(database, platform.writer("partners"))
                return await importer.run(documents, choices, Meta("operator"))
            finally:
                await database.close()
    except ImportRefusedError as error:
        raise SystemExit(f"  ✗ Rien n'a été importé : {error}") from error


async def give_out(data: Path | None) -> bytes:
    """The directory as data·inclusion JSON."""
    async with platform_of(load_settings(data=data)) as platform:
        database = platform.database("partners")
        try:
            async with database.reading() as connection:
                raw = await driver(connection)
                partners = await raw.fetch(known.PARTNERS)
                found = exported(partners, await raw.fetch(tables.EXPORTED_SERVICES))
        finally:
            await database.close()
    return orjson.dumps(found, option=orjson.OPT_INDENT_2)


def print_report(report: Report) -> None:
    """On the screen of an operator: what changed, what left, what was refused and why."""
    console = Console(file=sys.stderr)
    console.print(
        f"  ✓ {report.entries} entrées, {report.changed} nouvelles ou modifiées, "
        f"{len(report.withdrawn)} retirées, {len(report.refused)} refus"
    )
    for service_id in report.withdrawn:
        console.print(f"    retiré : {service_id}")
    if report.refused:
        table = Table("quoi", "ligne", "identifiant", "champ", "raison")
        for refused in report.refused:
            table.add_row(
                refused.what, str(refused.row), refused.id, refused.field, refused.detail
            )
        console.print(table)


def _read(file: Path, services: Path | None) -> Documents:
    if services is None:
        return read_json(file.read_bytes())
    return read_csv(file.read_text("utf-8"), services.read_text("utf-8"))
