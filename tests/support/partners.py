"""A partner service on real databases, a partner's endpoint on loopback, and referrals."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import orjson
import pytest
from aiohttp import web
from sqlalchemy.engine import make_url

from contracts.base import Event
from contracts.intake import AgreementWithdrawn
from contracts.referrals import (
    Disclosure,
    ReferralMoved,
    ReferralProposed,
    ReferralRequested,
)
from contracts.values import Author, PartnerKind, ReferralStatus, Thematique
from infra.base.clock import Clock, system_clock
from infra.base.settings import Settings
from infra.delivery.webhook.signature import parse_secret, sign
from infra.delivery.worker import DeliveryWorker
from infra.eventstore.writer import Pending
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.postgres.database import Database
from infra.web.app import Service
from infra.web.auth import create_key
from services.partners.app import build
from services.partners.channels.registry import Channels
from services.partners.handlers.directory import seed
from tests.support.postgres import Databases

PARTNER = "petite-foret--mission-locale"
SERVICE = f"{PARTNER}--accompagnement"
CANARY = "Zéphyrine-Canari"
FIELDS = {"family_name": CANARY, "phone": "+33600000001"}
KEY = "agk_test-partner-admin"


def platform_at(databases: Databases, clock: Clock = system_clock, **given: Any) -> Platform:
    """A platform as a process would have it, with loopback opened and quick retries."""
    settings = Settings(
        **{
            "data": databases.directory,
            "delivery_allowed_networks": "127.0.0.0/8",
            "delivery_schedule": "0.01,0.01,0.01",
            "poll_seconds": 0.02,
            "public_url": "https://hub.example",
        }
        | given
    )
    return Platform(settings, databases.url, databases.vault_url, clock)


@dataclass
class Received:
    """A request that reached the sink."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.body)
        return parsed


Reply = Callable[[web.Request], Any]


@dataclass
class Sink:
    """A partner's endpoint; ``replies`` are used up one by one, then it says 204."""

    url: str
    received: list[Received] = field(default_factory=list)
    replies: list[web.StreamResponse | Reply] = field(default_factory=list)
    consent: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handshake(self, request: web.Request) -> web.Response:
        """Answer the handshake with whatever consent the test gives."""
        self.asked.append(request.headers.get("webhook-request-origin", ""))
        return web.Response(headers=self.consent)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(headers, await request.read()))
        self._arrived.set()
        reply = self.replies.pop(0) if self.replies else web.Response(status=204)
        if isinstance(reply, web.StreamResponse):
            return reply
        answer: web.StreamResponse = await reply(request)
        return answer

    async def wait_for(self, count: int) -> list[Received]:
        """What arrived, once there are so many."""
        async with asyncio.timeout(20):
            while len(self.received) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.received


@asynccontextmanager
async def sink_on_loopback(host: str = "127.0.0.1") -> AsyncIterator[Sink]:
    """A sink on a free port."""
    sink = Sink("")
    app = web.Application()
    app.router.add_post("/{path:.*}", sink.handle)
    app.router.add_options("/{path:.*}", sink.handshake)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    sink.url = f"http://{host}:{port}/hook"
    try:
        yield sink
    finally:
        await runner.cleanup()


class Hub:
    """The partner service, and the referral service's events that it hears."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.service: Service = build(platform)
        self.referrals: Database = platform.database("referrals")
        self.versions: dict[UUID, int] = {}

    @property
    def database(self) -> Database:
        return self.service.database

    @property
    def subscription(self) -> Subscription[Any]:
        return self._subscription("deliveries")

    def _subscription(self, name: str) -> Subscription[Any]:
        subscriptions = [w for w in self.service.workers if isinstance(w, Subscription)]
        (found,) = [subscription for subscription in subscriptions if subscription.name == name]
        return found

    @property
    def worker(self) -> DeliveryWorker[Any]:
        (found,) = [w for w in self.service.workers if isinstance(w, DeliveryWorker)]
        return found

    @property
    def channels(self) -> Channels:
        """The channels by which the worker sends."""
        channels = self.worker._sender
        assert isinstance(channels, Channels)
        return channels

    async def prepare(self) -> None:
        await seed(self.platform, "petite-foret")
        async with self.database.transaction() as tx:
            await create_key(tx, "tests", "partner_admin", key=KEY)

    async def close(self) -> None:
        await self.referrals.close()
        await self.database.close()

    async def say(self, person_id: UUID, *events: Event) -> None:
        """Append to the referral service's events."""
        pending = [
            Pending(f"referral-{e.referral_id}", [e], person_id)  # type: ignore[attr-defined]
            for e in events
        ]
        async with self.referrals.transaction() as tx:
            await self.platform.writer("referrals").write(tx, pending, new_persons=True)

    async def refer(
        self, partner_id: str = PARTNER, service_id: str = SERVICE, **given: Any
    ) -> ReferralRequested:
        """A referral is proposed and requested."""
        referral, case = uuid4(), uuid4()
        person = given.pop("person_id", None) or uuid4()
        about: dict[str, Any] = {
            "referral_id": referral,
            "case_id": case,
            "person_id": person,
            "partner_id": partner_id,
            "partner_kind": PartnerKind.MISSION_LOCALE,
            "service_id": service_id,
        }
        requested = ReferralRequested(
            **about
            | {
                "thematique": Thematique("se-former--trouver-sa-formation"),
                "agreement_id": uuid4(),
                "agreed_until": date(2099, 1, 1),
                "requested_on": date(2026, 11, 23),
                "sealed": Disclosure(fields=FIELDS),
            }
            | given
        )
        await self.say(person, ReferralProposed(**about, proposal_id=uuid4()), requested)
        return requested

    async def move(
        self, referral: ReferralRequested, event: type[ReferralMoved], **given: Any
    ) -> None:
        """The referral service moves a referral."""
        moved = event(
            referral_id=referral.referral_id,
            case_id=referral.case_id,
            **{"author": Author.ADVISER, "status": ReferralStatus.CANCELLED} | given,
        )
        await self.say(referral.person_id, moved)

    async def run_until(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Run the service until a query answers something; then stop it and build another."""
        async with self.service.running():
            rows = await self.until(statement, *values)
        self.service = build(self.platform)
        return rows

    async def turn(self) -> None:
        """Send what is due, and record what became of it."""
        await self.worker.step()
        await self.worker._drain()
        await self.worker._sender.close()

    async def hear(self, name: str = "deliveries") -> None:
        """Let a subscription catch up."""
        subscription = self._subscription(name)
        await subscription.source.start(subscription)
        while await subscription.step():
            pass
        await subscription.source.stop()

    async def withdraw(
        self,
        person_id: UUID,
        agreement_id: UUID | None = None,
        occurred_at: datetime | None = None,
    ) -> None:
        """The intake says that a person withdraws an agreement, or all of them.

        ``occurred_at``: by the sender's clock.
        """
        event = AgreementWithdrawn(person_id=person_id, agreement_id=agreement_id)
        intake = self.platform.database("intake")
        async with intake.transaction() as tx:
            stream = f"person-{person_id}"
            pending = Pending(stream, [event], person_id, occurred_at=occurred_at)
            await self.platform.writer("intake").write(tx, [pending])
        await intake.close()
        await self.hear("withdrawals")

    async def verify(self) -> None:
        """Let endpoints prove themselves."""
        (ticker,) = [w for w in self.service.workers if w.name == "verification"]
        await ticker._step()  # type: ignore[attr-defined]

    async def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """What a query answers."""
        async with self.database.reading() as connection:
            return [dict(row) for row in await connection.fetch(statement, *values)]

    async def events(self, kind: str) -> list[dict[str, Any]]:
        """The data of this service's events of a kind (``delivery.succeeded`` …)."""
        rows = await self.rows(
            "SELECT data::text FROM events WHERE type = $1 ORDER BY position",
            f"fr.aiguillage.partners.{kind}.v1",
        )
        return [orjson.loads(row["data"]) for row in rows]

    async def until(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Wait until a query answers something."""
        async with asyncio.timeout(20):
            while not (rows := await self.rows(statement, *values)):
                await asyncio.sleep(0.01)
        return rows


async def destroy_key(databases: Databases, person_id: UUID) -> None:
    """The person's key is gone, as after an erasure."""
    url = make_url(databases.vault_url).set(drivername="postgresql")
    raw = await asyncpg.connect(url.render_as_string(hide_password=False))
    await raw.execute("DELETE FROM vault.person_keys WHERE person_id = $1", person_id)
    await raw.close()


def answer_body(referral_id: UUID, status: str = "accepted", **given: Any) -> bytes:
    """The body of a partner's answer."""
    data = {"referral_id": str(referral_id), "status": status} | given
    return orjson.dumps(
        {"type": "referral.answered", "timestamp": "2026-11-23T10:00:00Z", "data": data}
    )


def signed(
    secret: str, body: bytes, webhook_id: str, at: datetime | None = None
) -> dict[str, str]:
    """The headers of a signed request."""
    headers = sign([parse_secret(secret)], webhook_id, at or datetime.now(UTC), body)
    return headers | {"content-type": "application/json"}


async def register(hub: Hub, url: str, **given: Any) -> dict[str, Any]:
    """Register an endpoint, as if it had been verified; answers it, with its secret."""
    body = {"partner_id": PARTNER, "service_ids": [SERVICE], "url": url} | given
    answer = await call(hub, "POST", "/v1/endpoints", json=body)
    assert answer.status_code == 201, answer.text
    registered: dict[str, Any] = answer.json()
    async with hub.database.transaction() as tx:
        # whoever asks it at this moment has put it to rest until it has answered
        await tx.execute(
            "UPDATE endpoints SET verified_at = now(), open_until = NULL "
            "WHERE verified_at IS NULL"
        )
    return registered


async def call(hub: Hub, method: str, path: str, **given: Any) -> httpx2.Response:
    """A request to the service; with the administrator's key unless headers are given."""
    given.setdefault("headers", {"authorization": f"Bearer {KEY}"})
    transport = httpx2.ASGITransport(hub.service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as client:
        return await client.request(method, path, **given)


class Desk:
    """A hub with one referral delivered to a partner whose secret we hold."""

    def __init__(self, hub: Hub, secret: str, referral: ReferralRequested) -> None:
        self.hub = hub
        self.secret = secret
        self.referral = referral
        self.id = referral.referral_id

    async def post(self, body: bytes, headers: Any) -> httpx2.Response:
        return await call(self.hub, "POST", "/v1/answers", content=body, headers=headers)

    async def answer(self, status: str, webhook_id: str, **given: Any) -> httpx2.Response:
        body = answer_body(self.id, status, **given)
        return await self.post(body, signed(self.secret, body, webhook_id))

    async def stored(self) -> list[dict[str, Any]]:
        return await self.hub.events("answer.received")


def problem(slug: str, title: str, status: int, **more: Any) -> dict[str, Any]:
    """A problem document."""
    return {
        "type": f"https://aiguillage.fr/problems/{slug}",
        "title": title,
        "status": status,
    } | more


@pytest.fixture
async def hub(databases: Databases) -> AsyncIterator[Hub]:
    """A hub with the seed's directory."""
    hub = Hub(platform_at(databases))
    await hub.prepare()
    yield hub
    await hub.close()
    await hub.platform.close()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """A partner's endpoint."""
    async with sink_on_loopback() as sink:
        yield sink


@pytest.fixture
async def desk(hub: Hub) -> Desk:
    """A referral that was made known to a partner whose secret we hold."""
    endpoint = await register(hub, "http://127.0.0.1:9/hook")
    referral = await hub.refer()
    await hub.hear()
    return Desk(hub, endpoint["secret"], referral)
