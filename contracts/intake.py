"""What municipal systems send us (the public vocabulary) and what the intake service then says.

The public part is strict: a field that nobody knows is refused, so that a typing error is
seen by whoever made it. Facts about the person never leave the sealed part of our own events.
"""

from datetime import date
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator
from uuid_utils.compat import uuid5

from contracts.base import Event, Sealed, Strict
from contracts.bounds import FieldNames, Id, Name, Remark, Word
from contracts.numbers import FranceTravailNumber, Phone
from contracts.persons import (
    DuplicateDismissed,
    DuplicateSuspected,
    PersonMerged,
    PersonShared,
    PersonUnmerged,
)
from contracts.statements import (
    Dated,
    DatedBenefit,
    DatedBirthDate,
    DatedCommune,
    DatedMobility,
    DatedNeighbourhood,
    DatedProject,
    DatedRegistration,
    DatedSituation,
    DatedStudyLevel,
    FreeText,
    SensitiveDisability,
)
from contracts.types import AheadDay, Line, Slug
from contracts.values import (
    ContactKind,
    ContactMode,
    Evidence,
    PartnerKind,
    Thematique,
)

ShortText = Annotated[Line, StringConstraints(min_length=1, max_length=150)]
Ref = Annotated[Line, StringConstraints(min_length=1, max_length=120)]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
"""A name of a partner, a service or a desk in the settings: kept in clear, so no free text."""
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254)]


class Identity(Strict):
    """Who the person is. Always sealed; a NIR is refused in every field."""

    family_name: ShortText | None = None
    given_name: ShortText | None = None
    phone: Phone | None = None
    email: Email | None = None
    address: ShortText | None = None
    france_travail_number: FranceTravailNumber | None = None


class Facts(Strict):
    """What is known about the person, each statement with its source. Always sealed."""

    birth_date: DatedBirthDate | None = None
    commune: DatedCommune | None = None
    situation: DatedSituation | None = None
    registered_with_france_travail_since: DatedRegistration | None = None
    minimum_benefit: DatedBenefit | None = None
    recognised_disability: SensitiveDisability | None = None
    priority_neighbourhood: DatedNeighbourhood | None = None
    study_level: DatedStudyLevel | None = None
    mobility: DatedMobility | None = None
    project: DatedProject | None = None

    def with_newer(self, stated: "Facts", *, corrects: bool = False) -> "Facts":
        """These facts after others were stated: of two about the same thing, that which was
        true later counts, whichever was said first; what puts something right always does."""
        newer = {
            name: fact
            for name in stated.model_fields_set
            if (fact := getattr(stated, name)) is not None
            and (corrects or not _older(fact, getattr(self, name)))
        }
        return self.model_copy(update=newer)


def _older(fact: Dated[Any], known: Dated[Any] | None) -> bool:
    return bool(known and known.as_of and fact.as_of and fact.as_of < known.as_of)


class Person(Strict):
    """The person as the emitting system knows them: by its own reference, or our person_id."""

    ref: Ref | None = Field(None, description="The emitting system's own id of the person.")
    person_id: UUID | None = Field(None, description="Our id, when a former answer gave it.")
    identity: Identity | None = None
    facts: Facts | None = None

    @model_validator(mode="after")
    def _named(self) -> "Person":
        if self.ref is None and self.person_id is None:
            raise ValueError("give ref (your own id of the person) or person_id (ours)")
        return self


class Need(Strict):
    """What is sought: a data·inclusion v1 thématique."""

    thematique: Thematique
    note: FreeText | None = None
    urgent: bool = False
    parallel: bool = Field(
        False, description="Ask several partners at once; the first to accept has it."
    )


class Information(Strict):
    """Proof that the person was informed (RGPD art. 13): which text, in which version."""

    notice: Slug
    version: Slug


DisclosableField = Literal[
    "family_name", "given_name", "phone", "email", "address", "france_travail_number",
    "birth_date", "commune", "situation", "registered_with_france_travail_since",
    "minimum_benefit", "recognised_disability", "priority_neighbourhood", "study_level",
    "mobility", "project", "need_note",
]  # fmt: skip


class Agreement(Strict):
    """Agreement to disclose named fields to a partner, or a kind of partner, until a date."""

    partner_kind: PartnerKind | None = None
    partner_id: Code | None = None
    fields: Annotated[list[DisclosableField], Field(min_length=1, max_length=30)]
    until: AheadDay
    evidence: Evidence = Evidence.ORAL

    @model_validator(mode="after")
    def _addressed(self) -> "Agreement":
        if (self.partner_kind is None) == (self.partner_id is None):
            raise ValueError("give either partner_kind or partner_id")
        return self


class Activity(Strict):
    """A workshop or a terminal used, with or without help."""

    activity: Literal["workshop", "digital-terminal", "information-session"]
    helped: bool = False
    label: ShortText | None = None


class PublicContact(Strict):
    """One visit or call, with what was said: the event that opens cases."""

    TYPE: ClassVar[str] = "fr.aiguillage.public.contact.recorded.v1"

    mode: ContactMode
    kind: ContactKind = ContactKind.INDIVIDUAL
    site: Slug | None = Field(None, description="Which desk, as the emitting system codes it.")
    person: Person | None = Field(None, description="Absent for an anonymous contact.")
    needs: Annotated[list[Need], Field(max_length=10)] = []
    information: Information | None = None
    agreements: Annotated[list[Agreement], Field(max_length=20)] = []
    activities: Annotated[list[Activity], Field(max_length=10)] = []
    do_not_contact: bool = Field(
        False, description="The person must not be called by a partner."
    )
    note: FreeText | None = None


class PublicFacts(Strict):
    """New or corrected facts and identity of a person."""

    TYPE: ClassVar[str] = "fr.aiguillage.public.facts.stated.v1"

    person: Person


class PublicAgreement(Strict):
    """A person agrees to a disclosure."""

    TYPE: ClassVar[str] = "fr.aiguillage.public.agreement.given.v1"

    person: Person
    agreement: Agreement


class PublicWithdrawal(Strict):
    """A person withdraws an agreement, or all of them where no id is given."""

    TYPE: ClassVar[str] = "fr.aiguillage.public.agreement.withdrawn.v1"

    person: Person
    agreement_id: UUID | None = None


PublicEvent = PublicContact | PublicFacts | PublicAgreement | PublicWithdrawal
PUBLIC_TYPES: dict[str, type[PublicEvent]] = {
    model.TYPE: model
    for model in (PublicContact, PublicFacts, PublicAgreement, PublicWithdrawal)
}


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
    PersonRegistered, PersonIdentified, FactsStated, ContactRecorded, NeedExpressed,
    InformationGiven, AgreementGiven, AgreementWithdrawn, ActivityAttended,
    DuplicateSuspected, DuplicateDismissed, PersonMerged, PersonUnmerged,
    PersonShared,
)  # fmt: skip


def case_id_of(need_id: UUID) -> UUID:
    """The id of the case that a need opens: known to whoever knows the need."""
    return uuid5(need_id, "case")


def need_id_of(contact_id: UUID, number: int) -> UUID:
    """The id of a contact's need; ``number`` counts from 0."""
    return uuid5(contact_id, f"need {number}")


def agreement_id_of(contact_id: UUID, number: int) -> UUID:
    """The id of an agreement given with a contact; ``number`` counts from 0."""
    return uuid5(contact_id, f"agreement {number}")
