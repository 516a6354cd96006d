"""A hub whose partner France Travail is reached by its own API: a simulator on loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from contracts.referrals import (
    AppointmentEvent,
    AppointmentSet,
    Disclosure,
    ReferralCancelled,
    ReferralRequested,
)
from contracts.values import Author, PartnerKind, Reason
from infra.base.clock import system_clock
from infra.delivery.worker import Load
from services.partners.adapters.france_travail_clients import Clients
from tests.support.france_travail import CANARY, CLIENT, NUMBER, PHONE, FranceTravailSimulator
from tests.support.france_travail import SECRET as CLIENT_SECRET
from tests.support.partners import Hub, Sink, call, platform_at, register
from tests.support.postgres import Databases

TRAVAIL = "petite-foret--france-travail"
SERVICE = f"{TRAVAIL}--accompagnement"
AT = datetime(2026, 12, 3, 9, 30, tzinfo=UTC)
LATER = AT + timedelta(days=1)
FIELDS = {"family_name": CANARY, "phone": PHONE, "france_travail_number": NUMBER}
ROOM = Load(600, 600, {})
CHANGES = """
SELECT state, last_error FROM deliveries WHERE message = 'appointment.changed' ORDER BY seq
"""
DESK = {
    "desk_address": "1 place Saint-Martin 59494 Petite-Forêt",
    "desk_email": "accueil@petite-foret.example",
    "desk_phone": "+33327000000",
    "desk_structure": "59459",
}


class Bureau(Hub):
    """The hub, the simulator, and a clock that the test sets."""

    def __init__(self, databases: Databases, travail: FranceTravailSimulator, **given: Any):
        self.now = system_clock()
        self.travail = travail
        platform = platform_at(databases, clock=lambda: self.now, **DESK | given)
        super().__init__(platform)

    @property
    def clients(self) -> Clients:
        return self.channels["rest"].context.clients

    async def close(self) -> None:
        for close in self.service._on_close:
            await close()
        await super().close()

    def endpoint(self, **given: Any) -> dict[str, Any]:
        """How France Travail is registered."""
        application = {
            "auth_url": self.travail.url, "client_id": CLIENT, "client_secret": CLIENT_SECRET,
        }  # fmt: skip
        body = {"partner_id": TRAVAIL, "channel": "rest", "url": self.travail.url}
        return body | {"application": application | given.pop("application", {})} | given

    async def registered(self, **given: Any) -> httpx2.Response:
        """Register France Travail, whatever comes of it."""
        return await call(self, "POST", "/v1/endpoints", json=self.endpoint(**given))

    async def connect(self, **given: Any) -> dict[str, Any]:
        """Register France Travail and let it prove itself."""
        answer = await self.registered(**given)
        assert answer.status_code == 201, answer.text
        await self.verify()
        assert await self.rows("SELECT FROM endpoints WHERE verified_at IS NULL") == []
        endpoint: dict[str, Any] = answer.json()
        return endpoint

    async def asks(self, at: datetime | None = AT, **given: Any) -> ReferralRequested:
        """A request for France Travail, heard."""
        fields = {k: v for k, v in (FIELDS | given.pop("fields", {})).items() if v}
        about = {
            "partner_kind": PartnerKind.FRANCE_TRAVAIL,
            "appointment_at": at,
            "sealed": Disclosure(fields=fields),
        }
        referral = await self.refer(TRAVAIL, SERVICE, **about | given)
        await self.hear()
        return referral

    async def made(self, **given: Any) -> ReferralRequested:
        """A request that made its appointment."""
        referral = await self.asks(**given)
        await self.turn()
        assert len(self.travail.appointments) >= 1
        return referral

    async def says(
        self,
        referral: ReferralRequested,
        event: type[AppointmentEvent] = AppointmentSet,
        at: datetime = LATER,
        **given: Any,
    ) -> None:
        """Somebody, usually the adviser, says something of the appointment; it is heard."""
        said = event(
            referral_id=referral.referral_id, case_id=referral.case_id, starts_at=at,
            **{"author": Author.ADVISER} | given,
        )  # fmt: skip
        await self.say(referral.person_id, said)
        await self.hear()

    async def cancels(self, referral: ReferralRequested, **given: Any) -> None:
        """The adviser stops the referral; it is heard."""
        await self.move(referral, ReferralCancelled, reason=Reason.CLIENT_DECLINED, **given)
        await self.hear()

    async def round(self, seconds: float = 1) -> None:
        """Time passes, and what is due is sent."""
        self.now += timedelta(seconds=seconds)
        await self.turn()

    async def moved_on(self) -> list[tuple[str, str, str]]:
        """Which messages went from which channel to which, and why."""
        return [
            (event["from_channel"], event["to_channel"], event["error"])
            for event in await self.events("delivery.channel-changed")
        ]

    async def beside(self, sink: Sink) -> None:
        """France Travail has a webhook too, behind its API."""
        await register(self, sink.url, partner_id=TRAVAIL, service_ids=[], rank=1)

    async def changes(self) -> list[dict[str, Any]]:
        """What became of the changes of appointments that were to be told."""
        return await self.rows(CHANGES)

    def kept(self) -> tuple[str, str]:
        """Status and date of the one appointment at France Travail."""
        (appointment,) = self.travail.appointments.values()
        return appointment["statut"], appointment["date"]

    def did(self) -> list[str]:
        """What was done with appointments: the methods, in order."""
        return [c.method for c in self.travail.calls if "rendez-vous" in c.path]


@asynccontextmanager
async def bureau_of(
    databases: Databases, travail: FranceTravailSimulator, **given: Any
) -> AsyncIterator[Bureau]:
    """A hub with the seed's directory."""
    bureau = Bureau(databases, travail, **given)
    await bureau.prepare()
    try:
        yield bureau
    finally:
        await bureau.close()
        await bureau.platform.close()


@pytest.fixture
async def bureau(
    databases: Databases, simulator: FranceTravailSimulator
) -> AsyncIterator[Bureau]:
    """A hub, and France Travail that it may be connected to."""
    async with bureau_of(databases, simulator) as made:
        yield made
