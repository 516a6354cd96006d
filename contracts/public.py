"""What municipal systems send us: the public vocabulary.

It is strict: a field that nobody knows is refused, so that a typing error is seen by whoever
made it.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from contracts.base import Strict
from contracts.fields import DECLARED, Facts, Identity
from contracts.statements import FreeText
from contracts.types import AheadDay, Code, Line, ShortText, Slug
from contracts.values import ContactKind, ContactMode, Evidence, PartnerKind, Thematique

Ref = Annotated[Line, StringConstraints(min_length=1, max_length=120)]


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


if TYPE_CHECKING:
    DisclosableField = str
else:
    DisclosableField = Literal[*DECLARED]


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
