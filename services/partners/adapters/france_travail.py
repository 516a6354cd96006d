"""France Travail's language: a person looked up by their number, an appointment made for them.

francetravail.io: rechercher-usager v2, rendez-vous-partenaire v1, as rdv-insertion uses them.
A person is never looked up by NIR, which the hub does not hold (contracts/checks/nir.py).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from contracts.days import PARIS
from contracts.values import MessageKind
from infra.base.ids import derived_id
from infra.delivery.webhook.replies import GONE_ALREADY, ascii_of, plain
from infra.delivery.webhook.sender import Outcome, Sent
from services.partners.adapters.france_travail_http import (
    CallError,
    Http,
    Reply,
    Request,
    for_good,
    for_now,
    header_safe,
    refused,
)
from services.partners.adapters.france_travail_tokens import (
    AGENT_SCOPES,
    Credentials,
    Realm,
    Tokens,
)
from services.partners.model.message_kinds import CANCELLED, REQUESTED

LOOK_UP = "/partenaire/rechercher-usager/v2/usagers/par-numero-francetravail"
APPOINTMENTS = "/partenaire/rendez-vous-partenaire/v1/rendez-vous"
NUMBER = re.compile(r"[0-9]{11}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_THERE_ALREADY = re.compile(r"deja (?:exist|present|cree|enregistre)|existe deja|already exist")
_MAY_BE_REPEATS = frozenset({400, 409, 422})


class LookUp(StrEnum):
    """What a search for one person came to; all three come with status 200."""

    FOUND = "S001"
    NOBODY = "S002"
    SEVERAL = "S003"


@dataclass(frozen=True, slots=True)
class Person:
    """A search's result; the token stands for the person in the calls that follow."""

    answer: LookUp
    token: str | None = field(default=None, repr=False)
    certified: bool = False


class AppointmentStatus(StrEnum):
    """``statut`` of an appointment."""

    MADE = "PRIS"
    ATTENDED = "EFFECTUE"
    CHANGED = "MODIFIE"
    MISSED = "ABSENT"
    CANCELLED = "ANNULE"


@dataclass(frozen=True, slots=True)
class Agent:
    """Who calls: a person, or ``BATCH`` with the name of a program (both names)."""

    identifier: str = "BATCH"
    family_name: str = "Aiguillage"
    given_name: str = "Aiguillage"

    def headers(self) -> dict[str, str]:
        """Return the headers that name the agent; raises ``ValueError`` if one is empty.

        France Travail answers 302 to missing ones, and 401 to empty ones.
        """
        named = {
            "pa-identifiant-agent": _plain(self.identifier),
            "pa-nom-agent": _plain(self.family_name),
            "pa-prenom-agent": _plain(self.given_name),
        }
        if not all(named.values()):
            raise ValueError("an agent has an identifier and both names")
        return named


@dataclass(frozen=True, slots=True)
class Desk:
    """Where appointments are, as France Travail shows it; ``None`` is left out.

    ``organisation``: there is no code for a commune, ``IND`` is what others use for the rest.
    """

    name: str
    address: str
    email: str | None = None
    phone: str | None = None
    structure_id: str | None = None
    organisation: str = "IND"
    minutes: int = 30
    contact_by: str = "PHYSIQUE"


@dataclass(frozen=True, slots=True)
class OutgoingReferral:
    """A message for France Travail: ``referral.requested`` or ``referral.cancelled``.

    ``appointment_at`` goes with a request. ``fields``: what the person agreed to disclose.
    ``external_id``: the appointment's, if a former delivery answered another than ours.
    """

    message: MessageKind
    referral_id: UUID
    fields: Mapping[str, Any] = field(repr=False)
    theme: str = ""
    appointment_at: datetime | None = None
    do_not_contact: bool = False
    external_id: str | None = None

    @property
    def appointment_id(self) -> str:
        """Derived from the referral: a repeated delivery finds its appointment again."""
        if self.external_id and _ID.fullmatch(self.external_id):
            return self.external_id
        return str(derived_id(self.referral_id, "france-travail appointment"))


class FranceTravail:
    """One application in the agents' realm; never raises for what others do."""

    def __init__(self, credentials: Credentials, desk: Desk, agent: Agent, http: Http) -> None:
        self._api = credentials.api_url.rstrip("/")
        self._desk = desk
        self._agent = agent.headers()
        self._http = http
        self._tokens = Tokens(http, credentials, Realm.AGENT, AGENT_SCOPES)

    async def deliver(self, referral: OutgoingReferral) -> Sent:
        """Make or cancel an appointment, once; PERMANENT: use another channel."""
        does = {REQUESTED: self._create, CANCELLED: self._cancel}.get(referral.message)
        if does is None:
            return Sent(Outcome.PERMANENT, "message-not-spoken")
        return await self._within_deadline(lambda: does(referral))

    async def update(self, referral: OutgoingReferral, status: AppointmentStatus) -> Sent:
        """Say what became of an appointment, or that it was moved."""
        return await self._within_deadline(lambda: self._update(referral, status))

    async def prove(self) -> Sent:
        """Ask for a new token: whether these credentials are good."""
        return await self._within_deadline(self._tokens.prove)

    async def look_up(self, number: str) -> Person:
        """The person with a France Travail number (11 digits). Raises ``CallError``."""
        if not NUMBER.fullmatch(number):
            raise for_good("identifier-malformed")
        reply = await self._call("POST", LOOK_UP, json={"numeroFranceTravail": number})
        return _person(reply, self._http.clock())

    async def close(self) -> None:
        """Close every connection."""
        await self._tokens.close()
        await self._http.close()

    async def _within_deadline(self, work: Callable[[], Awaitable[Sent]]) -> Sent:
        try:
            async with asyncio.timeout(self._http.deadline_seconds):
                return await work()
        except TimeoutError:
            return Sent(Outcome.RETRY, "timeout")
        except CallError as error:
            return error.sent

    async def _create(self, referral: OutgoingReferral) -> Sent:
        if referral.external_id:  # made before: sent again by hand, it is no second one
            return await self._update(referral, AppointmentStatus.MADE)
        body = self._appointment(referral, AppointmentStatus.MADE)
        reply = await self._for_person("POST", referral, json=body)
        if reply.ok:
            given = str(reply.object().get("id") or "")
            known = given if _ID.fullmatch(given) else referral.appointment_id
            return _done(reply, known)
        if reply.status == 409 or _says(reply, _THERE_ALREADY):
            # what a crash left: we had sent it, and did not come to record it
            return _done(reply, referral.appointment_id)
        raise refused(reply, self._http.clock())

    async def _update(self, referral: OutgoingReferral, status: AppointmentStatus) -> Sent:
        body = self._appointment(referral, status)
        reply = await self._for_person("PUT", referral, json=body)
        if not reply.ok:
            raise refused(reply, self._http.clock())
        return _done(reply, referral.appointment_id)

    async def _cancel(self, referral: OutgoingReferral) -> Sent:
        path = f"/{referral.appointment_id}"
        reply = await self._for_person("DELETE", referral, path)
        if reply.ok or reply.status in (404, 410) or _says(reply, GONE_ALREADY):
            return _done(reply, referral.appointment_id)
        raise refused(reply, self._http.clock())

    async def _for_person(
        self, method: str, referral: OutgoingReferral, path: str = "", json: Any = None
    ) -> Reply:
        number = referral.fields.get("france_travail_number")
        if not number:
            raise for_good("no-identifier")
        person = await self.look_up(str(number))
        if person.answer is LookUp.NOBODY:
            raise for_good("person-unknown", 200)
        if person.answer is LookUp.SEVERAL:
            raise for_good("person-ambiguous", 200)
        named = {"ft-jeton-usager": person.token or ""}
        return await self._call(method, APPOINTMENTS + path, named, json)

    async def _call(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, json: Any = None
    ) -> Reply:
        named = self._agent | dict(headers or {})
        return await self._tokens.call(Request(method, self._api + path, named, json))

    def _appointment(
        self, referral: OutgoingReferral, status: AppointmentStatus
    ) -> dict[str, Any]:
        """Of the person only a telephone number that may be called; no free text."""
        if referral.appointment_at is None:
            raise for_good("no-appointment")
        desk, phone = self._desk, referral.fields.get("phone")
        return _filled(
            id=referral.appointment_id,
            adresse=desk.address,
            date=referral.appointment_at.astimezone(PARIS).isoformat(timespec="seconds"),
            duree=desk.minutes,
            initiateur="PARTENAIRE",
            libelleAdresse=desk.name,
            modaliteContact=desk.contact_by,
            motif="ORI",
            organisme=_filled(
                code=desk.organisation,
                emailContact=desk.email,
                idStructure=desk.structure_id,
                libelleStructure=desk.name,
                telephoneContact=desk.phone,
            ),
            statut=status.value,
            telephoneContactUsager=None if referral.do_not_contact else phone,
            theme=referral.theme or None,
            typeReception="IND",
        )


def _done(reply: Reply, external_id: str) -> Sent:
    return Sent(Outcome.OK, status=reply.status, external_id=external_id)


def _person(reply: Reply, now: datetime) -> Person:
    fields = reply.object()
    code = str(fields.get("codeRetour") or "")
    if code in _PERMANENT:
        raise for_good(_PERMANENT[code], reply.status)
    if code in _LATER:
        wait = refused(reply, now).sent.retry_after if not reply.ok else None
        raise for_now(_LATER[code], reply.status, wait)
    if reply.status == 404:  # some day the answer to nobody (rdv-insertion expects it)
        return Person(LookUp.NOBODY)
    if not reply.ok:
        raise refused(reply, now)
    if code in (LookUp.NOBODY, LookUp.SEVERAL):
        return Person(LookUp(code))
    token = header_safe(fields.get("jetonUsager"))
    if code != LookUp.FOUND or token is None:
        raise for_now("malformed-answer", reply.status)  # a proxy's page, or a new code
    return Person(LookUp.FOUND, token, fields.get("topIdentiteCertifiee") == "O")


_PERMANENT = {"R001": "not-authorised", "R997": "request-refused"}
_LATER = {"R998": "service-failing", "R999": "service-unavailable"}


def _says(reply: Reply, pattern: re.Pattern[str]) -> bool:
    """Whether a refusal says that there is nothing left to do; its text is not kept."""
    if reply.status not in _MAY_BE_REPEATS:
        return False
    return pattern.search(plain(reply.body)) is not None


def _plain(text: str) -> str:
    """ASCII: servers disagree on accents in headers."""
    return " ".join(ascii_of(text).split())


def _filled(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
