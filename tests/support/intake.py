"""A municipal desk that emits to the intake, for the tests of `POST /v1/events`."""

import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import httpx2
import orjson
import pytest
from httpx2 import ASGITransport, AsyncClient

from contracts.public import PublicContact
from contracts.receipts import Receipt
from contracts.tools.examples import FRONT_DESK
from contracts.tools.examples import envelope as wrap
from infra.base.settings import Settings
from infra.platform import Platform
from infra.web.app import Service
from infra.web.auth import create_key
from services.intake.app import build
from tests.support.postgres import Databases

STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
NIR = "2 69 05 49 588 157 80"
TABLES = ("events", "inbox", "persons", "person_refs", "refused_records", "dead_letters")
PROBLEMS = "https://aiguillage.fr/problems/"


class Desk:
    """A municipal system that emits to the intake."""

    def __init__(self, client: AsyncClient, service: Service, platform: Platform) -> None:
        self.client = client
        self.service = service
        self.platform = platform

    async def send(self, body: Any, headers: dict[str, str] = STRUCTURED) -> httpx2.Response:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return await self.client.post("/v1/events", content=content, headers=headers)

    async def receipt(self, event: Any) -> Receipt:
        answer = await self.send(event)
        assert answer.status_code == 202, answer.text
        return Receipt.model_validate_json(answer.content)

    async def rows(self, table: str) -> list[str]:
        async with self.service.database.reading() as connection:
            found = await connection.fetch(f"SELECT t::text AS row FROM {table} t ORDER BY 1")
        return [row["row"] for row in found]

    async def types(self) -> list[str]:
        async with self.service.database.reading() as connection:
            rows = await connection.fetch("SELECT type FROM events ORDER BY position")
        return [row["type"].removeprefix("fr.aiguillage.intake.") for row in rows]

    async def all_rows(self) -> list[str]:
        return [row for table in TABLES for row in await self.rows(table)]


@pytest.fixture
async def intake_desk(databases: Databases) -> AsyncIterator[Desk]:
    settings = Settings(data=databases.directory)
    platform = Platform(settings, databases.url, databases.vault_url)
    async with build(platform).running() as service:
        async with service.database.transaction() as tx:
            await create_key(tx, "front-desk", "municipal", ["*"], "desk-key")
            await create_key(tx, "narrow", "municipal", [FRONT_DESK], "narrow-key")
            await create_key(tx, "anne", "adviser", (), "adviser-key")
        transport = ASGITransport(app=service.app)
        headers = {"authorization": "Bearer desk-key"}
        async with AsyncClient(
            transport=transport, base_url="http://intake", headers=headers
        ) as client:
            yield Desk(client, service, platform)
    await platform.close()


def contact(**data: Any) -> dict[str, Any]:
    given = {"mode": "walk-in", "person": {"ref": "u-1"}} | data
    return wrap(PublicContact.TYPE, {k: v for k, v in given.items() if v is not None}, Random())


def with_data(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    event = json.loads(json.dumps(event))
    *parents, last = path.split(".")
    target = event
    for name in parents:
        target = target.setdefault(name, {})
    target[last] = value
    return event


def problem(slug: str, status: int, title: str, **rest: Any) -> dict[str, Any]:
    return {"type": PROBLEMS + slug, "title": title, "status": status, **rest}


def fault(slug: str, title: str, field: str, status: int = 422) -> dict[str, Any]:
    return problem(slug, status, title, errors=[{"field": field, "detail": title}])
