"""What an operator does with the directory; the commands are in ``cli_partners``."""

import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from contracts.days import local_day
from infra.base.settings import load_settings
from infra.base.telemetry import configure_logging
from infra.eventstore.events import EventMetadata
from infra.platform import service_context
from services.partners.handlers.hsds import read_hsds
from services.partners.handlers.imports import Choices, Importer, Report, export
from services.partners.handlers.rows import Documents, read, together

SHOWN = 200
"""Lines on a screen; the counts above them are of all."""


async def take_in(documents: Documents, choices: Choices, data: Path | None) -> Report:
    """Import documents; raises ``ImportRefusedError``."""
    configure_logging("ERROR", plain=True)
    async with service_context(load_settings(data=data), "partners") as (platform, database):
        importer = Importer(database, platform.writer("partners"))
        return await importer.run(documents, choices, EventMetadata("operator"))


async def give_out(format: str, source: str | None, data: Path | None) -> bytes:
    """The directory as JSON."""
    configure_logging("ERROR", plain=True)
    async with (
        service_context(load_settings(data=data), "partners") as (platform, database),
        database.reading() as connection,
    ):
        listed = await export(connection, format, source, local_day(platform.clock()))
    return orjson.dumps(listed, option=orjson.OPT_INDENT_2)


def read_files(
    format: str, files: Sequence[Path], services: Path | None, source: str | None
) -> Documents:
    """What the files hold, together; raises ``ImportRefusedError``."""
    contents = [file.read_bytes() for file in files]
    if format == "hsds":
        return read_hsds(contents, source)
    if services:
        return read(contents[0], services.read_bytes())
    return together([read(content) for content in contents])


def print_report(report: Report, *, dry_run: bool = False) -> None:
    """On the screen of an operator: what changed, what left, what was refused and why."""
    console = Console(file=sys.stderr, highlight=False)
    out = len({(refused.what, refused.row) for refused in report.refused})
    console.print(
        f"  {'✗' if out else '✓'} {report.entries} entrées : {report.new} nouvelles, "
        f"{report.changed} modifiées, {report.unchanged} inchangées, "
        f"{len(report.withdrawn)} retirées, {out} refusées"
        + (" (essai : rien n'a été enregistré)" if dry_run else "")
    )
    for service_id in report.withdrawn[:SHOWN]:
        console.print(f"    retiré : {service_id}", markup=False)
    if report.refused:
        console.print(_refusals(report))


def _refusals(report: Report) -> Table:
    table = Table("Quoi", "Nº", "Identifiant", "Champ", "Raison")
    for refused in report.refused[:SHOWN]:
        kind = "structure" if refused.what == "structure" else "service"
        cells = (
            kind,
            str(refused.row),
            refused.id,
            refused.field,
            _FRENCH.get(refused.detail, refused.detail),
        )
        table.add_row(*(cell.replace("[", r"\[") for cell in cells))
    return table


# of a refusal; one with a number in it stays as it is
_FRENCH = {
    "is required": "obligatoire",
    "is not a value of data·inclusion v1": "valeur inconnue de data·inclusion v1",
    "is too short": "trop court",
    "is too long": "trop long",
    "must not be empty": "ne doit pas être vide",
    "does not have the form of data·inclusion v1": "forme non conforme à data·inclusion v1",
    "must be a text": "doit être un texte",
    "must be a list": "doit être une liste",
    "must be a number": "doit être un nombre",
    "must be an object": "doit être un objet",
    "must be an http or https address": "doit être une adresse http ou https",
    "must be a date: 2026-11-23": "doit être une date : 2026-11-23",
    "is not valid by data·inclusion v1": "non conforme à data·inclusion v1",
    "is not valid": "non valide",
    "must not hold a NIR": "ne doit pas contenir de NIR",
    "holds control characters": "contient des caractères de commande",
    "holds a word encoded for mail": "contient un mot codé pour la messagerie",
    "has a heading with characters that cannot be shown": "intitulé illisible",
    "has more cells than there are columns": "plus de cellules que de colonnes",
    "another source keeps this structure": "structure tenue par une autre source",
    "another source keeps this service": "service tenu par une autre source",
    "no network says what kind of partner it is: give the kind": (
        "aucun réseau n'en dit le genre : précisez --kind"
    ),
    "its structure is neither known nor in the file, or was refused": (
        "sa structure est inconnue, absente ou refusée"
    ),
}
