"""France Travail on loopback: tokens, persons, appointments, offers, as strict as the real one.

Written from public clients of its interfaces (rdv-insertion, les Emplois de l'inclusion), not
from ours. Every call is recorded; failures come on demand.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from infra.delivery.ssrf_guard import Guard, parse_networks
from services.partners.adapters.france_travail import (
    Agent,
    Desk,
    FranceTravail,
    OutgoingReferral,
)
from services.partners.adapters.france_travail_http import Http, Pace
from services.partners.adapters.france_travail_tokens import Credentials

OPEN = Guard(parse_networks("127.0.0.0/8"))
NUMBER, STRANGER, TWINS = "12345678901", "99999999999", "22222222222"
CANARY, PHONE = "Zéphyrine-Canari", "+33600000001"
REFERRAL = UUID("11111111-1111-4111-8111-111111111111")
AT = datetime(2026, 12, 3, 9, 30, tzinfo=UTC)
DESK = Desk("Espace Emploi et Numérique", "1 place Saint-Martin 59494 Petite-Forêt")
FAST = 50
"""Calls a second where the pace is not what is tested."""
CLIENT, SECRET = "PAR_aiguillage_0000", "a-client-secret"
AGENT_HEADERS = ("pa-identifiant-agent", "pa-nom-agent", "pa-prenom-agent")
SCOPES = {
    "rechercher-usager": {"api_rechercher-usagerv2", "rechercheusager", "profil_accedant"},
    "rendez-vous-partenaire": {"api_rendez-vous-partenairev1", "gererRDV"},
    "offresdemploi": {"api_offresdemploiv2", "o2dsoffre", f"application_{CLIENT}"},
}
REALMS = {"offresdemploi": "/partenaire"}
ENUMERATIONS = {
    "initiateur": {"USAGER", "PARTENAIRE"},
    "modaliteContact": {"PHYSIQUE", "TELEPHONE", "VISIO"},
    "motif": {"AUT", "ACC", "ORI"},
    "statut": {"PRIS", "EFFECTUE", "MODIFIE", "ABSENT", "ANNULE"},
    "typeReception": {"COL", "IND"},
}
ORGANISATIONS = {"IND", "FT", "CD", "DCD", "ML", "CE"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = Callable[[], web.Response]


@dataclass
class Call:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: str


@dataclass
class _Token:
    realm: str
    scopes: set[str]
    until: datetime


@dataclass
class FranceTravailSimulator:
    """What it knows, what it was asked, and how it shall fail."""

    url: str = ""
    now: datetime = datetime(2026, 11, 24, 9, tzinfo=UTC)
    token_seconds: int = 1499
    token_delay: float = 0.0
    bad_client_status: int = 401
    persons: dict[str, int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    offers: list[dict[str, Any]] = field(default_factory=list)
    own_ids: bool = False
    per_second: int = 10
    calls: list[Call] = field(default_factory=list)
    appointments: dict[str, dict[str, Any]] = field(default_factory=dict)
    _failures: dict[str, deque[Answer]] = field(default_factory=dict)
    _tokens: dict[str, _Token] = field(default_factory=dict)
    _person_tokens: set[str] = field(default_factory=set)
    _recent: deque[float] = field(default_factory=deque)

    def clock(self) -> datetime:
        """The simulator's own time, by which tokens expire."""
        return self.now

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)

    def revoke(self) -> None:
        """No token is good any more."""
        self._tokens.clear()

    def fail(self, where: str, answer: Answer, times: int = 1) -> None:
        """Answer so to the next calls of a path that holds these words."""
        self._failures.setdefault(where, deque()).extend([answer] * times)

    def count(self, words: str) -> int:
        """How many calls had these words in their path."""
        return sum(words in call.path for call in self.calls)

    def called(self) -> Counter[str]:
        """How often each method and path was called."""
        return Counter(f"{call.method} {call.path}" for call in self.calls)

    @web.middleware
    async def gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record the call; fail on demand; else ask for a token and the agent's headers."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = (await request.read()).decode()
        self.calls.append(
            Call(request.method, request.path, dict(request.query), headers, body)
        )
        for where, answers in self._failures.items():
            if where in request.path and answers:
                return answers.popleft()()
        if "access_token" in request.path:
            return await handler(request)
        return self._refusal(request) or await handler(request)

    def _refusal(self, request: web.Request) -> web.Response | None:
        product = request.path.split("/")[2]
        token = self._tokens.get(
            request.headers.get("Authorization", "").removeprefix("Bearer ")
        )
        if token is None or token.until <= self.now:
            return web.Response(status=401)
        if token.realm != REALMS.get(product, "/agent") or SCOPES[product] - token.scopes:
            return web.json_response({"codeRetour": "R001"}, status=403)
        if token.realm != "/agent":
            return None
        if any(name not in request.headers for name in AGENT_HEADERS):
            return web.Response(status=302, headers={"Location": "/authentification"})
        if not all(request.headers[name].strip() for name in AGENT_HEADERS):
            return web.Response(status=401)
        return None

    async def token(self, request: web.Request) -> web.Response:
        """OAuth2, client credentials."""
        form, realm = await request.post(), request.query.get("realm", "")
        if self.token_delay:
            await asyncio.sleep(self.token_delay)
        if form.get("grant_type") != "client_credentials" or realm not in (
            "/partenaire",
            "/agent",
        ):
            return web.json_response({"error": "invalid_request"}, status=400)
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return web.json_response({"error": "invalid_client"}, status=self.bad_client_status)
        scopes = set(str(form.get("scope", "")).split())
        if not scopes or (realm == "/partenaire" and f"application_{CLIENT}" not in scopes):
            return web.json_response({"error": "invalid_scope"}, status=400)
        value = uuid4().hex
        until = self.now + timedelta(seconds=self.token_seconds)
        self._tokens[value] = _Token(realm, scopes, until)
        said = {"access_token": value, "token_type": "Bearer", "expires_in": self.token_seconds}
        return web.json_response(said | {"scope": " ".join(sorted(scopes))})

    async def look_up(self, request: web.Request) -> web.Response:
        """By France Travail number: nobody and several are a 200, too."""
        number = str((await request.json()).get("numeroFranceTravail", ""))
        if len(number) != 11 or not number.isdigit():
            return web.json_response({"codeRetour": "R997"}, status=400)
        known = self.persons.get(number, 0)
        if known != 1:
            return web.json_response({"codeRetour": "S002" if known == 0 else "S003"})
        token = f"usager.{uuid4().hex}"
        self._person_tokens.add(token)
        return web.json_response(
            {"codeRetour": "S001", "topIdentiteCertifiee": "O", "jetonUsager": token}
        )

    async def make(self, request: web.Request) -> web.Response:
        """A new appointment, under the caller's id or one of its own."""
        if (body := await self._appointment(request)) is None:
            return web.json_response({"message": "Requête invalide"}, status=400)
        given = str(body.get("id") or "")
        if given in self.appointments:
            return web.json_response({"message": "Le rendez-vous existe déjà"}, status=409)
        identifier = uuid4().hex if self.own_ids or not given else given
        self.appointments[identifier] = body
        return web.json_response({"id": identifier}, status=201)

    async def change(self, request: web.Request) -> web.Response:
        """The same appointment, with other facts."""
        if (body := await self._appointment(request)) is None:
            return web.json_response({"message": "Requête invalide"}, status=400)
        if body.get("id") not in self.appointments:
            return web.Response(status=404)
        self.appointments[body["id"]] = body
        return web.json_response({"id": body["id"]})

    async def remove(self, request: web.Request) -> web.Response:
        """An appointment that is cancelled."""
        if request.headers.get("ft-jeton-usager") not in self._person_tokens:
            return web.Response(status=403)
        identifier = request.match_info["id"]
        if identifier in self.closed:
            said = {"message": "Le rendez-vous est déjà clôturé"}
            return web.json_response(said, status=400)
        gone = self.appointments.pop(identifier, None) is None
        return web.Response(status=404 if gone else 204)

    async def _appointment(self, request: web.Request) -> dict[str, Any] | None:
        """The body, if it is what the interface asks for."""
        body: dict[str, Any] = await request.json()
        known = request.headers.get("ft-jeton-usager") in self._person_tokens
        listed = all(body.get(name) in words for name, words in ENUMERATIONS.items())
        code = body.get("organisme", {}).get("code")
        try:
            aware = datetime.fromisoformat(body["date"]).tzinfo is not None
        except (KeyError, ValueError):
            return None
        fits = known and listed and code in ORGANISATIONS and aware
        return body if fits and type(body.get("duree")) is int else None

    async def search(self, request: web.Request) -> web.Response:
        """Offers, at most 150 at a time, at most ten calls a second."""
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) >= self.per_second:
            return web.Response(status=429, headers={"Retry-After": "1"})
        self._recent.append(now)
        first, _, last = request.query.get("range", "0-149").partition("-")
        start, end = int(first), int(last)
        if not 0 <= start <= end <= 3149 or end - start >= 150:
            return web.json_response({"message": "range"}, status=400)
        return self._page([o for o in self.offers if _matches(o, request)], start, end)

    def _page(self, found: list[dict[str, Any]], start: int, end: int) -> web.Response:
        page = found[start : end + 1]
        if not page:
            return web.Response(status=204)
        where = f"offres {start}-{start + len(page) - 1}/{len(found)}"
        return web.json_response(
            {"resultats": page, "filtresPossibles": []},
            status=206 if len(page) < len(found) else 200,
            headers={"Content-Range": where, "Accept-Range": "offres 150"},
        )


def _matches(offer: dict[str, Any], request: web.Request) -> bool:
    wanted = request.query.get("codeROME")
    return wanted is None or offer.get("romeCode") in wanted.split(",")


def offer(number: int, **given: Any) -> dict[str, Any]:
    """An offer as France Travail writes it (the fields that matter here)."""
    return {
        "id": f"{number:07d}",
        "intitule": f"Employé administratif / Employée administrative n° {number}",
        "dateCreation": "2026-11-20T14:01:33.000Z",
        "lieuTravail": {
            "libelle": "59 - Petite-Forêt", "codePostal": "59494", "commune": "59459",
        },
        "romeCode": "M1602",
        "romeLibelle": "Opérations administratives",
        "entreprise": {"nom": "Mairie"},
        "typeContrat": "CDD",
        "typeContratLibelle": "CDD - 6 Mois",
        "nombrePostes": 1,
        "origineOffre": {"origine": "1", "urlOrigine": f"https://offres.example/{number}"},
    } | given  # fmt: skip


@asynccontextmanager
async def france_travail_simulator() -> AsyncIterator[FranceTravailSimulator]:
    """A simulator on a free port."""
    simulator = FranceTravailSimulator()
    app = web.Application(middlewares=[simulator.gate])
    usagers = "/partenaire/rechercher-usager/v2/usagers"
    appointments = "/partenaire/rendez-vous-partenaire/v1/rendez-vous"
    app.add_routes(
        [
            web.post("/connexion/oauth2/access_token", simulator.token),
            web.post(f"{usagers}/par-numero-francetravail", simulator.look_up),
            web.post(appointments, simulator.make),
            web.put(appointments, simulator.change),
            web.delete(f"{appointments}/{{id}}", simulator.remove),
            web.get("/partenaire/offresdemploi/v2/offres/search", simulator.search),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    simulator.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield simulator
    finally:
        await runner.cleanup()


def credentials(simulator: FranceTravailSimulator, **given: str) -> Credentials:
    """Of an application that the simulator knows."""
    known = {
        "auth_url": simulator.url, "api_url": simulator.url,
        "client_id": CLIENT, "client_secret": SECRET,
    }  # fmt: skip
    return Credentials(**known | given)


def http(simulator: FranceTravailSimulator, guard: Guard = OPEN, seconds: float = 3) -> Http:
    """A client on the simulator's time."""
    pace = Pace(FAST)
    return Http(guard, clock=simulator.clock, deadline_seconds=seconds, pace=pace)


def adapter(simulator: FranceTravailSimulator, **given: Any) -> FranceTravail:
    """The adapter under test."""
    named = {name: given.pop(name) for name in ("guard", "seconds") if name in given}
    known = credentials(simulator, **given)
    return FranceTravail(known, DESK, Agent(), http(simulator, **named))


def request(number: str | None = NUMBER, **given: Any) -> OutgoingReferral:
    """A request for a person with a canary's name."""
    fields = {"family_name": CANARY, "phone": PHONE, "france_travail_number": number}
    known: dict[str, Any] = {
        "message": "referral.requested", "referral_id": REFERRAL, "theme": "Trouver un emploi",
        "fields": {k: v for k, v in fields.items() if v}, "appointment_at": AT,
    }  # fmt: skip
    return OutgoingReferral(**known | given)


def cancellation(**given: Any) -> OutgoingReferral:
    """The same referral, cancelled."""
    return request(message="referral.cancelled", appointment_at=None, **given)


def status(code: int, text: str = "", **headers: str) -> Answer:
    """An answer that a test plans."""
    return lambda: web.Response(status=code, text=text, headers=headers)


@pytest.fixture
async def simulator() -> AsyncIterator[FranceTravailSimulator]:
    """The other side, which knows one person, and two under one number."""
    async with france_travail_simulator() as simulator:
        simulator.persons = {NUMBER: 1, TWINS: 2}
        yield simulator


@pytest.fixture
async def travail(simulator: FranceTravailSimulator) -> AsyncIterator[FranceTravail]:
    """The adapter, speaking to it."""
    made = adapter(simulator)
    yield made
    await made.close()
