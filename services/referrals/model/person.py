"""A person as known when a need is routed. Pure."""

from dataclasses import dataclass, field, replace
from datetime import date
from uuid import UUID

from contracts import intake, rights
from contracts.base import Event
from contracts.fields import Facts, Identity
from contracts.intake import AgreementGiven, NeedSealed
from contracts.values import PartnerKind

PERSON_EVENTS = frozenset(
    event.type
    for event in (
        intake.PersonRegistered,
        intake.PersonIdentified,
        intake.FactsStated,
        intake.AgreementGiven,
        intake.AgreementWithdrawn,
        intake.NeedExpressed,
        rights.PersonRestricted,
        rights.PersonUnrestricted,
    )
)
"""Events of the intake that are kept per person."""


class AgreementMissingError(Exception):
    """No agreement of the person covers this partner today: nothing may be disclosed."""


class PersonRestrictedError(Exception):
    """The person's data may only be kept for now (RGPD art. 18): nothing may be disclosed."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person as known when a need is routed; later statements supersede."""

    identity: Identity = field(default_factory=Identity)
    facts: Facts = field(default_factory=Facts)
    agreements: tuple[AgreementGiven, ...] = ()
    restricted: bool = False

    def stated(self, facts: Facts, *, corrects: bool = False) -> "Person":
        """Return the person after new facts were stated, or put right."""
        return replace(self, facts=self.facts.with_newer(facts, corrects=corrects))

    def identified(self, identity: Identity) -> "Person":
        """Return the person after an identity was stated."""
        given = {n: v for n in Identity.model_fields if (v := getattr(identity, n)) is not None}
        return replace(self, identity=self.identity.model_copy(update=given))

    def agreed(self, agreement: AgreementGiven) -> "Person":
        """Return the person after an agreement."""
        return replace(self, agreements=(*self.agreements, agreement))

    def withdrew(self, agreement_id: UUID | None) -> "Person":
        """Return the person after withdrawing one agreement, or all."""
        kept = [a for a in self.agreements if agreement_id and a.agreement_id != agreement_id]
        return replace(self, agreements=tuple(kept))

    def agreement_for(self, partner_id: str, kind: PartnerKind, on: date) -> AgreementGiven:
        """Return the latest agreement that covers a partner on a day.

        Raises ``AgreementMissingError`` if there is none, ``PersonRestrictedError``.
        """
        if self.restricted:
            raise PersonRestrictedError
        for agreement in reversed(self.agreements):
            addressed = agreement.partner_id == partner_id or agreement.partner_kind == kind
            if addressed and agreement.until >= on:
                return agreement
        raise AgreementMissingError(f"no agreement covers {partner_id}")


def age_on(birth_date: date, day: date) -> int:
    """Return completed years on a day ("25 ans révolus" ends before the 26th birthday)."""
    before = (day.month, day.day) < (birth_date.month, birth_date.day)
    return day.year - birth_date.year - before


def months_between(start: date, day: date) -> int:
    """Return the completed months from a day to another; 0 if it lies ahead."""
    months = (day.year - start.year) * 12 + day.month - start.month - (day.day < start.day)
    return max(months, 0)


def evolve_person(person: Person, event: Event) -> Person:
    """Return the person as known after an event of the intake, opened."""
    match event:
        case intake.PersonRegistered() | intake.PersonIdentified() if event.sealed:
            return person.identified(event.sealed.identity)
        case intake.FactsStated() if event.sealed:
            return person.stated(event.sealed.facts, corrects=event.corrects)
        case intake.AgreementGiven():
            return person.agreed(event)
        case intake.AgreementWithdrawn():
            return person.withdrew(event.agreement_id)
        case rights.PersonRestricted() | rights.PersonUnrestricted():
            return replace(person, restricted=isinstance(event, rights.PersonRestricted))
    return person


@dataclass
class History:
    """Events of the intake about one person, opened: (position, event), oldest first."""

    events: list[tuple[int, Event]] = field(default_factory=list)

    def person(self, before: int | None = None) -> Person:
        """Return the person as known before a position; now, if none is given."""
        person = Person()
        for position, event in self.events:
            if before is None or position < before:
                person = evolve_person(person, event)
        return person

    def need_of(self, case_id: UUID) -> NeedSealed:
        """Return the sealed part of the need that a case is about."""
        for _, event in self.events:
            if not isinstance(event, intake.NeedExpressed) or event.sealed is None:
                continue
            if intake.case_id_of(event.need_id) == case_id:
                return event.sealed
        return NeedSealed()
