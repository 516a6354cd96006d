"""The directory for administrators: import, export, names by date."""

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from contracts.intake import Ref
from contracts.values import PartnerKind
from infra.database import Database, driver
from infra.eventstore.events import Meta
from infra.telemetry import next_hop
from infra.web.auth import Principal, RequireRole
from infra.web.problems import Problem, not_found
from services.partners import tables as known
from services.partners.handlers.imports import (
    Choices,
    Importer,
    ImportRefusedError,
    exported,
    read_json,
)
from services.partners.tables import directory as tables

MAX_IMPORT_BYTES = 20 * 1024 * 1024
Admin = Annotated[Principal, Depends(RequireRole("partner_admin"))]
Reader = Annotated[Principal, Depends(RequireRole("partner_admin", "adviser"))]
Flag = Annotated[bool, Query()]


def add(routes: APIRouter, database: Database, importer: Importer) -> None:
    """The directory's routes."""
    _add_exchange(routes, database, importer)
    _add_names(routes, database)


def _add_exchange(routes: APIRouter, database: Database, importer: Importer) -> None:
    @routes.post("/directory/import", tags=["directory"])
    async def import_directory(
        request: Request,
        admin: Admin,
        kind: PartnerKind | None = None,
        dry_run: Flag = False,
        withdraw_many: Flag = False,
    ) -> dict[str, Any]:
        """Take in a data·inclusion source; answers what changed and what was refused, why."""
        content = await _content(request)
        meta = Meta(admin.actor, traceparent=next_hop(request.headers.get("traceparent")))
        try:
            choices = Choices(kind, dry_run, withdraw_many)
            return asdict(await importer.run(read_json(content), choices, meta))
        except ImportRefusedError as error:
            raise Problem(422, "import-refused", "Nothing was imported", str(error)) from error

    @routes.get("/directory/export", tags=["directory"])
    async def export_directory(reader: Reader) -> dict[str, Any]:
        """The directory as data·inclusion v1, without what was withdrawn."""
        async with database.reading() as connection:
            raw = await driver(connection)
            partners = await raw.fetch(known.PARTNERS)
            return exported(partners, await raw.fetch(tables.EXPORTED_SERVICES))


def _add_names(routes: APIRouter, database: Database) -> None:
    @routes.get("/partners/{partner_id}/names", tags=["directory"])
    async def list_names(reader: Reader, partner_id: Ref) -> dict[str, Any]:
        """The names of an organisation and since when; its id stays the same."""
        async with database.reading() as connection:
            raw = await driver(connection)
            rows = [dict(row) for row in await raw.fetch(tables.NAMES, partner_id)]
        return {"names": rows}

    @routes.get("/partners/{partner_id}/name", tags=["directory"])
    async def name_on(reader: Reader, partner_id: Ref, on: date) -> dict[str, Any]:
        """What an organisation was called on a day."""
        async with database.reading() as connection:
            raw = await driver(connection)
            name = await raw.fetchval(tables.NAME_ON, partner_id, on)
        if name is None:
            raise not_found("partner")
        return {"partner_id": partner_id, "on": on, "name": name}


async def _content(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_IMPORT_BYTES:
            raise Problem(413, "too-large", "A directory has at most 20 MiB")
    return bytes(body)
