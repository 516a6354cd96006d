"""The directory for administrators: import, export, names by date."""

import asyncio
from dataclasses import asdict
from email import policy
from email.parser import BytesParser
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from contracts.days import local_day
from contracts.public import Ref
from contracts.types import Day
from contracts.values import PartnerKind
from infra.base.clock import system_clock
from infra.postgres.database import Database
from infra.web.bodies import KIB, Body
from infra.web.problems import Malformed, UnsupportedMediaType, not_found, raises
from infra.web.request_meta import metadata_of
from services.partners.handlers.hsds import read_hsds
from services.partners.handlers.imports import Choices, Importer, export
from services.partners.handlers.rows import ImportRefusedError, read
from services.partners.problems import ImportRefused
from services.partners.routes.callers import Admin, Reader
from services.partners.routes.directory_models import (
    DirectoryExport,
    HsdsDirectory,
    ImportReport,
    InclusionDirectory,
    NameOnDay,
    PartnerName,
    PartnerNames,
)
from services.partners.tables import directory as tables
from services.partners.tables import lists

MAX_IMPORT_BYTES = 20 * KIB * KIB
IMPORT = {"/v1/directory/import": Body(MAX_IMPORT_BYTES, 120, roles=("partner_admin",))}
Flag = Annotated[bool, Query()]
Format = Literal["data-inclusion", "hsds"]
Source = Annotated[Ref | None, Query()]
_EXPORTED: dict[str, type[InclusionDirectory | HsdsDirectory]] = {
    "data-inclusion": InclusionDirectory,
    "hsds": HsdsDirectory,
}
_BODY = {
    "required": True,
    "description": "One source. Two tables are the parts `structures` and `services`.",
    "content": {
        "application/json": {"schema": {}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["structures"],
                "properties": {
                    "structures": {"type": "string", "format": "binary"},
                    "services": {"type": "string", "format": "binary"},
                },
            }
        },
    },
}


def add(routes: APIRouter, database: Database, importer: Importer) -> None:
    """Add the directory's routes."""
    _add_import(routes, importer)
    _add_export(routes, database)
    _add_names(routes, database)


def _add_import(routes: APIRouter, importer: Importer) -> None:
    @routes.post("/directory/import", tags=["directory"], openapi_extra={"requestBody": _BODY})
    @raises(ImportRefused)
    async def import_directory(
        request: Request,
        admin: Admin,
        format: Format = "data-inclusion",
        source: Source = None,
        kind: PartnerKind | None = None,
        dry_run: Flag = False,
        withdraw_many: Flag = False,
    ) -> ImportReport:
        """Take in a source; answers what changed and what was refused, why.

        ``source``: the name of an HSDS source, which does not name itself.
        """
        first, second = await _content(request)
        meta = metadata_of(request, admin.actor)
        choices = Choices(kind, dry_run, withdraw_many)
        try:
            documents = await asyncio.to_thread(
                lambda: read_hsds([first], source) if format == "hsds" else read(first, second)
            )
            report = await importer.run(documents, choices, meta)
        except ImportRefusedError as error:
            raise ImportRefused(str(error)) from error
        # thousands of rows may be refused: elsewhere, so that other requests go on
        return await asyncio.to_thread(lambda: ImportReport(**asdict(report)))


def _add_export(routes: APIRouter, database: Database) -> None:
    @routes.get("/directory/export", tags=["directory"])
    async def export_directory(
        reader: Reader, format: Format = "data-inclusion", source: Source = None
    ) -> DirectoryExport:
        """The directory, or one source of it, without what was withdrawn."""
        async with database.reading() as connection:
            rows = await export(connection, format, source, local_day(system_clock()))
        return DirectoryExport(_EXPORTED[format](**rows))


def _add_names(routes: APIRouter, database: Database) -> None:
    @routes.get("/partners/{partner_id}/names", tags=["directory"])
    async def list_names(reader: Reader, partner_id: Ref) -> PartnerNames:
        """The names of an organisation and since when; its id stays the same."""
        async with database.reading() as tx:
            rows = await tx.select(lists.names_of(partner_id))
        if not rows:
            raise not_found("partner")
        return PartnerNames(names=[PartnerName(**row._asdict()) for row in rows])

    @routes.get("/partners/{partner_id}/name", tags=["directory"])
    async def name_on_a_day(reader: Reader, partner_id: Ref, on: Day) -> NameOnDay:
        """What an organisation was called on a day."""
        async with database.reading() as connection:
            name = await connection.fetchval(tables.NAME_ON, partner_id, on)
        if name is None:
            raise not_found("partner")
        return NameOnDay(partner_id=partner_id, on=on, name=name)


async def _content(request: Request) -> tuple[bytes, bytes | None]:
    """A JSON document, or the two parts of a form."""
    media = request.headers.get("content-type", "application/json")
    kind = media.partition(";")[0].strip().lower()
    if kind not in ("application/json", "multipart/form-data"):
        raise UnsupportedMediaType("Send JSON, or a form with two tables")
    body = await request.body()
    if kind == "application/json":
        return body, None
    parts = await asyncio.to_thread(_parts, media, body)
    if "structures" not in parts:
        detail = "a form has the part `structures`, and `services`"
        raise Malformed(detail)
    return parts["structures"], parts.get("services")


def _parts(media: str, body: bytes) -> dict[str, bytes]:
    """The parts of a form, by name; a form is MIME, which the standard library reads."""
    head = f"Content-Type: {media}\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser(policy=policy.HTTP).parsebytes(head + body)
    parts = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            parts[name] = content
    return parts
