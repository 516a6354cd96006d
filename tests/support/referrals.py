"""Invented persons, services and worlds for tests of the referral service's model."""

from datetime import date, datetime
from typing import Any
from uuid import uuid4

from contracts.base import Event
from contracts.fields import Facts, Identity
from contracts.intake import AgreementGiven
from contracts.referrals import CaseOpened, DirectoryRead
from contracts.values import (
    Author,
    Evidence,
    PartnerKind,
    ReferralStatus,
    Situation,
    Thematique,
)
from services.referrals.app import RULES
from services.referrals.model.case import Attempts, Case, Changes, DecisionContext, evolve_case
from services.referrals.model.case_flow import after_move, confirm, open_case
from services.referrals.model.person import Person
from services.referrals.model.referral import Move, Referral, evolve_referral, move_referral
from services.referrals.model.routing import Service
from services.referrals.model.rules import Rules

TODAY = date(2026, 11, 23)
JOB = Thematique("trouver-un-emploi--repondre-a-des-offres-demploi")
ALL_RULES = Rules.parse(RULES.read_bytes(), RULES.stem, 1)
FIELDS = ["family_name", "given_name", "phone", "birth_date", "minimum_benefit"]


def service(kind: PartnerKind, name: str | None = None, **given: Any) -> Service:
    """A service for job seekers."""
    name = name or kind
    return Service(name, f"partner-{name}", kind, name, (JOB,), **given)


ML = service(PartnerKind.MISSION_LOCALE, policy="auto", zone=("245901160",))
FT = service(PartnerKind.FRANCE_TRAVAIL)
TEMP = service(PartnerKind.TEMP_AGENCY)
TRAINING = service(PartnerKind.TRAINING_BODY)


def person(born: date | None = date(2006, 5, 17), **facts: Any) -> Person:
    """A young job seeker of Petite-Forêt who has agreed to everything, but for ``facts``."""
    stated = {
        "birth_date": born,
        "commune": "59459",
        "situation": Situation.JOB_SEEKER,
        **facts,
    }
    dated: dict[str, Any] = {n: {"value": v} for n, v in stated.items() if v is not None}
    return Person(
        Identity(family_name="Dubrulle", given_name="Inès", phone="+33612345678"),
        Facts(**dated),
        tuple(agreement(kind) for kind in PartnerKind),
    )


def stated(who: Person, **facts: Any) -> Person:
    """A person after some facts were stated."""
    return who.stated(Facts(**facts))


def agreement(
    kind: PartnerKind, until: date = date(2028, 1, 1), fields: list[str] = FIELDS
) -> AgreementGiven:
    """An agreement that covers a kind of partner."""
    return AgreementGiven(
        agreement_id=uuid4(), person_id=uuid4(), partner_kind=kind, fields=fields, until=until,
        evidence=Evidence.ORAL,
    )  # fmt: skip


def world(who: Person, *services: Service, today: date = TODAY) -> DecisionContext:
    """A directory, the built-in rules and a day."""
    read = DirectoryRead(position=1, referrals=0, day=today)
    return DecisionContext({s.service_id: s for s in services}, ALL_RULES, who, today, read)


def opened(**given: Any) -> CaseOpened:
    """A need of a person."""
    return CaseOpened(
        case_id=uuid4(), person_id=uuid4(), need_id=uuid4(), thematique=JOB, **given
    )


class Story:
    """A case and its referrals as they go on; ``said``: short names of events, in order."""

    def __init__(self, about: DecisionContext, **given: Any) -> None:
        self.world = about
        self.case: Case | None = None
        self.referrals: dict[Any, Referral] = {}
        self.said: list[str] = []
        self.events: list[Event] = []
        self.take(open_case(opened(**given), about))

    def take(self, decided: Changes) -> list[str]:
        before = len(self.said)
        for event in decided.case:
            self.case = evolve_case(self.case, event)
            self._say(event)
        for referral_id, version, events in decided.referrals:
            known = self.referrals.get(referral_id)
            assert (known.version if known else 0) == version
            for event in events:
                known = evolve_referral(known, event)
                self._say(event)
            assert known is not None
            self.referrals[referral_id] = known
        return self.said[before:]

    def _say(self, event: Event) -> None:
        self.events.append(event)
        self.said.append(event.type.removeprefix("fr.aiguillage.referrals.")[:-3])

    @property
    def tried(self) -> Attempts:
        return Attempts(list(self.referrals.values()))

    def at(self, service_id: str) -> Referral:
        return [r for r in self.referrals.values() if r.service_id == service_id][-1]

    def moves(self, service_id: str, status: ReferralStatus, **given: Any) -> list[str]:
        """The partner of a service (or whoever is named) moves its referral."""
        author = given.pop("author", Author.PARTNER)
        move = Move(status, author, **given)
        found, before = self.at(service_id), len(self.said)
        assert self.case is not None
        moved = move_referral(found, move, self.world.today)
        self.take(Changes((), ((found.referral_id, found.version, moved),)))
        now = self.at(service_id)
        self.take(after_move(self.case, now, self.tried.but(now), move, self.world))
        return self.said[before:]

    def confirms(self, service_id: str, appointment_at: datetime | None = None) -> None:
        found = self.at(service_id)
        assert self.case is not None
        by, author = "adviser:anne", Author.ADVISER
        events = confirm(self.case, found, self.world, by, author, appointment_at)
        self.take(Changes((), ((found.referral_id, found.version, events),)))

    def states(self) -> dict[str, str]:
        return {r.service_id: r.status for r in self.referrals.values()}


def story(*services: Any, who: Person | None = None, **given: Any) -> Story:
    return Story(world(who or person(), *services), **given)
