"""What the intake service says.

Facts about the person never leave the sealed part of these events.
"""

from datetime import date
from uuid import UUID

from uuid_utils.compat import uuid5

from contracts.base import Event, Sealed
from contracts.bounds import FieldNames, Id, Name, Remark, Word
from contracts.fields import Facts, Identity
from contracts.persons import (
    DuplicateDismissed,
    DuplicateSuspected,
    PersonMerged,
    PersonShared,
    PersonUnmerged,
)
from contracts.values import ContactKind, ContactMode, Evidence, PartnerKind, Thematique


class IdentitySealed(Sealed):
    """Identity as stated by one system."""

    identity: Identity


class PersonRegistered(Event):
    """A person is known for the first time; the identity, if any was given, is sealed."""

    type = "fr.aiguillage.intake.person.registered.v1"
    person_id: UUID
    anonymous: bool
    sealed: IdentitySealed | None = None


class PersonIdentified(Event):
    """A later statement of identity; it supersedes field by field."""

    type = "fr.aiguillage.intake.person.identified.v1"
    person_id: UUID
    sealed: IdentitySealed | None = None


class FactsSealed(Sealed):
    """Facts as stated; a later statement of the same fact supersedes."""

    facts: Facts


class FactsStated(Event):
    """Facts about a person were stated; which ones and their values are sealed.

    ``corrects``: an adviser put right what was known, whatever day it was said to be of.
    """

    type = "fr.aiguillage.intake.facts.stated.v1"
    person_id: UUID
    corrects: bool = False
    sealed: FactsSealed | None = None


class NoteSealed(Sealed):
    """Free text."""

    note: Remark


class ContactRecorded(Event):
    """One visit or call took place. ``system`` is the name of the key that emitted it."""

    type = "fr.aiguillage.intake.contact.recorded.v1"
    contact_id: UUID
    person_id: UUID
    mode: ContactMode
    kind: ContactKind
    anonymous: bool
    system: Word
    site: Word | None = None
    do_not_contact: bool = False
    sealed: NoteSealed | None = None


class NeedSealed(Sealed):
    """A need in free words, and the desk where it was said, where that is not the usual one.

    Whoever sends a person may say something of them: so it is sealed.
    """

    note: Remark | None = None
    requester: Word | None = None


class NeedExpressed(Event):
    """The person seeks something: opens a case. Last event of its contact."""

    type = "fr.aiguillage.intake.need.expressed.v1"
    need_id: UUID
    contact_id: UUID
    person_id: UUID
    thematique: Thematique
    urgent: bool = False
    do_not_contact: bool = False
    parallel: bool = False
    sealed: NeedSealed | None = None


class InformationGiven(Event):
    """The person was informed (RGPD art. 13)."""

    type = "fr.aiguillage.intake.information.given.v1"
    contact_id: UUID
    person_id: UUID
    notice: Word
    version: Word


class AgreementGiven(Event):
    """The person agrees that named fields go to a partner until a date."""

    type = "fr.aiguillage.intake.agreement.given.v1"
    agreement_id: UUID
    person_id: UUID
    partner_kind: PartnerKind | None = None
    partner_id: Id | None = None
    fields: FieldNames
    until: date
    evidence: Evidence


class AgreementWithdrawn(Event):
    """The person withdraws one agreement, or all (no agreement_id)."""

    type = "fr.aiguillage.intake.agreement.withdrawn.v1"
    person_id: UUID
    agreement_id: UUID | None = None


class LabelSealed(Sealed):
    """What the desk called it: free text."""

    label: Name


class ActivityAttended(Event):
    """A workshop, terminal or session was used."""

    type = "fr.aiguillage.intake.activity.attended.v1"
    contact_id: UUID
    person_id: UUID
    activity: Word
    helped: bool
    sealed: LabelSealed | None = None


EVENTS: tuple[type[Event], ...] = (
    PersonRegistered,
    PersonIdentified,
    FactsStated,
    ContactRecorded,
    NeedExpressed,
    InformationGiven,
    AgreementGiven,
    AgreementWithdrawn,
    ActivityAttended,
    DuplicateSuspected,
    DuplicateDismissed,
    PersonMerged,
    PersonUnmerged,
    PersonShared,
)


def case_id_of(need_id: UUID) -> UUID:
    """Return the id of the case that a need opens."""
    return uuid5(need_id, "case")


def need_id_of(contact_id: UUID, number: int) -> UUID:
    """Return the id of a contact's need; ``number`` counts from 0."""
    return uuid5(contact_id, f"need {number}")


def agreement_id_of(contact_id: UUID, number: int) -> UUID:
    """Return the id of an agreement given with a contact; ``number`` counts from 0."""
    return uuid5(contact_id, f"agreement {number}")
