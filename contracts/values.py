"""Value lists shared by everybody, with the one place where English codes meet French labels.

Thématiques come from the ``data-inclusion-schema`` package (data·inclusion v1).
"""

from enum import StrEnum
from typing import Annotated

from data_inclusion.schema.v1 import Thematique
from pydantic import Field, StringConstraints

__all__ = [
    "AUTHOR_OF_REASON",
    "COMMENT_REQUIRED",
    "REFERRAL_LABELS",
    "REQUESTER_LABELS",
    "SENSITIVE_REQUESTERS",
    "TRANSITIONS",
    "Author",
    "BusinessStatus",
    "CapacityStatus",
    "CaseStatus",
    "Channel",
    "ChannelName",
    "ContactKind",
    "ContactMode",
    "DeadlineStep",
    "Evidence",
    "FactSource",
    "HandOver",
    "HandedTo",
    "MatchKind",
    "MessageKind",
    "PartnerKind",
    "Party",
    "Reason",
    "ReferralStatus",
    "RequesterKind",
    "Situation",
    "Thematique",
]


class ContactMode(StrEnum):
    """How the resident reached the desk."""

    WALK_IN = "walk-in"
    APPOINTMENT = "appointment"
    PHONE = "phone"
    ONLINE = "online"
    OUTREACH = "outreach"


class ContactKind(StrEnum):
    """One resident, or a group."""

    INDIVIDUAL = "individual"
    COLLECTIVE = "collective"


class PartnerKind(StrEnum):
    """The partner's language; one adapter and one table of eligibility each."""

    FRANCE_TRAVAIL = "france-travail"
    MISSION_LOCALE = "mission-locale"
    PLIE = "plie"
    CLAP = "clap"
    TEMP_AGENCY = "temp-agency"
    TRAINING_BODY = "training-body"
    INFORMATION_JEUNESSE = "information-jeunesse"
    DIGITAL_SPACE = "digital-space"
    E2C = "e2c"
    CAP_EMPLOI = "cap-emploi"


class CapacityStatus(StrEnum):
    """Whether a service takes people now (SDOH-CC capacity status)."""

    CAPACITY = "capacity"
    NO_CAPACITY = "no-capacity"
    WAITLIST = "waitlist"


class Channel(StrEnum):
    """How a partner's service is reached."""

    WEBHOOK = "webhook"
    FRANCE_TRAVAIL = "rest"
    EMAIL = "email"
    SFTP = "sftp"
    MANUAL = "manual"


ChannelName = Annotated[
    str,
    StringConstraints(max_length=40),
    Field(examples=[channel.value for channel in Channel]),
]
"""A channel by its published name: one of ``Channel``, or one that an installation added."""


class RequesterKind(StrEnum):
    """What kind of desk or service asks a partner on a person's behalf."""

    MUNICIPAL_DESK = "municipal-desk"
    CCAS = "ccas"
    INFORMATION_JEUNESSE = "information-jeunesse"
    DIGITAL_SPACE = "digital-space"
    LIBRARY = "library"
    SOCIAL_SERVICE = "social-service"
    ASSOCIATION = "association"
    ASE = "ase"
    CAARUD = "caarud"
    CIDFF = "cidff"
    CSAPA = "csapa"
    PENSION = "pension"
    PJJ = "pjj"
    PREVENTION = "prevention"
    SPIP = "spip"
    OTHER = "other"


SENSITIVE_REQUESTERS = frozenset(
    {
        RequesterKind.ASE,
        RequesterKind.CAARUD,
        RequesterKind.CIDFF,
        RequesterKind.CSAPA,
        RequesterKind.PENSION,
        RequesterKind.PJJ,
        RequesterKind.PREVENTION,
        RequesterKind.SPIP,
    }
)
"""Kinds that say something of the person by themselves (les Emplois de l'inclusion)."""

REQUESTER_LABELS: dict[RequesterKind, str] = {
    RequesterKind.MUNICIPAL_DESK: "Accueil municipal",
    RequesterKind.CCAS: "CCAS",
    RequesterKind.INFORMATION_JEUNESSE: "Information Jeunesse",
    RequesterKind.DIGITAL_SPACE: "Espace numérique",
    RequesterKind.LIBRARY: "Médiathèque",
    RequesterKind.SOCIAL_SERVICE: "Service social",
    RequesterKind.ASSOCIATION: "Association",
    RequesterKind.ASE: "Aide sociale à l'enfance",
    RequesterKind.CAARUD: "CAARUD",
    RequesterKind.CIDFF: "CIDFF",
    RequesterKind.CSAPA: "CSAPA",
    RequesterKind.PENSION: "Pension de famille",
    RequesterKind.PJJ: "Protection judiciaire de la jeunesse",
    RequesterKind.PREVENTION: "Prévention spécialisée",
    RequesterKind.SPIP: "SPIP",
    RequesterKind.OTHER: "Autre",
}


class MessageKind(StrEnum):
    """What a message to a partner says; it is also the ``type`` of its webhook."""

    REQUESTED = "referral.requested"
    REMINDED = "referral.reminded"
    APPOINTMENT = "appointment.changed"
    CALLED_OFF = "appointment.cancelled"
    CANCELLED = "referral.cancelled"
    WITHDRAWN = "agreement.withdrawn"
    ERASED = "person.erased"


class HandOver(StrEnum):
    """How an adviser handed a message over where no automatic channel does."""

    PHONE = "phone"
    PAPER = "paper"
    IN_PERSON = "in-person"


class HandedTo(StrEnum):
    """To whom at the partner, as a role: names stay in sealed notes."""

    RECEPTION = "reception"
    ADVISER = "adviser"
    MANAGER = "manager"
    OTHER = "other"


class Party(StrEnum):
    """Whose turn it is."""

    ADVISER = "adviser"
    PARTNER = "partner"


class DeadlineStep(StrEnum):
    """What happens as an answer stays out: reminder, then the worklist, then no-response."""

    REMIND = "remind"
    ESCALATE = "escalate"
    EXPIRE = "expire"


class FactSource(StrEnum):
    """Where a statement about the person comes from."""

    DECLARED = "declared"
    DOCUMENT = "document"
    PARTNER = "partner"


class Situation(StrEnum):
    """The person's situation towards employment."""

    JOB_SEEKER = "job-seeker"
    IN_SCHOOL = "in-school"
    IN_TRAINING = "in-training"
    IN_EMPLOYMENT = "in-employment"
    INACTIVE = "inactive"


class Evidence(StrEnum):
    """How an agreement to disclose was given."""

    ORAL = "oral"
    SIGNED = "signed"
    ONLINE = "online"


class CaseStatus(StrEnum):
    """FHIR ServiceRequest.status; set by hub or adviser only."""

    ACTIVE = "active"
    ON_HOLD = "on-hold"
    COMPLETED = "completed"
    REVOKED = "revoked"
    ENTERED_IN_ERROR = "entered-in-error"


class MatchKind(StrEnum):
    """What two persons have in common."""

    NAME_AND_BIRTH_DATE = "name-and-birth-date"
    PHONE = "phone"
    EMAIL = "email"
    FRANCE_TRAVAIL_NUMBER = "france-travail-number"


class ReferralStatus(StrEnum):
    """FHIR Task.status as used by Gravity SDOH-CC."""

    DRAFT = "draft"
    REQUESTED = "requested"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    IN_PROGRESS = "in-progress"
    ON_HOLD = "on-hold"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ENTERED_IN_ERROR = "entered-in-error"


class Author(StrEnum):
    """Who sets a state. An adviser typing in a partner's answer acts *for* the partner."""

    HUB = "hub"
    ADVISER = "adviser"
    PARTNER = "partner"


class BusinessStatus(StrEnum):
    """Refines a referral's status without changing it (BSeR Task.businessStatus)."""

    SENT = "sent"
    DELIVERED = "delivered"
    RECEIVED = "received"
    INFO_REQUESTED = "info-requested"
    APPOINTMENT_SCHEDULED = "appointment-scheduled"
    NO_SHOW = "no-show"
    EXCUSED = "excused"
    APPOINTMENT_CANCELLED = "appointment-cancelled"
    WAITLISTED = "waitlisted"
    NEEDS_CLIENT_ACTION = "needs-client-action"
    COULD_NOT_CONTACT = "could-not-contact"
    UNDER_STUDY = "under-study"
    COMMISSION_SCHEDULED = "commission-scheduled"
    ENROLLED = "enrolled"
    CANCELLATION_REQUESTED = "cancellation-requested"


class Reason(StrEnum):
    """Why a referral was rejected, cancelled, put on hold or failed."""

    NO_CAPACITY = "no-capacity"
    NOT_ELIGIBLE = "not-eligible"
    OUT_OF_AREA = "out-of-area"
    SERVICE_CLOSED = "service-closed"
    MISSING_INFORMATION = "missing-information"
    COULD_NOT_CONTACT = "could-not-contact"
    CLIENT_DECLINED = "client-declined"
    CLIENT_NO_SHOW = "client-no-show"
    CLIENT_IN_EMPLOYMENT = "client-in-employment"
    CLIENT_IN_TRAINING = "client-in-training"
    DUPLICATE = "duplicate"
    ALREADY_SERVED_ELSEWHERE = "already-served-elsewhere"
    REFERRED_ONWARD = "referred-onward"
    AGREEMENT_WITHDRAWN = "agreement-withdrawn"
    NO_RESPONSE = "no-response"
    SENT_IN_ERROR = "sent-in-error"
    SUPERSEDED = "superseded"
    OTHER = "other"


_P, _A, _H = Author.PARTNER, Author.ADVISER, Author.HUB
_S = ReferralStatus

AUTHOR_OF_REASON: dict[Reason, frozenset[Author]] = {
    Reason.NO_CAPACITY: frozenset({_P}),
    Reason.NOT_ELIGIBLE: frozenset({_P}),
    Reason.OUT_OF_AREA: frozenset({_P}),
    Reason.SERVICE_CLOSED: frozenset({_P}),
    Reason.MISSING_INFORMATION: frozenset({_P}),
    Reason.COULD_NOT_CONTACT: frozenset({_P}),
    Reason.CLIENT_DECLINED: frozenset({_P, _A}),
    Reason.CLIENT_NO_SHOW: frozenset({_P}),
    Reason.CLIENT_IN_EMPLOYMENT: frozenset({_P, _A}),
    Reason.CLIENT_IN_TRAINING: frozenset({_P, _A}),
    Reason.DUPLICATE: frozenset({_P, _A}),
    Reason.ALREADY_SERVED_ELSEWHERE: frozenset({_P, _A}),
    Reason.REFERRED_ONWARD: frozenset({_P}),
    Reason.AGREEMENT_WITHDRAWN: frozenset({_A, _H}),
    Reason.NO_RESPONSE: frozenset({_H}),
    Reason.SENT_IN_ERROR: frozenset({_A}),
    Reason.SUPERSEDED: frozenset({_H}),
    Reason.OTHER: frozenset({_P, _A}),
}
"""Who may use a reason (e-RS: a reason code says who may use it)."""

COMMENT_REQUIRED = frozenset({Reason.OTHER})

_PARTNER_ONLY = frozenset({_P})
_EITHER = frozenset({_P, _A, _H})
_OURS = frozenset({_A, _H})
_WORK = (_S.ACCEPTED, _S.IN_PROGRESS, _S.ON_HOLD)


def _transitions() -> dict[tuple[ReferralStatus, ReferralStatus], frozenset[Author]]:
    table = {
        (_S.DRAFT, _S.REQUESTED): _OURS,
        (_S.REQUESTED, _S.ACCEPTED): _PARTNER_ONLY,
        (_S.REQUESTED, _S.REJECTED): _PARTNER_ONLY,
        (_S.REQUESTED, _S.CANCELLED): _EITHER,
        (_S.ACCEPTED, _S.IN_PROGRESS): _PARTNER_ONLY,
        (_S.ON_HOLD, _S.IN_PROGRESS): _PARTNER_ONLY,
        (_S.ACCEPTED, _S.ON_HOLD): _PARTNER_ONLY,
        (_S.IN_PROGRESS, _S.ON_HOLD): _PARTNER_ONLY,
    }
    for state in _WORK:
        table |= {(state, _S.COMPLETED): _PARTNER_ONLY, (state, _S.FAILED): _PARTNER_ONLY}
        table[state, _S.CANCELLED] = _EITHER
    for state in _S:
        if state is not _S.ENTERED_IN_ERROR:
            table[state, _S.ENTERED_IN_ERROR] = _OURS
    return table


TRANSITIONS = _transitions()
"""(from, to) → who may set it. Every other pair is refused, whoever asks (SDOH-CC)."""

REFERRAL_LABELS: dict[ReferralStatus, str] = {
    _S.DRAFT: "Proposée",
    _S.REQUESTED: "Ouverte",
    _S.ACCEPTED: "Validée",
    _S.REJECTED: "Refusée",
    _S.IN_PROGRESS: "Démarrée",
    _S.ON_HOLD: "En attente",
    _S.COMPLETED: "Terminée",
    _S.FAILED: "Interrompue",
    _S.CANCELLED: "Annulée",
    _S.ENTERED_IN_ERROR: "Saisie par erreur",
}
