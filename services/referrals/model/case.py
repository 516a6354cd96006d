"""A case: one need being worked on; and what decisions about it look at. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from uuid import UUID

from contracts.base import Event
from contracts.intake import NeedSealed
from contracts.partners import Deadlines
from contracts.referrals import CaseClosed, CaseOpened, DirectoryRead, ProposalMade
from contracts.values import CapacityStatus, CaseStatus, Reason, ReferralStatus
from services.referrals.model.person import Person
from services.referrals.model.proposals import propose
from services.referrals.model.referral import (
    Referral,
)
from services.referrals.model.routing import MAX_ATTEMPTS, Service
from services.referrals.model.rules import Rules

Versioned = tuple[UUID, int, tuple[Event, ...]]


@dataclass(frozen=True, slots=True)
class Case:
    """A case, folded from its events."""

    case_id: UUID
    person_id: UUID
    thematique: str
    urgent: bool
    do_not_contact: bool
    parallel: bool = False
    status: CaseStatus = CaseStatus.ACTIVE
    proposal_id: UUID | None = None
    proposals: int = 0
    ranked: tuple[str, ...] = ()
    version: int = 0

    @classmethod
    def of(cls, opened: CaseOpened) -> "Case":
        """Begin a case."""
        return cls(
            case_id=opened.case_id,
            person_id=opened.person_id,
            thematique=opened.thematique,
            urgent=opened.urgent,
            do_not_contact=opened.do_not_contact,
            parallel=opened.parallel,
            version=1,
        )

    def proposed(self, made: ProposalMade) -> "Case":
        """Return the case with a new proposal."""
        return replace(
            self,
            proposal_id=made.proposal_id,
            proposals=self.proposals + 1,
            ranked=tuple(made.ranked),
        )


def evolve_case(case: Case | None, event: Event) -> Case | None:
    """Return the case after an event."""
    if isinstance(event, CaseOpened):
        return Case.of(event)
    if case is None:
        return None
    case = replace(case, version=case.version + 1)
    if isinstance(event, ProposalMade):
        return case.proposed(event)
    if isinstance(event, CaseClosed):
        return replace(case, status=event.status)
    return case


@dataclass(frozen=True)
class Changes:
    """Events for the streams they belong to, with the versions those must have."""

    case: tuple[Event, ...] = ()
    referrals: tuple[Versioned, ...] = ()

    def __add__(self, other: "Changes") -> "Changes":
        return Changes(self.case + other.case, self.referrals + other.referrals)


@dataclass(frozen=True)
class DecisionContext:
    """Directory, rules, the person and the day: what decisions look at besides the aggregate.

    ``today``: by the hub's clock; deadlines count from it, agreements count on it.
    ``facts_on``: the day of the contact, where one is being routed: the person's facts and age
    count as of then, whenever the contact reached the hub.
    """

    services: Mapping[str, Service]
    rules: Rules
    person: Person
    today: date
    directory: DirectoryRead
    need: NeedSealed = field(default_factory=NeedSealed)
    facts_on: date | None = None

    @property
    def known_on(self) -> date:
        """The day as of which the person's facts count; never ahead of the hub's own."""
        return min(self.facts_on or self.today, self.today)

    def verdicts(self, case: Case) -> dict[str, str]:
        """Return whether each service of a case's proposal suits the person today."""
        ranked = [self.services[s] for s in case.ranked if s in self.services]
        explained = propose(case.thematique, self.person, ranked, self.rules, self.known_on)
        return {c.service_id: c.verdict for c in explained.candidates}

    def full(self, service_id: str) -> bool:
        """Return whether a service has reported that it takes nobody now."""
        return self.services[service_id].capacity is CapacityStatus.NO_CAPACITY

    def deadlines(self, service_id: str) -> Deadlines:
        """Return a service's own deadlines; the usual ones for a service that has left."""
        service = self.services.get(service_id)
        return service.deadlines if service else Deadlines()


@dataclass(frozen=True, slots=True)
class ReroutingOptions:
    """Options of the next referral: after which one, how often at most, and how carefully.

    ``suggested``: the service that the partner named. ``cautious``: never sent by itself.
    ``verdicts``: who suits today, where that was just found out.
    """

    replaces: UUID | None = None
    reason: Reason | None = None
    suggested: str | None = None
    cautious: bool = False
    limit: int = MAX_ATTEMPTS
    verdicts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempts:
    """The referrals of a case so far."""

    referrals: Sequence[Referral] = field(default=())

    @property
    def services(self) -> frozenset[str]:
        """Services that were asked, or are: drafts that were dropped do not count."""
        kept = (r for r in self.referrals if r.status is not ReferralStatus.ENTERED_IN_ERROR)
        return frozenset(r.service_id for r in kept)

    @property
    def count(self) -> int:
        """Number of services that were asked or are."""
        return len(self.services)

    @property
    def open(self) -> tuple[Referral, ...]:
        """Referrals in which something may still happen."""
        return tuple(r for r in self.referrals if r.open)

    def but(self, referral: Referral) -> "Attempts":
        """Return the attempts without one."""
        return Attempts([r for r in self.referrals if r.referral_id != referral.referral_id])
