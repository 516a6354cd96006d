"""The end of a person's data, step by step: what each service says of it.

The order is that of docs/adr/0018: asked for and fenced; keys destroyed; forgotten by each
service; erased, with a receipt in the log.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from contracts.base import Event


class ErasureReason(StrEnum):
    """Why a person is erased."""

    ASKED = "asked"
    """The person asked for it (RGPD art. 17)."""
    OBJECTED = "objected"
    """The person objects to the whole of it (RGPD art. 21)."""
    RETENTION = "retention"
    """The time that data are kept is over (CNIL 2023-095; CASF R263-8 by analogy)."""
    NOT_SERVED = "not-served"
    """The person turned out not to be served here: destroyed without delay (CASF R263-8)."""


class ErasureRequested(Event):
    """A person is to be erased: from now on no key of theirs is created or opened again."""

    type = "fr.aiguillage.intake.person.erasure-requested.v1"
    person_id: UUID
    reason: ErasureReason
    requested_at: datetime


class KeysDestroyed(Event):
    """The person's keys are gone: whatever was sealed with them cannot be read any more."""

    type = "fr.aiguillage.intake.person.keys-destroyed.v1"
    person_id: UUID


class PersonForgotten(Event):
    """The service holds nothing of the person any more but pseudonymous events."""

    person_id: UUID


class ForgottenByIntake(PersonForgotten):
    """References, blind index, suspicions and sealed parts of the intake are gone."""

    type = "fr.aiguillage.intake.person.forgotten.v1"


class ForgottenByReferrals(PersonForgotten):
    """Cases, referrals and what was remembered for routing are gone from the read tables."""

    type = "fr.aiguillage.referrals.person.forgotten.v1"


class ForgottenByPartners(PersonForgotten):
    """Answer links, answers and what messages were made from are gone."""

    type = "fr.aiguillage.partners.person.forgotten.v1"


class ForgottenByAudit(PersonForgotten):
    """Sealed parts beside the log's entries are gone; the entries stay."""

    type = "fr.aiguillage.audit.person.forgotten.v1"


class PersonErased(Event):
    """The receipt: every service has forgotten the person. Proofs of before still verify."""

    type = "fr.aiguillage.audit.person.erased.v1"
    person_id: UUID
    reason: ErasureReason
    requested_at: datetime
    destroyed_at: datetime


FORGOTTEN: dict[str, type[PersonForgotten]] = {
    event.type.split(".")[2]: event
    for event in (
        ForgottenByIntake,
        ForgottenByReferrals,
        ForgottenByPartners,
        ForgottenByAudit,
    )
}
"""Service → its word that it has forgotten a person."""

EVENTS: tuple[type[Event], ...] = (
    ErasureRequested,
    KeysDestroyed,
    *FORGOTTEN.values(),
    PersonErased,
)
