"""What events add up to: the states of cases and referrals. Pure.

This is the one fold of states: the auditor's page, replays of anything as of any date and
statistics all show what ``evolve`` says. It reads the clear part as parsed JSON rather than as
contract models, because a replay folds every event that ever was; an event whose clear part
lacks what it needs changes nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from contracts import persons, referrals
from contracts.referrals import EVENT_OF_STATUS
from contracts.values import CaseStatus, ReferralStatus
from services.audit.model.steps import Steps

Data = dict[str, Any]


@dataclass(slots=True)
class Case:
    """One case, as its events say (``contracts.audit.CaseState``)."""

    status: str
    thematique: str
    need_id: str
    urgent: bool = False
    proposal_id: str | None = None
    exhausted: str | None = None
    outcome: str | None = None


@dataclass(slots=True)
class Referral:
    """One referral, as its events say (``contracts.audit.ReferralState``)."""

    status: str
    case_id: str
    partner_id: str
    partner_kind: str
    service_id: str
    proposal_id: str | None = None
    attempt: int = 1
    replaces: str | None = None
    business_status: str | None = None
    confirmed_by: str | None = None
    agreement_id: str | None = None
    author: str | None = None
    on_behalf_of: str | None = None
    reason: str | None = None
    outcome: str | None = None
    appointment_at: str | None = None


@dataclass(slots=True)
class Pathway:
    """Cases and referrals, by id: of one person, or of everybody."""

    cases: dict[str, Case] = field(default_factory=dict)
    referrals: dict[str, Referral] = field(default_factory=dict)

    def states(self) -> dict[str, Any]:
        """As JSON, by id."""
        return {
            "cases": {name: state_of(case) for name, case in self.cases.items()},
            "referrals": {name: state_of(each) for name, each in self.referrals.items()},
        }


def state_of(state: Case | Referral) -> dict[str, Any]:
    """One state as JSON."""
    return {f.name: getattr(state, f.name) for f in fields(state)}


def same_person(person_id: str, events: Iterable[tuple[str, Data]]) -> set[str]:
    """The ids that a person is known by, after merges and their undoing, in order."""
    into: dict[str, str] = {}
    for event_type, data in events:
        if event_type == persons.PersonMerged.type:
            into[data["person_id"]] = data["into"]
        elif event_type == persons.PersonUnmerged.type:
            into.pop(data["person_id"], None)
    root = _root(person_id, into)
    return {person_id} | {p for p in {*into, *into.values()} if _root(p, into) == root}


def _root(person_id: str, into: dict[str, str]) -> str:
    seen = set()
    while person_id in into and person_id not in seen:  # whatever a log says, this ends
        seen.add(person_id)
        person_id = into[person_id]
    return person_id


STATUS_OF_EVENT = {event: status for status, event in EVENT_OF_STATUS.items()}
# An enumeration is slow to ask for its members: they are asked once.
ACTIVE = CaseStatus.ACTIVE.value
DRAFT, REQUESTED = ReferralStatus.DRAFT.value, ReferralStatus.REQUESTED.value


STEPS = Steps[Pathway, Data]()


def evolve(pathway: Pathway, event_type: str, data: Data) -> None:
    """Change the pathway by one more event; most say nothing of cases and change nothing.

    Raises KeyError or TypeError, with nothing changed, if the data lack what the event says.
    """
    if step := STEPS.get(event_type):
        step(pathway, data)


@STEPS.on(referrals.CaseOpened.type)
def _opened(pathway: Pathway, data: Data) -> None:
    pathway.cases[_id(data, "case_id")] = Case(
        status=ACTIVE,
        thematique=data["thematique"],
        need_id=data["need_id"],
        urgent=data.get("urgent", False),
    )


@STEPS.on(referrals.CaseClosed.type)
def _closed(pathway: Pathway, data: Data) -> None:
    status, case = data["status"], pathway.cases.get(data["case_id"])
    if case:
        case.status, case.outcome = status, data.get("outcome")


@STEPS.on(referrals.CaseExhausted.type)
def _exhausted(pathway: Pathway, data: Data) -> None:
    reason = data["reason"]
    if case := pathway.cases.get(data["case_id"]):
        case.exhausted = reason


@STEPS.on(referrals.ProposalMade.type)
def _ranked(pathway: Pathway, data: Data) -> None:
    proposal_id = data["proposal_id"]
    if case := pathway.cases.get(data["case_id"]):
        case.proposal_id, case.exhausted = proposal_id, None


@STEPS.on(referrals.ReferralProposed.type)
def _proposed(pathway: Pathway, data: Data) -> None:
    referral = Referral(
        status=DRAFT,
        case_id=data["case_id"],
        partner_id=data["partner_id"],
        partner_kind=data["partner_kind"],
        service_id=data["service_id"],
        proposal_id=data["proposal_id"],
        attempt=data.get("attempt", 1),
        replaces=data.get("replaces"),
    )
    pathway.referrals[_id(data, "referral_id")] = referral
    if case := pathway.cases.get(referral.case_id):
        case.exhausted = None


@STEPS.on(referrals.ReferralConfirmed.type)
def _confirmed(pathway: Pathway, data: Data) -> None:
    confirmed_by, author = data["confirmed_by"], data["author"]
    if referral := pathway.referrals.get(data["referral_id"]):
        referral.confirmed_by, referral.author = confirmed_by, author


@STEPS.on(referrals.ReferralRequested.type)
def _requested(pathway: Pathway, data: Data) -> None:
    agreement_id = data["agreement_id"]
    if referral := pathway.referrals.get(data["referral_id"]):
        referral.status, referral.agreement_id = REQUESTED, agreement_id
        referral.appointment_at = data.get("appointment_at")


@STEPS.on(referrals.ReferralReceived.type)
def _moved(pathway: Pathway, data: Data) -> None:
    author = data["author"]
    if referral := pathway.referrals.get(data["referral_id"]):
        referral.author = author
        referral.business_status = data.get("business_status")
        referral.on_behalf_of = data.get("on_behalf_of")
        referral.reason = data.get("reason")
        referral.outcome = data.get("outcome")


def _moved_to(status: str) -> Callable[[Pathway, Data], None]:
    def step(pathway: Pathway, data: Data) -> None:
        _moved(pathway, data)
        if referral := pathway.referrals.get(data["referral_id"]):
            referral.status = status

    return step


@STEPS.on(referrals.AppointmentSet.type)
def _appointed(pathway: Pathway, data: Data) -> None:
    starts_at = data["starts_at"]
    if referral := pathway.referrals.get(data["referral_id"]):
        referral.appointment_at = starts_at


@STEPS.on(
    referrals.AppointmentAttended.type,
    referrals.AppointmentMissed.type,
    referrals.AppointmentExcused.type,
)
def _appointment_over(pathway: Pathway, data: Data) -> None:
    if referral := pathway.referrals.get(data["referral_id"]):
        referral.appointment_at = None


def _id(data: Data, name: str) -> str:
    """An id that states are kept by; TypeError unless it is a text."""
    value = data[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is not a text")
    return value


STEPS.update({event.type: _moved_to(status.value) for status, event in EVENT_OF_STATUS.items()})
