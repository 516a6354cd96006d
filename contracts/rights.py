"""What a person may ask of whoever holds their data (RGPD art. 15 to 21), and for how long.

Words that somebody wrote are sealed; why and by whom something was looked at stays provable.
"""

from datetime import date
from typing import ClassVar
from uuid import UUID

from contracts.base import Event, Sealed
from contracts.bounds import Actor, FieldNames, Remark, Word


class ReasonSealed(Sealed):
    """Why, in somebody's words."""

    reason: Remark


class PersonRectified(Event):
    """What was known of the person is put right (RGPD art. 16): which fields, by name."""

    type = "fr.aiguillage.intake.person.rectified.v1"
    person_id: UUID
    fields: FieldNames
    rectified_by: Actor
    sealed: ReasonSealed | None = None


class PersonObjected(Event):
    """The person objects to what is done with their data (RGPD art. 21): nothing goes on."""

    type = "fr.aiguillage.intake.person.objected.v1"
    person_id: UUID
    sealed: ReasonSealed | None = None


class PersonRestricted(Event):
    """Data are kept but not used (RGPD art. 18): nothing leaves, nothing happens by itself."""

    type = "fr.aiguillage.intake.person.restricted.v1"
    person_id: UUID
    sealed: ReasonSealed | None = None


class PersonUnrestricted(Event):
    """The restriction is over: what waited goes on."""

    type = "fr.aiguillage.intake.person.unrestricted.v1"
    person_id: UUID


class PersonArchived(Event):
    """No contact for so long that only whoever answers for data sees the person.

    CNIL 2023-095; CASF R263-8 by analogy: intermediate archive with restricted access.
    """

    type = "fr.aiguillage.intake.person.archived.v1"
    person_id: UUID
    last_contact_on: date


class PersonReactivated(Event):
    """An archived person came back."""

    type = "fr.aiguillage.intake.person.reactivated.v1"
    person_id: UUID


class RecordViewed(Event):
    """Somebody of the staff was shown something of a person: who, what, never its value.

    ``view``: which display; ``fields``: names of what it showed, none if all.
    """

    service: ClassVar[str]
    person_id: UUID
    viewer: Actor
    view: Word
    fields: FieldNames = []
    sealed: ReasonSealed | None = None


class ViewedInIntake(RecordViewed):
    """Identity and facts were shown."""

    service = "intake"
    type = "fr.aiguillage.intake.record.viewed.v1"


class ViewedInReferrals(RecordViewed):
    """The facts behind a proposal were shown."""

    service = "referrals"
    type = "fr.aiguillage.referrals.record.viewed.v1"


class ViewedInPartners(RecordViewed):
    """What goes to a partner by hand was shown."""

    service = "partners"
    type = "fr.aiguillage.partners.record.viewed.v1"


class ViewedInAudit(RecordViewed):
    """A pathway was shown unmasked, or everything held of a person was given out."""

    service = "audit"
    type = "fr.aiguillage.audit.record.viewed.v1"


VIEWED: dict[str, type[RecordViewed]] = {
    event.service: event
    for event in (ViewedInIntake, ViewedInReferrals, ViewedInPartners, ViewedInAudit)
}
"""Service → its word that a record was viewed."""

EVENTS: tuple[type[Event], ...] = (
    PersonRectified,
    PersonObjected,
    PersonRestricted,
    PersonUnrestricted,
    PersonArchived,
    PersonReactivated,
    *VIEWED.values(),
)
