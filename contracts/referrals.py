"""What the referral service says: cases, proposals, referrals and their states."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from contracts.base import Contract, Event, Sealed
from contracts.bounds import (
    MOST_SERVICES,
    Actor,
    Digest,
    Disclosable,
    Id,
    Name,
    Remark,
    RuleGraph,
    Sentence,
    Word,
)
from contracts.explanation import Explanation
from contracts.values import (
    Author,
    BusinessStatus,
    CaseStatus,
    DeadlineStep,
    PartnerKind,
    Party,
    Reason,
    ReferralStatus,
    Thematique,
)


class Awaits(Contract):
    """Whose turn it is, and until when: days of the French business calendar.

    On ``remind_on`` the partner is reminded, on ``escalate_on`` an adviser is asked to look, on
    ``expire_on`` the hub stops waiting and goes on to the next candidate.
    """

    party: Party
    remind_on: date | None = None
    escalate_on: date | None = None
    expire_on: date | None = None


class CommentSealed(Sealed):
    """Free text given with a state change."""

    comment: Remark


class CaseOpened(Event):
    """One need of one person is being worked on."""

    type = "fr.aiguillage.referrals.case.opened.v1"
    case_id: UUID
    person_id: UUID
    need_id: UUID
    thematique: Thematique
    urgent: bool = False
    do_not_contact: bool = False
    parallel: bool = False


class CaseClosed(Event):
    """The case ended: completed by a referral, or closed by an adviser with an outcome."""

    type = "fr.aiguillage.referrals.case.closed.v1"
    case_id: UUID
    status: CaseStatus
    outcome: Word | None = None
    sealed: CommentSealed | None = None


class CaseRerouted(Event):
    """A referral came to nothing, and the case goes on to another service."""

    type = "fr.aiguillage.referrals.case.rerouted.v1"
    case_id: UUID
    referral_id: UUID
    replaces: UUID
    reason: Reason | None = None


class CaseExhausted(Event):
    """Nothing goes on by itself any more: the case waits for an adviser.

    ``reason``: ``no-candidate``, ``all-tried``, ``attempts`` (the limit), ``withdrawn`` (the
    person took the agreement back), ``stopped`` (an adviser stopped the last referral) or
    ``refused`` (an adviser refused the proposal). ``due_on``: the day by which somebody looks.
    """

    type = "fr.aiguillage.referrals.case.exhausted.v1"
    case_id: UUID
    reason: Word
    due_on: date


class DirectoryRead(Contract):
    """What a ranking knew of the services: enough to look at the same directory again.

    ``position``: of the partner service's last event that was heard. ``referrals``: of the
    referral service's own last event: what was open at each service then. ``day``: on which
    capacity reports were valid.
    """

    position: int
    referrals: int
    day: date


class ProposalMade(Event):
    """Candidates were ranked for a case; the explanation is sealed because it holds facts.

    ``ranked``: the best of those that may suit. ``considered``: how many services were ranked.
    ``evaluated_on``: the day for which the facts count: that of the contact.
    """

    type = "fr.aiguillage.referrals.proposal.made.v1"
    proposal_id: UUID
    case_id: UUID
    person_id: UUID
    thematique: Thematique
    rules: Name
    rules_digest: Digest
    evaluated_on: date
    ranked: Annotated[list[Id], Field(max_length=MOST_SERVICES)]
    considered: int
    directory: DirectoryRead
    policy: Word
    questions: int = 0
    sealed: Explanation | None = None


class ProposalChanged(Event):
    """An adviser chose other services than those proposed, and said why."""

    type = "fr.aiguillage.referrals.proposal.changed.v1"
    proposal_id: UUID
    case_id: UUID
    service_ids: Annotated[list[Id], Field(max_length=10)]
    changed_by: Actor
    sealed: CommentSealed | None = None


class ProposalRefused(Event):
    """An adviser refused the proposal, and said why."""

    type = "fr.aiguillage.referrals.proposal.refused.v1"
    proposal_id: UUID
    case_id: UUID
    refused_by: Actor
    sealed: CommentSealed | None = None


class ReferralProposed(Event):
    """A draft referral towards one partner service."""

    type = "fr.aiguillage.referrals.referral.proposed.v1"
    referral_id: UUID
    case_id: UUID
    person_id: UUID
    proposal_id: UUID
    partner_id: Id
    partner_kind: PartnerKind
    service_id: Id
    replaces: UUID | None = None
    attempt: int = 1
    awaits: Awaits | None = None


class ReferralConfirmed(Event):
    """Somebody (an adviser, or the automatic policy) confirmed the draft."""

    type = "fr.aiguillage.referrals.referral.confirmed.v1"
    referral_id: UUID
    case_id: UUID
    confirmed_by: Actor
    author: Author


class Disclosure(Sealed):
    """The fields that the person agreed to disclose to this partner, and nothing else.

    ``requester``: the desk that asks, by its code; none: the usual one.
    """

    fields: Disclosable
    requester: Word | None = None


class ReferralRequested(Event):
    """The referral goes to the partner. The sealed part is what may be disclosed.

    ``appointment_at``: an appointment that the desk proposes with it.
    """

    type = "fr.aiguillage.referrals.referral.requested.v1"
    referral_id: UUID
    case_id: UUID
    person_id: UUID
    partner_id: Id
    partner_kind: PartnerKind
    service_id: Id
    thematique: Thematique
    urgent: bool = False
    do_not_contact: bool = False
    agreement_id: UUID
    agreed_until: date
    requested_on: date
    appointment_at: datetime | None = None
    replaces: UUID | None = None
    awaits: Awaits | None = None
    sealed: Disclosure | None = None


class SpokenSealed(Sealed):
    """What somebody wrote with a step, and the partner's own number of the person's file."""

    comment: Remark | None = None
    partner_reference: Word | None = None


class ReferralMoved(Event):
    """What all state changes made by a partner, an adviser or the hub have in common."""

    referral_id: UUID
    case_id: UUID
    status: ReferralStatus
    author: Author
    on_behalf_of: Author | None = None
    business_status: BusinessStatus | None = None
    reason: Reason | None = None
    outcome: Word | None = None
    answer_id: UUID | None = None
    commission_on: date | None = None
    suggested_service_id: Id | None = None
    awaits: Awaits | None = None
    sealed: SpokenSealed | None = None


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
    problem: Sentence


class AppointmentEvent(Event):
    """What somebody says of an appointment; an adviser may say it on behalf of the partner."""

    referral_id: UUID
    case_id: UUID
    starts_at: datetime
    author: Author
    on_behalf_of: Author | None = None


class AppointmentSet(AppointmentEvent):
    """An appointment was given, or moved: then ``moved_from`` says which it takes the place of.

    ``awaits``: the wait that this begins, if any.
    """

    type = "fr.aiguillage.referrals.appointment.set.v1"
    moved_from: datetime | None = None
    awaits: Awaits | None = None


class AppointmentEnded(AppointmentEvent):
    """What came of an appointment; the last word counts."""


class AppointmentAttended(AppointmentEnded):
    """The person came."""

    type = "fr.aiguillage.referrals.appointment.attended.v1"


class AppointmentMissed(AppointmentEnded):
    """The person did not come, without a word."""

    type = "fr.aiguillage.referrals.appointment.missed.v1"


class AppointmentExcused(AppointmentEnded):
    """The person could not come and said so, or it was called off."""

    type = "fr.aiguillage.referrals.appointment.excused.v1"


class DeadlinePassed(Event):
    """An answer stayed out until a day that mattered."""

    type = "fr.aiguillage.referrals.deadline.passed.v1"
    referral_id: UUID
    case_id: UUID
    partner_id: Id
    service_id: Id
    step: DeadlineStep
    due_on: date
    requested_on: date
    expire_on: date | None = None


class RulesPublished(Event):
    """A rule set came into force: ``content`` is its decision graph (JDM)."""

    type = "fr.aiguillage.referrals.rules.published.v1"
    rules: Name
    version: int
    digest: Digest
    content: RuleGraph


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
    CaseOpened, CaseClosed, CaseRerouted, CaseExhausted, ProposalMade, ProposalChanged,
    ProposalRefused, ReferralProposed, ReferralConfirmed,
    ReferralRequested, ReferralReceived, ReferralAccepted, ReferralRejected, ReferralStarted,
    ReferralHeld, ReferralCompleted, ReferralFailed, ReferralCancelled, ReferralCorrected,
    AnswerRefused, AppointmentSet, AppointmentAttended, AppointmentMissed, AppointmentExcused,
    DeadlinePassed, RulesPublished,
)  # fmt: skip
