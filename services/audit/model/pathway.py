"""What a person's events add up to, and each of them as a sentence. Pure."""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from contracts import persons, referrals
from contracts.audit import CaseState, ReferralState
from contracts.base import Contract, Event
from contracts.referrals import EVENT_OF_STATUS
from contracts.values import (
    CaseStatus,
    ReferralStatus,
)


class Pathway(Contract):
    """Every case and referral of one person, by id."""

    cases: dict[UUID, CaseState] = {}
    referrals: dict[UUID, ReferralState] = {}

    def case(self, case_id: UUID, **changes: Any) -> "Pathway":
        """With one case changed; unchanged where there is no such case."""
        if case_id not in self.cases:
            return self
        case = self.cases[case_id].model_copy(update=changes)
        return self.model_copy(update={"cases": {**self.cases, case_id: case}})

    def referral(self, referral_id: UUID, **changes: Any) -> "Pathway":
        """With one referral changed; unchanged where there is no such referral."""
        if referral_id not in self.referrals:
            return self
        return self.with_referral(
            referral_id, self.referrals[referral_id].model_copy(update=changes)
        )

    def with_referral(self, referral_id: UUID, referral: ReferralState) -> "Pathway":
        """With this referral."""
        return self.model_copy(update={"referrals": {**self.referrals, referral_id: referral}})


def same_person(person_id: UUID, events: Iterable[Event]) -> set[UUID]:
    """The ids that a person is known by, after merges and their undoing, in order."""
    into: dict[UUID, UUID] = {}
    for event in events:
        if isinstance(event, persons.PersonMerged):
            into[event.person_id] = event.into
        elif isinstance(event, persons.PersonUnmerged):
            into.pop(event.person_id, None)
    root = _root(person_id, into)
    return {person_id} | {p for p in {*into, *into.values()} if _root(p, into) == root}


def _root(person_id: UUID, into: dict[UUID, UUID]) -> UUID:
    while person_id in into:
        person_id = into[person_id]
    return person_id


STATUS_OF_EVENT = {event: status for status, event in EVENT_OF_STATUS.items()}


def evolve(pathway: Pathway, event: Event) -> Pathway:
    """The pathway after one more event; events that say nothing of cases change nothing."""
    if isinstance(event, referrals.ReferralMoved):
        return _moved(pathway, event)
    step = _STEPS.get(type(event))
    return step(pathway, event) if step else pathway


def _opened(pathway: Pathway, event: referrals.CaseOpened) -> Pathway:
    case = CaseState(
        status=CaseStatus.ACTIVE,
        thematique=event.thematique,
        need_id=event.need_id,
        urgent=event.urgent,
    )
    return pathway.model_copy(update={"cases": {**pathway.cases, event.case_id: case}})


def _closed(pathway: Pathway, event: referrals.CaseClosed) -> Pathway:
    return pathway.case(event.case_id, status=event.status, outcome=event.outcome)


def _exhausted(pathway: Pathway, event: referrals.CaseExhausted) -> Pathway:
    return pathway.case(event.case_id, exhausted=event.reason)


def _appointment_over(pathway: Pathway, event: referrals.AppointmentEnded) -> Pathway:
    return pathway.referral(event.referral_id, appointment_at=None)


def _ranked(pathway: Pathway, event: referrals.ProposalMade) -> Pathway:
    return pathway.case(event.case_id, proposal_id=event.proposal_id, exhausted=None)


def _proposed(pathway: Pathway, event: referrals.ReferralProposed) -> Pathway:
    referral = ReferralState(
        status=ReferralStatus.DRAFT,
        case_id=event.case_id,
        partner_id=event.partner_id,
        partner_kind=event.partner_kind,
        service_id=event.service_id,
        proposal_id=event.proposal_id,
        attempt=event.attempt,
        replaces=event.replaces,
    )
    again = pathway.case(event.case_id, exhausted=None)
    return again.with_referral(event.referral_id, referral)


def _confirmed(pathway: Pathway, event: referrals.ReferralConfirmed) -> Pathway:
    return pathway.referral(
        event.referral_id, confirmed_by=event.confirmed_by, author=event.author
    )


def _requested(pathway: Pathway, event: referrals.ReferralRequested) -> Pathway:
    return pathway.referral(
        event.referral_id,
        status=ReferralStatus.REQUESTED,
        agreement_id=event.agreement_id,
        appointment_at=event.appointment_at,
    )


def _moved(pathway: Pathway, event: referrals.ReferralMoved) -> Pathway:
    changes: dict[str, Any] = {
        name: getattr(event, name)
        for name in ("business_status", "author", "on_behalf_of", "reason", "outcome")
    }
    if type(event) in STATUS_OF_EVENT:  # the others refine a status without changing it
        changes["status"] = STATUS_OF_EVENT[type(event)]
    return pathway.referral(event.referral_id, **changes)


def _appointed(pathway: Pathway, event: referrals.AppointmentSet) -> Pathway:
    return pathway.referral(event.referral_id, appointment_at=event.starts_at)


_STEPS: dict[type[Event], Callable[[Pathway, Any], Pathway]] = {
    referrals.CaseOpened: _opened,
    referrals.CaseClosed: _closed,
    referrals.CaseExhausted: _exhausted,
    referrals.ProposalMade: _ranked,
    referrals.ReferralProposed: _proposed,
    referrals.ReferralConfirmed: _confirmed,
    referrals.ReferralRequested: _requested,
    referrals.AppointmentSet: _appointed,
    referrals.AppointmentAttended: _appointment_over,
    referrals.AppointmentMissed: _appointment_over,
    referrals.AppointmentExcused: _appointment_over,
}
