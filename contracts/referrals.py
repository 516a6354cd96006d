"""What the referral service says: cases, proposals, referrals and their states."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from contracts.base import Contract, Event, Sealed
from contracts.values import (
    Author,
    BusinessStatus,
    CaseStatus,
    PartnerKind,
    Reason,
    ReferralStatus,
    Thematique,
)


class CaseOpened(Event):
    """One need of one person is being worked on."""

    type = "fr.aiguillage.referrals.case.opened.v1"
    case_id: UUID
    person_id: UUID
    need_id: UUID
    thematique: Thematique
    urgent: bool = False
    do_not_contact: bool = False


class CaseClosed(Event):
    """The case ended: completed by a referral, or closed by an adviser with an outcome."""

    type = "fr.aiguillage.referrals.case.closed.v1"
    case_id: UUID
    status: CaseStatus
    outcome: str | None = None


class CaseExhausted(Event):
    """No candidate is left: the case waits for an adviser."""

    type = "fr.aiguillage.referrals.case.exhausted.v1"
    case_id: UUID
    reason: str


class FactUsed(Contract):
    """A fact that routing looked at, with where it came from."""

    name: str
    value: Any = None
    source: str | None = None
    as_of: date | None = None


class Condition(Contract):
    """One condition of the rule table, as applied to this person."""

    code: str
    text: str
    result: str


class Candidate(Contract):
    """One service that was considered, and why it is proposed or not."""

    service_id: str
    partner_id: str
    partner_kind: PartnerKind
    name: str
    verdict: str
    score: float
    conditions: list[Condition]


class Explanation(Sealed):
    """Everything needed to explain a proposal to the person (CRPA R311-3-1-2)."""

    facts: list[FactUsed]
    candidates: list[Candidate]
    questions: list[str] = []
    summary: str


class ProposalMade(Event):
    """Candidates were ranked for a case; the explanation is sealed because it holds facts."""

    type = "fr.aiguillage.referrals.proposal.made.v1"
    proposal_id: UUID
    case_id: UUID
    person_id: UUID
    rules: str
    rules_digest: str
    evaluated_on: date
    ranked: list[str]
    policy: str
    sealed: Explanation | None = None


class ReferralProposed(Event):
    """A draft referral towards one partner service."""

    type = "fr.aiguillage.referrals.referral.proposed.v1"
    referral_id: UUID
    case_id: UUID
    person_id: UUID
    proposal_id: UUID
    partner_id: str
    partner_kind: PartnerKind
    service_id: str
    replaces: UUID | None = None
    attempt: int = 1


class ReferralConfirmed(Event):
    """Somebody (an adviser, or the automatic policy) confirmed the draft."""

    type = "fr.aiguillage.referrals.referral.confirmed.v1"
    referral_id: UUID
    case_id: UUID
    confirmed_by: str
    author: Author


class Disclosure(Sealed):
    """The fields that the person agreed to disclose to this partner, and nothing else."""

    fields: dict[str, Any]


class ReferralRequested(Event):
    """The referral goes to the partner. The sealed part is what may be disclosed."""

    type = "fr.aiguillage.referrals.referral.requested.v1"
    referral_id: UUID
    case_id: UUID
    person_id: UUID
    partner_id: str
    partner_kind: PartnerKind
    service_id: str
    thematique: Thematique
    urgent: bool = False
    do_not_contact: bool = False
    agreement_id: UUID
    agreed_until: date
    replaces: UUID | None = None
    sealed: Disclosure | None = None


class CommentSealed(Sealed):
    """Free text given with a state change."""

    comment: str


class ReferralMoved(Event):
    """What all state changes made by a partner, an adviser or the hub have in common."""

    referral_id: UUID
    case_id: UUID
    status: ReferralStatus
    author: Author
    on_behalf_of: Author | None = None
    business_status: BusinessStatus | None = None
    reason: Reason | None = None
    outcome: str | None = None
    answer_id: UUID | None = None
    sealed: CommentSealed | None = None


class ReferralReceived(ReferralMoved):
    """Business status only: opened, under study, information requested, waitlisted …"""

    type = "fr.aiguillage.referrals.referral.received.v1"


class ReferralAccepted(ReferralMoved):
    """The partner takes the person."""

    type = "fr.aiguillage.referrals.referral.accepted.v1"


class ReferralRejected(ReferralMoved):
    """The partner declines before any action."""

    type = "fr.aiguillage.referrals.referral.rejected.v1"


class ReferralStarted(ReferralMoved):
    """The partner's work has begun (or goes on after a pause)."""

    type = "fr.aiguillage.referrals.referral.started.v1"


class ReferralHeld(ReferralMoved):
    """The partner's work pauses."""

    type = "fr.aiguillage.referrals.referral.held.v1"


class ReferralCompleted(ReferralMoved):
    """Done, with at least one outcome."""

    type = "fr.aiguillage.referrals.referral.completed.v1"


class ReferralFailed(ReferralMoved):
    """Attempted and not possible."""

    type = "fr.aiguillage.referrals.referral.failed.v1"


class ReferralCancelled(ReferralMoved):
    """Stopped by either side, or by the hub's deadline."""

    type = "fr.aiguillage.referrals.referral.cancelled.v1"


class ReferralCorrected(ReferralMoved):
    """Entered in error."""

    type = "fr.aiguillage.referrals.referral.corrected.v1"


class AnswerRefused(Event):
    """A partner's answer that the state table does not allow; nothing changed."""

    type = "fr.aiguillage.referrals.answer.refused.v1"
    referral_id: UUID
    answer_id: UUID
    status: ReferralStatus
    asked: ReferralStatus
    problem: str


class AppointmentSet(Event):
    """The partner gave an appointment."""

    type = "fr.aiguillage.referrals.appointment.set.v1"
    referral_id: UUID
    case_id: UUID
    starts_at: datetime


class RulesPublished(Event):
    """A rule set came into force."""

    type = "fr.aiguillage.referrals.rules.published.v1"
    rules: str
    digest: str


EVENT_OF_STATUS: dict[ReferralStatus, type[ReferralMoved]] = {
    ReferralStatus.ACCEPTED: ReferralAccepted,
    ReferralStatus.REJECTED: ReferralRejected,
    ReferralStatus.IN_PROGRESS: ReferralStarted,
    ReferralStatus.ON_HOLD: ReferralHeld,
    ReferralStatus.COMPLETED: ReferralCompleted,
    ReferralStatus.FAILED: ReferralFailed,
    ReferralStatus.CANCELLED: ReferralCancelled,
    ReferralStatus.ENTERED_IN_ERROR: ReferralCorrected,
}

EVENTS: tuple[type[Event], ...] = (
    CaseOpened, CaseClosed, CaseExhausted, ProposalMade, ReferralProposed, ReferralConfirmed,
    ReferralRequested, ReferralReceived, ReferralAccepted, ReferralRejected, ReferralStarted,
    ReferralHeld, ReferralCompleted, ReferralFailed, ReferralCancelled, ReferralCorrected,
    AnswerRefused, AppointmentSet, RulesPublished,
)  # fmt: skip
