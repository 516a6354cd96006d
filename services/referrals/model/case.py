"""A case: one need being worked on, from its proposal to its end. Pure."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID, uuid5

from contracts.base import Event
from contracts.intake import AgreementGiven
from contracts.referrals import (
    CaseClosed,
    CaseExhausted,
    CaseOpened,
    Disclosure,
    ProposalMade,
    ReferralConfirmed,
    ReferralProposed,
    ReferralRequested,
)
from contracts.values import Author, CaseStatus, PartnerKind, ReferralStatus
from services.referrals.model.person import AgreementMissingError, Person
from services.referrals.model.referral import ForbiddenTransitionError, Referral
from services.referrals.model.routing import MAX_ATTEMPTS, NOT_ELIGIBLE, Rules, Service, propose

_CONTACT = ("family_name", "given_name", "phone", "email")
MINIMAL_FIELDS: dict[PartnerKind, frozenset[str]] = {
    PartnerKind.FRANCE_TRAVAIL: frozenset(
        {*_CONTACT, "birth_date", "france_travail_number", "commune", "situation", "need_note"}
    ),
    PartnerKind.MISSION_LOCALE: frozenset(
        {*_CONTACT, "birth_date", "commune", "situation", "study_level", "need_note"}
    ),
    PartnerKind.PLIE: frozenset(
        {*_CONTACT, "birth_date", "commune", "situation", "minimum_benefit", "need_note"}
    ),
    PartnerKind.CLAP: frozenset({*_CONTACT, "birth_date", "project"}),
    PartnerKind.TEMP_AGENCY: frozenset({"family_name", "given_name", "phone"}),
    PartnerKind.TRAINING_BODY: frozenset({*_CONTACT, "study_level", "project"}),
    PartnerKind.INFORMATION_JEUNESSE: frozenset({"given_name", "phone", "email"}),
    PartnerKind.DIGITAL_SPACE: frozenset({"given_name", "phone"}),
    PartnerKind.E2C: frozenset({*_CONTACT, "birth_date", "study_level"}),
    PartnerKind.CAP_EMPLOI: frozenset({*_CONTACT, "birth_date", "recognised_disability"}),
}
"""The most that each kind of partner may receive; the agreement can only narrow it."""


@dataclass(frozen=True, slots=True)
class Case:
    """A case, folded from its events."""

    case_id: UUID
    person_id: UUID
    thematique: str
    urgent: bool
    do_not_contact: bool
    status: CaseStatus = CaseStatus.ACTIVE
    proposal_id: UUID | None = None
    ranked: tuple[str, ...] = ()
    version: int = 0


def evolve_case(case: Case | None, event: Event) -> Case | None:
    """The case after an event."""
    if isinstance(event, CaseOpened):
        return Case(
            event.case_id, event.person_id, event.thematique, event.urgent,
            event.do_not_contact, version=1,
        )  # fmt: skip
    if case is None:
        return None
    case = replace(case, version=case.version + 1)
    if isinstance(event, ProposalMade):
        return replace(case, proposal_id=event.proposal_id, ranked=tuple(event.ranked))
    if isinstance(event, CaseClosed):
        return replace(case, status=event.status)
    return case


@dataclass(frozen=True)
class Decided:
    """Events for the streams they belong to, with the versions those must have."""

    case: tuple[Event, ...] = ()
    referrals: tuple[tuple[UUID, int, tuple[Event, ...]], ...] = ()


@dataclass(frozen=True)
class World:
    """What decisions look at besides the aggregate: directory, rules, the person, the day."""

    services: Mapping[str, Service]
    rules: Rules
    person: Person
    today: date
    need_note: str | None = None


def open_case(opened: CaseOpened, world: World) -> Decided:
    """A case, its proposal, and a first referral if any service may suit."""
    explanation = propose(
        opened.thematique, world.person, world.services.values(), world.rules, world.today
    )
    ranked = [c.service_id for c in explanation.candidates if c.verdict != NOT_ELIGIBLE]
    made = ProposalMade(
        proposal_id=uuid5(opened.case_id, "proposal 1"),
        case_id=opened.case_id,
        person_id=opened.person_id,
        rules=world.rules.name,
        rules_digest=world.rules.digest,
        evaluated_on=world.today,
        ranked=ranked,
        policy=world.services[ranked[0]].policy if ranked else "confirm",
        sealed=explanation,
    )
    case = Case(
        opened.case_id, opened.person_id, opened.thematique, opened.urgent,
        opened.do_not_contact, proposal_id=made.proposal_id, ranked=tuple(ranked),
    )  # fmt: skip
    after = next_referral(case, (), world)
    return Decided((opened, made, *after.case), after.referrals)


def next_referral(
    case: Case, tried: Sequence[str], world: World, replaces: UUID | None = None
) -> Decided:
    """A referral to the best candidate not yet tried, or an exhausted case.

    Never the same service twice for a case, at most ``MAX_ATTEMPTS`` (referral-states).
    """
    left = [s for s in case.ranked if s not in tried and s in world.services]
    if not left or len(tried) >= MAX_ATTEMPTS:
        reason = "no-candidate" if not case.ranked else "all-tried" if not left else "attempts"
        return Decided((CaseExhausted(case_id=case.case_id, reason=reason),))
    service = world.services[left[0]]
    proposed = _proposed(case, service, len(tried) + 1, replaces)
    events: list[Event] = [proposed]
    if service.policy == "auto":
        # without an agreement it stays a draft: an adviser asks for it, nobody is refused
        with suppress(AgreementMissingError):
            events += _request(case, Referral.of(proposed), world, "policy:auto", Author.HUB)
    return Decided((), ((proposed.referral_id, 0, tuple(events)),))


def _proposed(
    case: Case, service: Service, attempt: int, replaces: UUID | None
) -> ReferralProposed:
    assert case.proposal_id is not None
    return ReferralProposed(
        referral_id=uuid5(case.case_id, f"referral {service.service_id}"),
        case_id=case.case_id,
        person_id=case.person_id,
        proposal_id=case.proposal_id,
        partner_id=service.partner_id,
        partner_kind=service.kind,
        service_id=service.service_id,
        replaces=replaces,
        attempt=attempt,
    )


def confirm(
    case: Case, referral: Referral, world: World, by: str, author: Author
) -> tuple[Event, ...]:
    """Confirm a draft and send it to the partner.

    Raises ``ForbiddenTransitionError`` if it is no draft, ``AgreementMissingError`` if the
    person's agreement does not cover the partner today.
    """
    if referral.status is not ReferralStatus.DRAFT:
        raise ForbiddenTransitionError(referral.status, ReferralStatus.REQUESTED, author)
    return tuple(_request(case, referral, world, by, author))


def _request(
    case: Case, referral: Referral, world: World, by: str, author: Author
) -> list[Event]:
    agreement = world.person.agreement_for(
        referral.partner_id, referral.partner_kind, world.today
    )
    confirmed = ReferralConfirmed(
        referral_id=referral.referral_id, case_id=case.case_id, confirmed_by=by, author=author
    )
    requested = ReferralRequested(
        referral_id=referral.referral_id,
        case_id=case.case_id,
        person_id=case.person_id,
        partner_id=referral.partner_id,
        partner_kind=referral.partner_kind,
        service_id=referral.service_id,
        thematique=case.thematique,
        urgent=case.urgent,
        do_not_contact=case.do_not_contact,
        agreement_id=agreement.agreement_id,
        agreed_until=agreement.until,
        replaces=referral.replaces,
        sealed=Disclosure(fields=disclosed(world, referral.partner_kind, agreement)),
    )
    return [confirmed, requested]


def disclosed(world: World, kind: PartnerKind, agreement: AgreementGiven) -> dict[str, Any]:
    """What this kind of partner needs, as far as the person agreed, and nothing else."""
    allowed = MINIMAL_FIELDS[kind] & set(agreement.fields)
    known = world.person.identity.model_dump(mode="json", exclude_none=True)
    facts = world.person.facts.model_dump(mode="json", exclude_none=True)
    known |= {name: fact["value"] for name, fact in facts.items()}
    if world.need_note:
        known["need_note"] = world.need_note
    return {name: known[name] for name in sorted(allowed) if name in known}


def after_move(
    case: Case, referral: Referral, status: ReferralStatus, tried: Sequence[str], world: World
) -> Decided:
    """What the case does when one of its referrals has moved: close, or go on to the next."""
    if case.status is not CaseStatus.ACTIVE:
        return Decided()
    if status is ReferralStatus.COMPLETED:
        return Decided((CaseClosed(case_id=case.case_id, status=CaseStatus.COMPLETED),))
    if status in (ReferralStatus.REJECTED, ReferralStatus.FAILED):
        return next_referral(case, tried, world, referral.referral_id)
    return Decided()
