"""All four services running in the test's process, on real databases, with a partner's sink."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import orjson
import pytest

from contracts.public import PublicContact
from contracts.tools.examples import FRONT_DESK, agreement, envelope
from contracts.tools.examples import person as invented
from contracts.values import PartnerKind
from infra.base.settings import Settings
from services.hub.host import Running, all_services, mounted
from tests.support.partners import Sink, answer_body, signed, sink_on_loopback
from tests.support.postgres import Databases

WAIT_SECONDS = 60
JOB = "trouver-un-emploi--repondre-a-des-offres-demploi"
TRIES = 10
CANARY = "Zéphyrine-Canari"
PARTNERS = ("petite-foret--mission-locale", "petite-foret--france-travail")
QUIET = """
SELECT (SELECT count(*) FROM intake.events) AS intake,
       (SELECT count(*) FROM referrals.events) AS referrals,
       (SELECT count(*) FROM partners.events) AS partners,
       (SELECT count(*) FROM audit.events) AS audit,
       (SELECT count(*) FROM audit.entries) AS entries,
       (SELECT count(*) FROM partners.deliveries WHERE state = 'pending') AS pending
"""


@dataclass
class Whole:
    """The hub, as its users see it, and its databases as their owner does."""

    running: Running
    http: httpx2.AsyncClient
    sink: Sink
    databases: Databases
    secrets: dict[str, str] = field(default_factory=dict)
    """By which each partner that has an address signs."""

    async def call(
        self, role: str, method: str, path: str, body: Any = None, accept: str = "*/*"
    ) -> httpx2.Response:
        """A request with one of the first keys; the path begins with the service's name."""
        key = self.running.address["keys"][role]
        headers = {"authorization": f"Bearer {key}", "accept": accept}
        return await self.http.request(method, path, json=body, headers=headers)

    async def register(self, endpoint: dict[str, Any]) -> None:
        """An address of a partner, that has shown that it wants our messages."""
        path = "/partners/v1/endpoints"
        answer = await self.call("partner_admin", "POST", path, endpoint)
        assert answer.status_code == 201, answer.text
        self.secrets[endpoint["partner_id"]] = answer.json()["secret"]
        waiting = "SELECT FROM partners.endpoints WHERE verified_at IS NULL"

        async def verified() -> bool:
            return not await self.rows(waiting)

        await until(verified)

    async def comes(
        self,
        ref: str = "u-1",
        name: str = CANARY,
        born: str = "2006-05-17",
        at: datetime | None = None,
        **given: Any,
    ) -> UUID:
        """Somebody who seeks a job and agrees to every partner; answers their id.

        ``at``: when, by the sender's clock; now, if none is given.

        Young people go to the Mission locale by themselves, others to France Travail once an
        adviser confirms.
        """
        random = Random(ref)
        resident = invented(random) | {"ref": ref}
        resident["identity"] |= {"family_name": name, "address": f"3 rue {name}"}
        resident["facts"] |= {
            "birth_date": {"value": born},
            "situation": {"value": "job-seeker"},
            "project": {"value": f"projet de {name}"},
        }
        data = {
            "mode": "walk-in",
            "person": resident,
            "agreements": [agreement(kind) for kind in PartnerKind],
            "needs": [{"thematique": JOB, "note": f"besoin de {name}"}],
            "note": f"note sur {name}",
        }
        event = envelope(PublicContact.TYPE, data | given, random, FRONT_DESK)
        if at:
            event["time"] = at.isoformat(timespec="seconds")
        return await self.emit(event | {"id": uuid4().hex})

    async def answer(
        self, referral: dict[str, Any], status: str, **given: Any
    ) -> httpx2.Response:
        """The partner of a referral answers, signed."""
        body = answer_body(UUID(referral["referral_id"]), status, **given)
        headers = signed(self.secrets[referral["partner_id"]], body, uuid4().hex)
        return await self.http.post("/partners/v1/answers", content=body, headers=headers)

    async def emit(self, event: dict[str, Any]) -> UUID:
        """Send one event that must be taken, again where it was not stored; answers whom it
        is about."""
        answer = await self.send(event)
        for _ in range(TRIES):
            if answer.status_code != 503:
                break
            await asyncio.sleep(1)
            answer = await self.send(event)
        assert answer.status_code == 202, answer.text
        return UUID(answer.json()["person_id"])

    async def send(self, event: dict[str, Any]) -> httpx2.Response:
        headers = {
            "authorization": f"Bearer {self.running.address['keys']['municipal']}",
            "content-type": "application/cloudevents+json",
        }
        return await self.http.post(
            "/intake/v1/events", content=orjson.dumps(event), headers=headers
        )

    async def rows(self, query: str, *values: Any, vault: bool = False) -> list[Any]:
        """Ask the database as its owner."""
        url = self.databases.vault_url if vault else self.databases.url
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def quiet(self) -> None:
        """Wait until nothing happens any more, and all that happened is in the log."""
        last: Any = None

        async def still() -> bool:
            nonlocal last
            (row,) = await self.rows(QUIET)
            now, before = dict(row), last
            last = now
            events = now["intake"] + now["referrals"] + now["partners"] + now["audit"]
            return bool(now == before and events == now["entries"] and not now["pending"])

        await until(still, 0.15)

    async def referral(self, person_id: UUID) -> dict[str, Any]:
        """Wait for the first referral of a person."""

        async def first() -> Any:
            path = f"/referrals/v1/cases?person_id={person_id}"
            answer = await self.call("adviser", "GET", path)
            found = [r for case in answer.json()["cases"] for r in case["referrals"]]
            return found[0] if found else None

        referral: dict[str, Any] = await until(first)
        return referral

    async def everything(self) -> bytes:
        """Every row of every table of both databases, as text."""
        parts = []
        for vault in (False, True):
            for row in await self.rows(TABLES, vault=vault):
                query = f'SELECT t::text AS row FROM "{row["schema"]}"."{row["name"]}" t'
                parts += [r["row"].encode() for r in await self.rows(query, vault=vault)]
        return b"\n".join(parts)


TABLES = (
    "SELECT table_schema AS schema, table_name AS name FROM information_schema.tables "
    "WHERE table_schema IN ('intake', 'referrals', 'partners', 'audit', 'vault')"
)


async def until(condition: Callable[[], Awaitable[Any]], pause: float = 0.05) -> Any:
    """Wait until a condition holds, and answer it; the bound only ends a test that fails."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not (found := await condition()):
            await asyncio.sleep(pause)
    return found


@asynccontextmanager
async def whole_hub(databases: Databases, **given: Any) -> AsyncIterator[Whole]:
    """The hub, running, with two partners' endpoint on loopback."""
    settings = Settings(
        **{
            "data": databases.directory,
            "database_url": databases.url,
            "vault_url": databases.vault_url,
            "delivery_allowed_networks": "127.0.0.0/8",
            "poll_seconds": 0.02,
            "checkpoint_seconds": 0.1,
            "erasure_wait_seconds": 0.2,
            "erasure_seconds": 0.05,
        }
        | given
    )
    async with sink_on_loopback() as sink, all_services(settings, "http://hub") as running:
        transport = httpx2.ASGITransport(mounted(running.services))
        async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as http:
            whole = Whole(running, http, sink, databases)
            sink.consent = {"webhook-allowed-origin": "*"}
            for partner in PARTNERS:
                await whole.register({"partner_id": partner, "url": sink.url})
            yield whole


@pytest.fixture
async def whole(databases: Databases) -> AsyncIterator[Whole]:
    """A hub of the test's own."""
    async with whole_hub(databases) as made:
        yield made
