"""What a public event says becomes events of ours. Pure: no clock, no database, no keys."""

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
    said: PublicEvent
    requester: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What deciding needs to know of a person."""

    registered: bool = False
    agreements: frozenset[UUID] = frozenset()


def evolve(known: Known, event: Event) -> Known:
    """The state after one more event."""
    if isinstance(event, PersonRegistered):
        return replace(known, registered=True)
    if isinstance(event, AgreementGiven):
        return replace(known, agreements=known.agreements | {event.agreement_id})
    return known


def fold(known: Known, events: Iterable[Event]) -> Known:
    """The state after more events."""
    for event in events:
        known = evolve(known, event)
    return known


def decide(known: Known, statement: Statement) -> list[Event]:
    """The events of one statement, needs last: the case that they open finds all the rest.

    Raises ``UnknownAgreementError``.
    """
    said = statement.said
    events = _about_person(known, statement, said.person)
    if isinstance(said, PublicContact):
        events += _contact(statement, said)
    elif isinstance(said, PublicAgreement):
        events.append(_agreement(statement, said.agreement, 0))
    elif isinstance(said, PublicWithdrawal):
        events.append(_withdrawal(known, statement, said))
    events += _facts(statement, said.person)
    if isinstance(said, PublicContact):
        events += _activities(statement, said)
        events += _needs(statement, said)
    return events


def created(events: Iterable[Event]) -> dict[str, Any]:
    """What the events created, as the receipt names it; ids only."""
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


def _contact(statement: Statement, said: PublicContact) -> list[Event]:
    contact_id, person_id = statement.contact_id, statement.person_id
    events: list[Event] = [
        ContactRecorded(
            contact_id=contact_id,
            person_id=person_id,
            mode=said.mode,
            kind=said.kind,
            anonymous=said.person is None,
            system=statement.system,
            site=said.site,
            do_not_contact=said.do_not_contact,
            sealed=_note(said.note),
        )
    ]
    if told := said.information:
        events.append(
            InformationGiven(
                contact_id=contact_id,
                person_id=person_id,
                notice=told.notice,
                version=told.version,
            )
        )
    return events + [_agreement(statement, a, n) for n, a in enumerate(said.agreements)]


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


def _withdrawal(
    known: Known, statement: Statement, said: PublicWithdrawal
) -> AgreementWithdrawn:
    if said.agreement_id and said.agreement_id not in known.agreements:
        raise UnknownAgreementError
    return AgreementWithdrawn(person_id=statement.person_id, agreement_id=said.agreement_id)


def _facts(statement: Statement, person: Person | None) -> list[Event]:
    if person is None or person.facts is None:
        return []
    day, today = local_day(statement.stated_at), statement.heard_on
    sealed = FactsSealed(facts=dated(person.facts, day, today))
    return [FactsStated(person_id=statement.person_id, sealed=sealed)]


def dated(facts: Facts, day: date, today: date) -> Facts:
    """Facts without a day were true on the day they were stated; none is true from after today.

    A clock or a day that is ahead would make void whatever is said before it comes.
    """
    known = {
        name: fact.model_copy(update={"as_of": min(fact.as_of or day, today)})
        for name in facts.model_fields_set
        if (fact := getattr(facts, name)) is not None
    }
    return facts.model_copy(update=known)


def _activities(statement: Statement, said: PublicContact) -> list[Event]:
    return [
        ActivityAttended(
            contact_id=statement.contact_id,
            person_id=statement.person_id,
            activity=attended.activity,
            helped=attended.helped,
            sealed=LabelSealed(label=attended.label) if attended.label else None,
        )
        for attended in said.activities
    ]


def _needs(statement: Statement, said: PublicContact) -> list[Event]:
    return [
        NeedExpressed(
            need_id=need_id_of(statement.contact_id, number),
            contact_id=statement.contact_id,
            person_id=statement.person_id,
            thematique=need.thematique,
            urgent=need.urgent,
            parallel=need.parallel,
            do_not_contact=said.do_not_contact,
            sealed=_need(need.note, statement.requester),
        )
        for number, need in enumerate(said.needs)
    ]


def _need(note: str | None, requester: str | None) -> NeedSealed | None:
    return NeedSealed(note=note, requester=requester) if note or requester else None


def _note(text: str | None) -> NoteSealed | None:
    return NoteSealed(note=text) if text else None
