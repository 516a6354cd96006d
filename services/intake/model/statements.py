"""A public event becomes events of ours. Pure: no clock, no database, no keys."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from contracts.base import Event
from contracts.days import local_day
from contracts.fields import Facts
from contracts.intake import (
    ActivityAttended,
    AgreementGiven,
    AgreementWithdrawn,
    ContactRecorded,
    FactsSealed,
    FactsStated,
    IdentitySealed,
    InformationGiven,
    LabelSealed,
    NeedExpressed,
    NeedSealed,
    NoteSealed,
    PersonIdentified,
    PersonRegistered,
    agreement_id_of,
    case_id_of,
    need_id_of,
)
from contracts.public import (
    Agreement,
    Person,
    PublicAgreement,
    PublicContact,
    PublicEvent,
    PublicWithdrawal,
)


class UnknownAgreementError(Exception):
    """The agreement to withdraw was never given by this person."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A public event about a person, whose id has been found or is new.

    Whatever the statement creates derives its id from ``contact_id``. ``requester``: the desk
    that it comes from, where that is not the usual one. ``heard_on``: the day in France by the
    hub's own clock.
    """

    person_id: UUID
    contact_id: UUID
    system: str
    stated_at: datetime
    heard_on: date
    payload: PublicEvent
    requester: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """State of a person that decisions need."""

    registered: bool = False
    agreements: frozenset[UUID] = frozenset()


def evolve(known: Known, event: Event) -> Known:
    """Return the state after one more event."""
    if isinstance(event, PersonRegistered):
        return replace(known, registered=True)
    if isinstance(event, AgreementGiven):
        return replace(known, agreements=known.agreements | {event.agreement_id})
    return known


def fold(known: Known, events: Iterable[Event]) -> Known:
    """Return the state after more events."""
    for event in events:
        known = evolve(known, event)
    return known


def decide(known: Known, statement: Statement) -> list[Event]:
    """Return the events of one statement, needs last: the case that they open finds the rest.

    Raises ``UnknownAgreementError``.
    """
    payload, person_id = statement.payload, statement.person_id
    events = _about_person(known, statement, payload.person)
    if isinstance(payload, PublicContact):
        events += _contact(statement, payload)
    elif isinstance(payload, PublicAgreement):
        events.append(_agreement(statement, payload.agreement, 0))
    elif isinstance(payload, PublicWithdrawal):
        agreement_id = payload.agreement_id
        if agreement_id and agreement_id not in known.agreements:
            raise UnknownAgreementError
        events.append(AgreementWithdrawn(person_id=person_id, agreement_id=agreement_id))
    if payload.person and payload.person.facts:
        stated_on = local_day(statement.stated_at)
        facts = dated(payload.person.facts, stated_on, statement.heard_on)
        events.append(FactsStated(person_id=person_id, sealed=FactsSealed(facts=facts)))
    if isinstance(payload, PublicContact):
        events += _activities(statement, payload)
        events += _needs(statement, payload)
    return events


def created(events: Iterable[Event]) -> dict[str, Any]:
    """Return what the events created, as the receipt names it; ids only."""
    result: dict[str, Any] = {"contact_id": None, "needs": [], "agreements": []}
    for event in events:
        if isinstance(event, ContactRecorded):
            result["contact_id"] = event.contact_id
        elif isinstance(event, AgreementGiven):
            result["agreements"].append(event.agreement_id)
        elif isinstance(event, NeedExpressed):
            case_id = case_id_of(event.need_id)
            need = {"need_id": event.need_id, "case_id": case_id}
            result["needs"].append(need | {"thematique": event.thematique.value})
    return result


def _about_person(known: Known, statement: Statement, person: Person | None) -> list[Event]:
    identity = person.identity if person else None
    sealed = IdentitySealed(identity=identity) if identity else None
    if not known.registered:
        return [
            PersonRegistered(
                person_id=statement.person_id, anonymous=person is None, sealed=sealed
            )
        ]
    return [PersonIdentified(person_id=statement.person_id, sealed=sealed)] if sealed else []


def _contact(statement: Statement, payload: PublicContact) -> list[Event]:
    contact_id, person_id = statement.contact_id, statement.person_id
    events: list[Event] = [
        ContactRecorded(
            contact_id=contact_id,
            person_id=person_id,
            mode=payload.mode,
            kind=payload.kind,
            anonymous=payload.person is None,
            system=statement.system,
            site=payload.site,
            do_not_contact=payload.do_not_contact,
            sealed=NoteSealed(note=payload.note) if payload.note else None,
        )
    ]
    if notice := payload.information:
        events.append(
            InformationGiven(
                contact_id=contact_id,
                person_id=person_id,
                notice=notice.notice,
                version=notice.version,
            )
        )
    return events + [_agreement(statement, a, n) for n, a in enumerate(payload.agreements)]


def _agreement(statement: Statement, given: Agreement, number: int) -> AgreementGiven:
    return AgreementGiven(
        agreement_id=agreement_id_of(statement.contact_id, number),
        person_id=statement.person_id,
        partner_kind=given.partner_kind,
        partner_id=given.partner_id,
        fields=list(given.fields),
        until=given.until,
        evidence=given.evidence,
    )


def dated(facts: Facts, day: date, today: date) -> Facts:
    """Give facts without a day the day they were stated; none is true from after today.

    A clock or a day that is ahead would make void whatever is said before it comes.
    """
    known = {
        name: fact.model_copy(update={"as_of": min(fact.as_of or day, today)})
        for name in facts.model_fields_set
        if (fact := getattr(facts, name)) is not None
    }
    return facts.model_copy(update=known)


def _activities(statement: Statement, payload: PublicContact) -> list[Event]:
    return [
        ActivityAttended(
            contact_id=statement.contact_id,
            person_id=statement.person_id,
            activity=attended.activity,
            helped=attended.helped,
            sealed=LabelSealed(label=attended.label) if attended.label else None,
        )
        for attended in payload.activities
    ]


def _needs(statement: Statement, payload: PublicContact) -> list[Event]:
    requester = statement.requester
    return [
        NeedExpressed(
            need_id=need_id_of(statement.contact_id, number),
            contact_id=statement.contact_id,
            person_id=statement.person_id,
            thematique=need.thematique,
            urgent=need.urgent,
            parallel=need.parallel,
            do_not_contact=payload.do_not_contact,
            sealed=(
                NeedSealed(note=need.note, requester=requester)
                if need.note or requester
                else None
            ),
        )
        for number, need in enumerate(payload.needs)
    ]
